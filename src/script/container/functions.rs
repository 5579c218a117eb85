//! The functions of the module `container`: they find and make containers. What a handle can do is elsewhere.

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use crate::base::{Error, Result};
use crate::docker::filter as docker;
use crate::engine::Engine;
use crate::model::container::ContainerFilter;
use crate::model::system::PruneFilter;
use crate::script::context::{Host, engine, tag};
use crate::script::convert::{Command, Keys, command_of};
use crate::script::error::{Fallible, Raise};
use crate::script::image::{OneImage, image_name};
use crate::script::output::Output;
use crate::script::system::prune_filter;

use crate::script::container::{Container, command_keys, options_of, started, streamed};

fn make(engine: &Engine, image: &OneImage, options: Map, start: bool) -> Result<Container> {
    let options = options_of(options)?;
    let image = image_name(engine, image)?;
    let id = if start { engine.container_run(&image, &options)? } else { engine.container_create(&image, &options)? };
    Ok(Container { engine: engine.clone(), id })
}

fn oneshot(host: &Host, image: &OneImage, command: &Command, options: Map) -> Result<Output> {
    let engine = host.engine()?;
    let mut keys = Keys::new("oneshot", options);
    let own = command_keys(&mut keys)?;
    let mut options = options_of(keys.rest())?;
    options.auto_remove = true;
    let command = command_of(command)?;
    if command.is_some() {
        options.command = command;
    }
    let image = image_name(engine, image)?;
    let output = if own.stream {
        options.stdin_open = own.stdin.is_some();
        streamed(host, own.stdin.as_deref(), own.timeout, |attachment| {
            let id = engine.container_create(&image, &options)?;
            engine.container_start_attached(id.as_str(), attachment)
        })?
    } else {
        engine.container_oneshot(&image, &options, own.stdin.as_deref(), own.timeout)?
    };
    Output::checked(output, own.check, options.command.as_deref().unwrap_or_default(), "")
}

fn list(engine: &Engine, options: Map) -> Result<Array> {
    let mut keys = Keys::new("container::list", options);
    let mut filter = ContainerFilter {
        all: keys.flag("all")?,
        exited: keys.integer("exited")?.and_then(|code| i32::try_from(code).ok()).into_iter().collect(),
        is_task: keys.optional_flag("is_task")?,
        last: keys.integer("last")?.and_then(|n| usize::try_from(n).ok()),
        ..ContainerFilter::default()
    };
    for key in docker::CONTAINER.into_iter().filter(|key| !["exited", "is-task"].contains(key)) {
        keys.texts(key)?.iter().try_for_each(|text| docker::container(&mut filter, key, text))?;
    }
    keys.finish()?;
    let handle = |container: crate::model::container::Container| {
        Dynamic::from(Container { engine: engine.clone(), id: container.record.id })
    };
    Ok(engine.container_list(&filter)?.into_iter().map(handle).collect())
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_functions {
    use super::*;

    /// Makes a container from an image, starts it and returns its handle. The options are the Compose specification's
    /// keys, with docker's command-line spellings as aliases.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ name: "web", command: ["sleep", "300"], labels: #{ tier: "front" } });
    /// assert(c.status == "running");
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn run(ctx: NativeCallContext, image: OneImage, options: Map) -> Fallible<Container> {
        let host = tag(&ctx)?.host;
        let container = host.engine().and_then(|engine| make(engine, &image, options, true)).raise(&ctx)?;
        started(&host, &container.id);
        Ok(container)
    }

    #[rhai_fn(name = "run", return_raw)]
    pub fn run_default(ctx: NativeCallContext, image: OneImage) -> Fallible<Container> {
        run(ctx, image, Map::new())
    }

    /// Makes a container without starting it.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ command: "echo ready" });
    /// assert(c.status == "created");
    /// c.remove();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn create(ctx: NativeCallContext, image: OneImage, options: Map) -> Fallible<Container> {
        make(&engine(&ctx)?, &image, options, false).raise(&ctx)
    }

    #[rhai_fn(name = "create", return_raw)]
    pub fn create_default(ctx: NativeCallContext, image: OneImage) -> Fallible<Container> {
        create(ctx, image, Map::new())
    }

    /// Runs one command in a new container, removes the container and returns the command's output. `[]` is the image's
    /// own command. Besides container options it takes `check: false` (a status other than 0 is no error), `timeout`,
    /// `stdin` and `stream: true` (show output as it comes).
    ///
    /// ```rhai
    /// assert(container::oneshot("base", ["echo", "hello"]).stdout == "hello\n");
    /// assert(container::oneshot("base", "exit 3", #{ check: false }).code == 3);
    /// ```
    #[rhai_fn(name = "oneshot", return_raw)]
    pub fn oneshot_with(ctx: NativeCallContext, image: OneImage, command: Command, options: Map) -> Fallible<Output> {
        let host = tag(&ctx)?.host;
        oneshot(&host, &image, &command, options).raise(&ctx)
    }

    #[rhai_fn(name = "oneshot", return_raw)]
    pub fn oneshot_default(ctx: NativeCallContext, image: OneImage, command: Command) -> Fallible<Output> {
        oneshot_with(ctx, image, command, Map::new())
    }

    /// The container of this name, id, or unique beginning of an id.
    ///
    /// ```rhai
    /// let c = container::create("base", #{ name: "found" });
    /// assert(container::get("found") == c);
    /// c.remove();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn get(ctx: NativeCallContext, name: ImmutableString) -> Fallible<Container> {
        let engine = engine(&ctx)?;
        let id = engine.container_get(&name).raise(&ctx)?.record.id;
        Ok(Container { engine, id })
    }

    /// The containers that run, newest first; with `all: true` the others too. Filters are Docker's: `ancestor
    /// before exited expose health id is_task label name network publish since status volume`, and `last`.
    ///
    /// ```rhai
    /// for c in container::list(#{ all: true, label: "tier=front" }) { print(c.name); }
    /// ```
    #[rhai_fn(name = "list", return_raw)]
    pub fn list_with(ctx: NativeCallContext, options: Map) -> Fallible<Array> {
        list(&engine(&ctx)?, options).raise(&ctx)
    }

    #[rhai_fn(name = "list", return_raw)]
    pub fn list_default(ctx: NativeCallContext) -> Fallible<Array> {
        list_with(ctx, Map::new())
    }

    /// The running container of this name with this image and these options: found, started or made. A container that
    /// differs is a `conflict`.
    ///
    /// ```rhai
    /// let a = container::ensure("steady", "base", #{ command: ["sleep", "300"] });
    /// let b = container::ensure("steady", "base", #{ command: ["sleep", "300"] });
    /// assert(a == b);
    /// a.remove(#{ force: true });
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ensure(ctx: NativeCallContext, name: ImmutableString, image: OneImage, options: Map) -> Fallible<Container> {
        let host = tag(&ctx)?.host;
        let ensured = || {
            let engine = host.engine()?;
            let options = options_of(options)?;
            let id = engine.container_ensure(&name, &image_name(engine, &image)?, &options)?;
            Ok::<_, Error>(Container { engine: engine.clone(), id })
        };
        let container = ensured().raise(&ctx)?;
        started(&host, &container.id);
        Ok(container)
    }

    /// Removes every container that does not run; returns `count`, `freed` and `items`. Filters are `until` (a time or an
    /// age), `label` and `without_label`.
    ///
    /// ```rhai
    /// print(container::prune().freed);
    /// print(container::prune(#{ label: "tier=front", "until": 24.hours }).count);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn prune(ctx: NativeCallContext) -> Fallible<Map> {
        engine(&ctx)?.container_prune(&PruneFilter::default()).and_then(crate::script::system::report).raise(&ctx)
    }

    #[rhai_fn(name = "prune", return_raw)]
    pub fn prune_with(ctx: NativeCallContext, options: Map) -> Fallible<Map> {
        let mut keys = Keys::new("container::prune", options);
        let filter = prune_filter(&mut keys).and_then(|filter| keys.finish().map(|()| filter)).raise(&ctx)?;
        engine(&ctx)?.container_prune(&filter).and_then(crate::script::system::report).raise(&ctx)
    }
}
