//! The noun `volume` in scripts: functions that find and make volumes, and the handle's properties and methods.
//!
//! Decodes, calls the engine once, encodes; what is in a volume is the engine's business.

use std::path::Path;

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::{Error, Id, Result, Timestamp};
use crate::engine::Engine;
use crate::model::system::PruneFilter;
use crate::model::volume::{DifferenceKind, VolumeFilter, VolumeOptions};
use crate::script::backup::backup_map;
use crate::script::container::Container;
use crate::script::context::engine;
use crate::script::convert::Keys;
use crate::script::error::{Fallible, Raise};
use crate::script::system::prune_filter;
use crate::script::units::{Size, a_type};

/// A volume: its id, and the engine to ask about it.
#[derive(Clone)]
pub(crate) struct Volume {
    pub(crate) engine: Engine,
    pub(crate) id: Id,
}

/// A [`Volume`], a name or an id.
pub(crate) type OneVolume = Dynamic;

impl Volume {
    fn now(&self) -> Result<crate::model::volume::Volume> {
        self.engine.volume_get(self.id.as_str())
    }

    /// Its text: name and short id.
    pub(crate) fn shown(&self) -> String {
        match self.now() {
            Ok(volume) if !volume.anonymous => format!("Volume({} {})", volume.name, self.id.short()),
            _ => format!("Volume({})", self.id.short()),
        }
    }
}

fn volume_name(volume: &OneVolume) -> Result<String> {
    if let Some(volume) = volume.read_lock::<Volume>() {
        return Ok(volume.id.to_string());
    }
    volume
        .as_immutable_string_ref()
        .map(|text| text.to_string())
        .map_err(|_| Error::invalid(format!("expected a volume, not {}", a_type(volume))))
}

fn create(engine: &Engine, of: &'static str, name: Option<String>, options: Map) -> Result<Volume> {
    let mut keys = Keys::new(of, options);
    let options =
        VolumeOptions { name, driver: keys.text("driver")?, labels: keys.labels()?, ..VolumeOptions::default() };
    keys.finish()?;
    let id = engine.volume_create(&options)?.id;
    Ok(Volume { engine: engine.clone(), id })
}

fn list(engine: &Engine, options: Map) -> Result<Array> {
    let mut keys = Keys::new("volume::list", options);
    let filter = VolumeFilter {
        name: keys.texts("name")?,
        label: keys.texts("label")?,
        dangling: keys.optional_flag("dangling")?,
        driver: keys.texts("driver")?,
    };
    keys.finish()?;
    let handle = |volume: crate::model::volume::Volume| Dynamic::from(Volume { engine: engine.clone(), id: volume.id });
    Ok(engine.volume_list(&filter)?.into_iter().map(handle).collect())
}

fn diff(volume: &Volume, other: &OneVolume) -> Result<Array> {
    let row = |difference: crate::model::volume::Difference| {
        let kind = match difference.kind {
            DifferenceKind::Added => "added",
            DifferenceKind::Removed => "removed",
            DifferenceKind::Changed => "changed",
        };
        let mut map = Map::new();
        map.insert("path".into(), difference.path.into());
        map.insert("kind".into(), kind.into());
        Dynamic::from(map)
    };
    let differences = volume.engine.volume_diff(volume.id.as_str(), &volume_name(other)?)?;
    Ok(differences.into_iter().map(row).collect())
}

fn remove(volume: &Volume, options: Map) -> Result<()> {
    let mut keys = Keys::new("remove", options);
    let force = keys.flag("force")?;
    keys.finish()?;
    volume.engine.volume_remove(volume.id.as_str(), force)
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod volume_functions {
    use super::*;

    /// Makes a volume; one of this name is returned as it is. Options: `labels driver`.
    ///
    /// ```rhai
    /// let v = volume::create("notes", #{ labels: #{ backup: "nightly" } });
    /// v.remove();
    /// ```
    #[rhai_fn(name = "create", return_raw)]
    pub fn create_with(ctx: NativeCallContext, name: ImmutableString, options: Map) -> Fallible<Volume> {
        create(&engine(&ctx)?, "volume::create", Some(name.to_string()), options).raise(&ctx)
    }

    #[rhai_fn(name = "create", return_raw)]
    pub fn create_named(ctx: NativeCallContext, name: ImmutableString) -> Fallible<Volume> {
        create_with(ctx, name, Map::new())
    }

    #[rhai_fn(name = "create", return_raw)]
    pub fn create_anonymous(ctx: NativeCallContext) -> Fallible<Volume> {
        create(&engine(&ctx)?, "volume::create", None, Map::new()).raise(&ctx)
    }

    /// The volume of this name, id, or unique beginning of an id.
    ///
    /// ```rhai
    /// let v = volume::create("found");
    /// assert(volume::get("found") == v);
    /// v.remove();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn get(ctx: NativeCallContext, name: ImmutableString) -> Fallible<Volume> {
        let engine = engine(&ctx)?;
        let id = engine.volume_get(&name).raise(&ctx)?.id;
        Ok(Volume { engine, id })
    }

    /// The volumes, by name. Filters: `name label dangling` (true: those that no container uses).
    ///
    /// ```rhai
    /// for v in volume::list(#{ label: "backup=nightly" }) { print(v.name); }
    /// ```
    #[rhai_fn(name = "list", return_raw)]
    pub fn list_default(ctx: NativeCallContext) -> Fallible<Array> {
        list(&engine(&ctx)?, Map::new()).raise(&ctx)
    }

    #[rhai_fn(name = "list", return_raw)]
    pub fn list_with(ctx: NativeCallContext, options: Map) -> Fallible<Array> {
        list(&engine(&ctx)?, options).raise(&ctx)
    }

    /// The volume of this name, made when it is missing. One with other labels is a `conflict`.
    ///
    /// ```rhai
    /// let v = volume::ensure("kept", #{ labels: #{ tier: "db" } });
    /// assert(volume::ensure("kept", #{ labels: #{ tier: "db" } }) == v);
    /// v.remove();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ensure(ctx: NativeCallContext, name: ImmutableString, options: Map) -> Fallible<Volume> {
        create(&engine(&ctx)?, "volume::ensure", Some(name.to_string()), options).raise(&ctx)
    }

    /// Removes anonymous volumes that no container uses (`all: true`: named ones too); returns `count`, `freed` and
    /// `items`.
    ///
    /// ```rhai
    /// print(volume::prune().count);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn prune(ctx: NativeCallContext) -> Fallible<Map> {
        engine(&ctx)?.volume_prune(false, &PruneFilter::default()).and_then(crate::script::system::report).raise(&ctx)
    }

    #[rhai_fn(name = "prune", return_raw)]
    pub fn prune_with(ctx: NativeCallContext, options: Map) -> Fallible<Map> {
        let engine = engine(&ctx)?;
        let mut keys = Keys::new("volume::prune", options);
        let all = keys.flag("all").raise(&ctx)?;
        let filter = prune_filter(&mut keys).and_then(|filter| keys.finish().map(|()| filter)).raise(&ctx)?;
        if filter.until.is_some() {
            return Err(Error::invalid("volumes are not pruned by \"until\"")).raise(&ctx);
        }
        engine.volume_prune(all, &filter).and_then(crate::script::system::report).raise(&ctx)
    }

    /// The id: 64 hexadecimal digits. It stays when the name changes.
    ///
    /// ```rhai
    /// let v = volume::create("identified");
    /// assert(v.id.len == 64);
    /// v.remove();
    /// ```
    #[rhai_fn(global, get = "id")]
    pub fn id(volume: Volume) -> String {
        volume.id.to_string()
    }

    /// The name; the id for an anonymous volume.
    ///
    /// ```rhai
    /// let v = volume::create("named");
    /// assert(v.name == "named");
    /// v.remove();
    /// ```
    #[rhai_fn(global, get = "name", return_raw)]
    pub fn name(ctx: NativeCallContext, volume: Volume) -> Fallible<String> {
        volume.now().map(|now| now.name).raise(&ctx)
    }

    /// The driver; only `local` exists.
    ///
    /// ```rhai
    /// let v = volume::create("driven");
    /// assert(v.driver == "local");
    /// v.remove();
    /// ```
    #[rhai_fn(global, get = "driver", return_raw)]
    pub fn driver(ctx: NativeCallContext, volume: Volume) -> Fallible<ImmutableString> {
        volume.now().map(|_| "local".into()).raise(&ctx)
    }

    /// The size of its content on disk.
    ///
    /// ```rhai
    /// let v = volume::create("measured");
    /// print(v.size);
    /// v.remove();
    /// ```
    #[rhai_fn(global, get = "size", return_raw)]
    pub fn size(ctx: NativeCallContext, volume: Volume) -> Fallible<Size> {
        volume.engine.volume_size_bytes(volume.id.as_str()).map(Size).raise(&ctx)
    }

    /// Where its content is on this machine.
    ///
    /// ```rhai
    /// let v = volume::create("placed");
    /// assert(host::exists(v.mountpoint));
    /// v.remove();
    /// ```
    #[rhai_fn(global, get = "mountpoint", return_raw)]
    pub fn mountpoint(ctx: NativeCallContext, volume: Volume) -> Fallible<String> {
        volume.now().map(|now| now.mountpoint.to_string_lossy().into_owned()).raise(&ctx)
    }

    /// Its labels.
    ///
    /// ```rhai
    /// let v = volume::create("labelled", #{ labels: #{ tier: "db" } });
    /// assert(v.labels.tier == "db");
    /// v.remove();
    /// ```
    #[rhai_fn(global, get = "labels", return_raw)]
    pub fn labels(ctx: NativeCallContext, volume: Volume) -> Fallible<Map> {
        let labels = volume.now().raise(&ctx)?.labels;
        Ok(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// When it was made.
    ///
    /// ```rhai
    /// let v = volume::create("dated");
    /// assert(now() - v.created < 1.min);
    /// v.remove();
    /// ```
    #[rhai_fn(global, get = "created", return_raw)]
    pub fn created(ctx: NativeCallContext, volume: Volume) -> Fallible<Timestamp> {
        volume.now().map(|now| now.created).raise(&ctx)
    }

    /// Writes its content to a new archive, compressed when the name ends in `.zst`, with its digest beside it in
    /// `PATH.sha256`. Returns `path files size content digest elapsed`.
    ///
    /// ```rhai
    /// let v = volume::create("saved");
    /// let b = v.backup(`${host::temp_dir()}/saved.tar.zst`);
    /// print(`${b.files} files, ${b.size}`);
    /// v.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn backup(ctx: NativeCallContext, volume: Volume, path: ImmutableString) -> Fallible<Map> {
        let path = Path::new(path.as_str());
        volume.engine.volume_backup(volume.id.as_str(), path).map(backup_map).raise(&ctx)
    }

    #[rhai_fn(global, name = "backup", return_raw)]
    pub fn backup_with(ctx: NativeCallContext, volume: Volume, path: ImmutableString, options: Map) -> Fallible<Map> {
        Keys::new("backup", options).finish().raise(&ctx)?;
        backup(ctx, volume, path)
    }

    /// Replaces its content by a backup's, which is checked by its digest first.
    ///
    /// ```rhai
    /// let v = volume::create("restored");
    /// let b = v.backup(`${host::temp_dir()}/restored.tar`);
    /// v.restore(b.path);
    /// v.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn restore(ctx: NativeCallContext, volume: Volume, path: ImmutableString) -> Fallible<Map> {
        let path = Path::new(path.as_str());
        volume.engine.volume_restore(volume.id.as_str(), path).map(backup_map).raise(&ctx)
    }

    /// What would have to change in this volume to become another: maps with `path` and `kind` (`added removed changed`).
    ///
    /// ```rhai
    /// let a = volume::create("left");
    /// let b = volume::create("right");
    /// assert(a.diff(b).is_empty());
    /// a.remove();
    /// b.remove();
    /// ```
    #[rhai_fn(global, name = "diff", return_raw)]
    pub fn diff_with(ctx: NativeCallContext, volume: Volume, other: OneVolume) -> Fallible<Array> {
        diff(&volume, &other).raise(&ctx)
    }

    /// Gives the volume another name, also while it is in use.
    ///
    /// ```rhai
    /// let v = volume::create("before");
    /// v.rename("after");
    /// assert(v.name == "after");
    /// v.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn rename(ctx: NativeCallContext, volume: Volume, name: ImmutableString) -> Fallible<()> {
        volume.engine.volume_rename(volume.id.as_str(), &name).raise(&ctx)
    }

    /// The containers that mount it, running or not.
    ///
    /// ```rhai
    /// let v = volume::create("unused");
    /// assert(v.containers().is_empty());
    /// v.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn containers(ctx: NativeCallContext, volume: Volume) -> Fallible<Array> {
        let users = volume.engine.volume_users(volume.id.as_str()).raise(&ctx)?;
        Ok(users.into_iter().map(|id| Dynamic::from(Container { engine: volume.engine.clone(), id })).collect())
    }

    /// Removes the volume and its content. A container that uses it makes it a `conflict`; with `force: true` a missing
    /// one is no error.
    ///
    /// ```rhai
    /// volume::create("brief").remove();
    /// ```
    #[rhai_fn(global, name = "remove", return_raw)]
    pub fn remove_default(ctx: NativeCallContext, volume: Volume) -> Fallible<()> {
        remove(&volume, Map::new()).raise(&ctx)
    }

    #[rhai_fn(global, name = "remove", return_raw)]
    pub fn remove_with(ctx: NativeCallContext, volume: Volume, options: Map) -> Fallible<()> {
        remove(&volume, options).raise(&ctx)
    }

    /// Docker's JSON about the volume, as a map.
    ///
    /// ```rhai
    /// let v = volume::create("inspected");
    /// assert(v.inspect().Driver == "local");
    /// v.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn inspect(ctx: NativeCallContext, volume: Volume) -> Fallible<Dynamic> {
        let now = volume.now().raise(&ctx)?;
        Ok(crate::script::convert::from_json(&crate::docker::inspect::volume(&now)))
    }

    #[rhai_fn(global, name = "==")]
    pub fn equal(a: Volume, b: Volume) -> bool {
        a.id == b.id
    }
    #[rhai_fn(global, name = "!=")]
    pub fn unequal(a: Volume, b: Volume) -> bool {
        a.id != b.id
    }
    #[rhai_fn(global, name = "to_string", name = "to_debug")]
    pub fn text(volume: Volume) -> String {
        volume.shown()
    }
}

/// The columns of a listing.
pub(crate) fn row(volume: &Volume) -> Result<Map> {
    let now = volume.now()?;
    let mut map = Map::new();
    map.insert("name".into(), now.name.into());
    map.insert("id".into(), volume.id.short().into());
    map.insert("created".into(), now.created.to_string().into());
    Ok(map)
}
