//! The noun `system` in scripts: facts about the whole engine, disk usage, prune and check. Events are in
//! [`crate::script::events`].

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use serde::Serialize;

use crate::base::{Error, Result};
use crate::engine::Engine;
use crate::model::system::{CheckOptions, PruneFilter, PruneReport};
use crate::script::context::engine;
use crate::script::convert::{Keys, from_json};
use crate::script::error::{Fallible, Raise};
use crate::script::units::Size;

/// What a prune did, as scripts see it.
///
/// # Errors
/// `failed` when something could not be removed; everything else is by then.
pub(crate) fn report(report: PruneReport) -> Result<Map> {
    if !report.failures.is_empty() {
        let (count, failures) = (report.items.len(), report.failures.join("; "));
        return Err(Error::failed(format!("{count} things were removed, but not all: {failures}")));
    }
    let mut map = Map::new();
    map.insert("count".into(), (report.items.len() as i64).into());
    map.insert("freed".into(), Dynamic::from(Size(report.freed_bytes)));
    map.insert("items".into(), report.items.into_iter().map(Dynamic::from).collect::<Array>().into());
    Ok(map)
}

/// What a prune may take, as scripts say it.
pub(crate) fn prune_filter(keys: &mut Keys) -> Result<PruneFilter> {
    Ok(PruneFilter {
        until: keys.time("until")?,
        label: keys.texts("label")?,
        without_label: keys.texts("without_label")?,
    })
}

/// Plain facts as a map; `…_bytes` become sizes without the unit in their name.
fn facts(value: &impl Serialize) -> Result<Map> {
    let json = serde_json::to_value(value).map_err(|error| Error::failed(error.to_string()))?;
    let map = from_json(&json).try_cast::<Map>().unwrap_or_default();
    let named = map.into_iter().map(|(key, value)| match (key.strip_suffix("_bytes"), value.as_int()) {
        (Some(name), Ok(bytes)) => (name.into(), Dynamic::from(Size(u64::try_from(bytes).unwrap_or(0)))),
        _ => (key, value),
    });
    Ok(named.collect())
}

fn prune(engine: &Engine, options: Map) -> Result<Map> {
    let mut keys = Keys::new("system::prune", options);
    let (all, volumes) = (keys.flag("all")?, keys.flag("volumes")?);
    let filter = prune_filter(&mut keys)?;
    keys.finish()?;
    if volumes && filter.until.is_some() {
        return Err(Error::invalid("\"until\" does not go with \"volumes\"")
            .with_hint("a volume is used when it was made long ago, too"));
    }
    engine.system_prune(all, volumes, &filter).and_then(report)
}

fn check(engine: &Engine, options: Map) -> Result<Map> {
    let mut keys = Keys::new("system::check", options);
    let options = CheckOptions { repair: keys.flag("repair")?, rehash: keys.flag("rehash")? };
    keys.finish()?;
    let found = engine.system_check(options)?;
    let problems = found.problems.iter().map(|problem| facts(problem).map(Dynamic::from)).collect::<Result<Array>>()?;
    let mut map = Map::new();
    map.insert("ok".into(), found.problems.iter().all(|problem| problem.repaired).into());
    map.insert("checked".into(), i64::try_from(found.checked).unwrap_or(i64::MAX).into());
    map.insert("problems".into(), problems.into());
    Ok(map)
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod system_functions {
    use super::*;

    /// Facts about this machine and engine: version, root, counts, kernel, memory.
    ///
    /// ```rhai
    /// print(system::info().kernel);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn info(ctx: NativeCallContext) -> Fallible<Map> {
        engine(&ctx)?.system_info().and_then(|info| facts(&info)).raise(&ctx)
    }

    /// This program's version.
    ///
    /// ```rhai
    /// print(system::version());
    /// ```
    pub fn version() -> ImmutableString {
        env!("CARGO_PKG_VERSION").into()
    }

    /// Space on disk by noun: maps with `noun total active size reclaimable`.
    ///
    /// ```rhai
    /// system::df().table();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn df(ctx: NativeCallContext) -> Fallible<Array> {
        let usage = engine(&ctx)?.system_df().raise(&ctx)?;
        usage.rows.iter().map(|row| facts(row).map(Dynamic::from)).collect::<Result<Array>>().raise(&ctx)
    }

    /// Removes ended containers, unused networks, unnamed images, and what builds keep that is in no image; `all: true` takes
    /// every unused image and all that builds keep, `volumes: true` unused anonymous volumes. Returns `count`, `freed` and
    /// `items`.
    ///
    /// ```rhai
    /// print(system::prune().freed);
    /// ```
    #[rhai_fn(name = "prune", return_raw)]
    pub fn prune_default(ctx: NativeCallContext) -> Fallible<Map> {
        prune(&engine(&ctx)?, Map::new()).raise(&ctx)
    }

    #[rhai_fn(name = "prune", return_raw)]
    pub fn prune_with(ctx: NativeCallContext, options: Map) -> Fallible<Map> {
        prune(&engine(&ctx)?, options).raise(&ctx)
    }

    /// Starts the containers whose restart policies ask for it, after a boot; one failure does not stop the others. Returns
    /// `ok`, the ids that were `started`, how many are `running` already, and the `failures` in words.
    ///
    /// ```rhai
    /// assert(system::resume().ok);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn resume(ctx: NativeCallContext) -> Fallible<Map> {
        let report = engine(&ctx)?.system_resume().raise(&ctx)?;
        let mut map = facts(&report).raise(&ctx)?;
        map.insert("ok".into(), report.failures.is_empty().into());
        Ok(map)
    }

    /// Compares records, folders, blobs and kernel objects. Options: `repair`, `rehash`. Returns `ok checked problems`.
    ///
    /// ```rhai
    /// assert(system::check().ok);
    /// ```
    #[rhai_fn(name = "check", return_raw)]
    pub fn check_default(ctx: NativeCallContext) -> Fallible<Map> {
        check(&engine(&ctx)?, Map::new()).raise(&ctx)
    }

    #[rhai_fn(name = "check", return_raw)]
    pub fn check_with(ctx: NativeCallContext, options: Map) -> Fallible<Map> {
        check(&engine(&ctx)?, options).raise(&ctx)
    }
}
