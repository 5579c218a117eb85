//! The facts about a container: its handle's properties, its text, its equality. Nothing here changes anything.

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::{Result, Timestamp};
use crate::model::container::MountPointKind;
use crate::script::error::{Fallible, Raise};

use crate::script::container::Container;

fn mounts(container: &Container) -> Result<Array> {
    let row = |mount: crate::model::container::MountPoint| {
        let mut map = Map::new();
        let (kind, source) = match mount.kind {
            MountPointKind::Bind { source } => ("bind", source),
            MountPointKind::Volume { name, .. } => ("volume", name),
            MountPointKind::Tmpfs => ("tmpfs", String::new()),
        };
        map.insert("type".into(), kind.into());
        map.insert("source".into(), source.into());
        map.insert("target".into(), mount.target.into());
        map.insert("read_only".into(), mount.read_only.into());
        Dynamic::from(map)
    };
    Ok(container.now()?.record.mounts.into_iter().map(row).collect())
}

/// A whole number, or unit.
type MaybeInt = Dynamic;

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_properties {
    use super::*;
    /// The id: 64 hexadecimal digits.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// assert(c.id.len == 64);
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "id")]
    pub fn id(container: Container) -> String {
        container.id.to_string()
    }

    /// The name.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ name: "named" });
    /// assert(c.name == "named");
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "name", return_raw)]
    pub fn name(ctx: NativeCallContext, container: Container) -> Fallible<String> {
        container.now().map(|now| now.name).raise(&ctx)
    }

    /// The image as it was named when the container was made.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// assert(c.image.contains("base"));
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "image", return_raw)]
    pub fn image(ctx: NativeCallContext, container: Container) -> Fallible<String> {
        container.now().map(|now| now.record.image).raise(&ctx)
    }

    /// What it is doing: `created running paused exited dead removing`.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// assert(c.status == "created");
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "status", return_raw)]
    pub fn status(ctx: NativeCallContext, container: Container) -> Fallible<ImmutableString> {
        container.now().map(|now| now.state.status.as_str().into()).raise(&ctx)
    }

    /// Whether it does what it is there for: `starting`, `healthy`, `unhealthy`, or `none` for a container without a health
    /// check.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"], healthcheck: #{ test: "true", interval: 100.ms } });
    /// retry(100, 100.ms, || assert(c.health == "healthy"));
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, get = "health", return_raw)]
    pub fn health(ctx: NativeCallContext, container: Container) -> Fallible<ImmutableString> {
        container.now().map(|now| crate::docker::health::word(&now.state).into()).raise(&ctx)
    }

    /// The exit status after it ended, unit before or when nobody knows it.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "exit 3" });
    /// c.wait();
    /// assert(c.exit_code == 3);
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "exit_code", return_raw)]
    pub fn exit_code(ctx: NativeCallContext, container: Container) -> Fallible<MaybeInt> {
        let state = container.now().raise(&ctx)?.state;
        Ok(state.exit_code.map_or(Dynamic::UNIT, |code| i64::from(code).into()))
    }

    /// The host's id of its first process, unit when it does not run.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// assert(c.pid == ());
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "pid", return_raw)]
    pub fn pid(ctx: NativeCallContext, container: Container) -> Fallible<MaybeInt> {
        let state = container.now().raise(&ctx)?.state;
        Ok(state.pid.map_or(Dynamic::UNIT, |pid| i64::from(pid).into()))
    }

    /// When it was made.
    ///
    /// ```rhai
    /// let c = container::create("base");
    /// assert(now() - c.created < 1.min);
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "created", return_raw)]
    pub fn created(ctx: NativeCallContext, container: Container) -> Fallible<Timestamp> {
        container.now().map(|now| now.record.created).raise(&ctx)
    }

    /// Its labels, the image's included.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ labels: #{ tier: "front" } });
    /// assert(c.labels.tier == "front");
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "labels", return_raw)]
    pub fn labels(ctx: NativeCallContext, container: Container) -> Fallible<Map> {
        let labels = container.now().raise(&ctx)?.record.labels;
        Ok(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// Its mounts besides the standard ones: maps with `type source target read_only`.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ tmpfs: ["/scratch"] });
    /// assert(c.mounts[0].target == "/scratch");
    /// c.remove();
    /// ```
    #[rhai_fn(global, get = "mounts", return_raw)]
    pub fn mounts_of(ctx: NativeCallContext, container: Container) -> Fallible<Array> {
        mounts(&container).raise(&ctx)
    }

    #[rhai_fn(global, name = "==")]
    pub fn equal(a: Container, b: Container) -> bool {
        a.id == b.id
    }
    #[rhai_fn(global, name = "!=")]
    pub fn unequal(a: Container, b: Container) -> bool {
        a.id != b.id
    }
    #[rhai_fn(global, name = "to_string", name = "to_debug")]
    pub fn text(container: Container) -> String {
        container.shown()
    }
}
