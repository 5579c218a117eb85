//! What scripts call of builds: functions that begin one, and the handle's properties and methods.
//!
//! Decodes, calls the engine once, encodes.

use std::path::PathBuf;
use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, Dynamic, EvalAltResult, FnPtr, ImmutableString, Map, NativeCallContext};

use super::{Build, Recipe, dockerfile, given, steps};
use crate::base::{Error, Result, Timestamp};
use crate::docker::dockerfile::{contexts, parse_instruction};
use crate::engine::Engine;
use crate::engine::build::{CachePrune, check_change};
use crate::model::build::{Action, Base, Change, Context, Origin, Position, Run, Step};
use crate::model::system::Cached;
use crate::script::context::{Host, engine, tag};
use crate::script::convert::Keys;
use crate::script::error::{Fallible, Raise};
use crate::script::secret::Secret;
use crate::script::units::{Size, a_type, size_of};

/// A [`Build`] or an image.
pub(crate) type Start = Dynamic;
/// A command: a string is a line for the image's shell, an array is argv.
pub(crate) type Command = Dynamic;
/// A string or an array of strings.
pub(crate) type Words = Dynamic;
/// A name or a number.
pub(crate) type User = Dynamic;

/// A recipe on nothing.
fn empty(host: &Host, of: &'static str, options: Map) -> Result<Recipe> {
    let mut keys = Keys::new(of, options);
    let text = keys.text("context")?;
    let mut recipe = Recipe::default();
    steps::credentials(of, &mut recipe, &mut keys)?;
    keys.finish()?;
    if let Some(text) = text.as_deref().filter(|text| contexts::is_elsewhere(text)) {
        let credentials = given::options(host, recipe.credentials.clone()).credentials;
        let fetched = contexts::fetched(host.engine()?, text, &credentials, false)?;
        let Some(path) = fetched.path().map(PathBuf::from) else {
            return Err(Error::invalid(format!("the context {text:?} is no archive")));
        };
        let context = Context { path, ignore: contexts::ignored(&fetched, None)?, ..Context::default() };
        let held = vec![Arc::new(fetched)];
        return Ok(Recipe { contexts: vec![context], whole: true, _held: held, ..recipe });
    }
    let path = text.map_or_else(|| given::context(host), PathBuf::from);
    Ok(Recipe { contexts: vec![Context { path, ..Context::default() }], ..recipe })
}

fn begin(host: &Host, base: &Start, options: Map) -> Result<Build> {
    let recipe = empty(host, "build::from", options)?;
    let build = Build::new(host.engine()?.clone(), recipe);
    let origin = steps::origin(&mut build.clone().recipe(), base, &build)?;
    build.recipe().base = match origin {
        Origin::Stage(index) => Base::Stage(index),
        Origin::Image(name) => Base::Image(name),
        Origin::Context(_) => Base::Scratch,
    };
    Ok(build)
}

/// Records a step, with the place of the call.
fn add(ctx: &NativeCallContext, build: &Build, text: String, action: Action) {
    let line = ctx.call_position().line().unwrap_or(0);
    let file = ctx.call_source().unwrap_or("script").to_owned();
    let position = Some(Position { file, line, end_line: line });
    let mut recipe = build.recipe();
    recipe.report = None;
    recipe.steps.push(Step { action, text, position });
}

/// Records a change of the config; one that makes no sense fails here, and not where the build is solved.
fn change(ctx: &NativeCallContext, build: &Build, text: String, change: Change) -> Fallible<Build> {
    check_change(&change).raise(ctx)?;
    add(ctx, build, text, Action::Config(Box::new(change)));
    Ok(build.clone())
}

/// Names and their values: text, numbers, true and false.
fn pairs(map: Map, of: &'static str) -> Result<Vec<(String, String)>> {
    for (name, value) in &map {
        if value.is::<Secret>() {
            return Err(Error::invalid(format!("{name:?} of {of} is a secret, and would be in the image"))
                .with_hint(format!("give it to the command alone: run(…, #{{ secrets: #{{ {name}: … }} }})")));
        }
        if value.is_unit() || value.is_map() || value.is_array() {
            return Err(Error::invalid(format!("{name:?} of {of} takes text or a number, not {}", a_type(value))));
        }
    }
    Keys::new(of, Map::from([("value".into(), map.into())])).pairs("value")
}

fn pair(name: &str, value: Dynamic, of: &'static str) -> Result<Vec<(String, String)>> {
    pairs(Map::from([(name.into(), value)]), of)
}

fn shown_pairs(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn shown_words(words: &[String], shell: bool) -> String {
    if shell { words.join(" ") } else { format!("{words:?}") }
}

fn cache(engine: &Engine, options: Map) -> Result<Map> {
    let mut keys = Keys::new("build::cache", options);
    let prune = keys.flag("prune")?;
    let what = CachePrune {
        unused_for: keys.duration("unused_for")?,
        keep_bytes: keys.take("keep").map(|size| size_of(&size)).transpose()?,
        mounts: keys.flag("mounts")?,
        unshared: false,
    };
    let list = keys.flag("list")?;
    keys.finish()?;
    let mut map = Map::new();
    if prune {
        let report = engine.build_cache_prune(&what)?;
        map.insert("removed".into(), (report.items.len() as i64).into());
        map.insert("freed".into(), Dynamic::from(Size(report.freed_bytes)));
    } else if what != CachePrune::default() {
        return Err(Error::invalid("these options say what goes").with_hint("add prune: true"));
    }
    let steps = engine.build_cache_list()?;
    let mut layers: Vec<_> = steps.iter().filter_map(|step| step.layer.as_ref()).collect();
    layers.sort_by(|a, b| a.chain_id.cmp(&b.chain_id));
    layers.dedup_by(|a, b| a.chain_id == b.chain_id);
    map.insert("steps".into(), (steps.len() as i64).into());
    map.insert("size".into(), Dynamic::from(Size(layers.iter().map(|layer| layer.size_bytes).sum())));
    if list {
        let (kept, _) = engine.build_cache_usage()?;
        map.insert("items".into(), kept.into_iter().map(item).collect::<Array>().into());
    }
    Ok(map)
}

/// One thing that is kept, as a row.
fn item(kept: Cached) -> Dynamic {
    let time = |time: Option<Timestamp>| time.map_or(Dynamic::UNIT, Dynamic::from);
    let pairs = [
        ("id", kept.id.into()),
        ("kind", if kept.is_mount { "mount" } else { "step" }.into()),
        ("text", kept.text.into()),
        ("size", Dynamic::from(Size(kept.size_bytes))),
        ("created", time(kept.created)),
        ("used", time(kept.used)),
    ];
    pairs.into_iter().map(|(key, value): (&str, Dynamic)| (key.into(), value)).collect::<Map>().into()
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod build_functions {
    use super::*;

    /// Begins a build on an image, or a new stage on what another build has come to, with its arguments. Option: `context`,
    /// what `copy` takes files from: a folder, the URL of an archive, or that of a git repository (`URL.git#REFERENCE:FOLDER`).
    /// Without it that is the folder which `rhumb build` was given, otherwise the current one.
    ///
    /// ```rhai
    /// let b = build::from("base:1").run("echo hello > /greeting");
    /// assert(b.steps == 1);
    /// ```
    #[rhai_fn(name = "from", return_raw)]
    pub fn from_with(ctx: NativeCallContext, base: Start, options: Map) -> Fallible<Build> {
        begin(&tag(&ctx)?.host, &base, options).raise(&ctx)
    }

    #[rhai_fn(name = "from", return_raw)]
    pub fn from(ctx: NativeCallContext, base: Start) -> Fallible<Build> {
        from_with(ctx, base, Map::new())
    }

    /// Begins a build on nothing. Option: `context`, as `from`.
    ///
    /// ```rhai
    /// let b = build::scratch().label(#{ kind: "data" });
    /// b.commit("data:1");
    /// ```
    #[rhai_fn(name = "scratch", return_raw)]
    pub fn scratch_with(ctx: NativeCallContext, options: Map) -> Fallible<Build> {
        let recipe = empty(&tag(&ctx)?.host, "build::scratch", options).raise(&ctx)?;
        Ok(Build::new(engine(&ctx)?, recipe))
    }

    #[rhai_fn(name = "scratch", return_raw)]
    pub fn scratch(ctx: NativeCallContext) -> Fallible<Build> {
        scratch_with(ctx, Map::new())
    }

    /// Begins a build with what a Dockerfile says: its path, or the folder that it is in. Further steps go on top. Options:
    /// `context` (otherwise its folder), `target`, `args`, `contexts` (names and folders, `docker-image://IMAGE`,
    /// `oci-layout://DIR:TAG`, URLs of archives and of git repositories), `secrets` (ids and secrets), `ssh`,
    /// `allow` (`network.host`, `security.insecure`, `device`).
    ///
    /// ```rhai
    /// let dir = host::temp_dir();
    /// host::write(`${dir}/Dockerfile`, "FROM base:1\nARG WHO\nRUN echo $WHO > /who\n");
    /// let b = build::dockerfile(dir, #{ args: #{ WHO: "me" } });
    /// b.run("test $(cat /who) = me").solve();
    /// ```
    #[rhai_fn(name = "dockerfile", return_raw)]
    pub fn dockerfile_with(ctx: NativeCallContext, path: ImmutableString, options: Map) -> Fallible<Build> {
        dockerfile::dockerfile(&tag(&ctx)?.host, path.as_str().as_ref(), options).raise(&ctx)
    }

    #[rhai_fn(name = "dockerfile", return_raw)]
    pub fn dockerfile_plain(ctx: NativeCallContext, path: ImmutableString) -> Fallible<Build> {
        dockerfile_with(ctx, path, Map::new())
    }

    /// Makes one layer of the steps that a function adds: what one of them writes and a later one removes is not in it.
    ///
    /// ```rhai
    /// let b = build::from("base:1");
    /// b.layer(|b| b.run("echo big > /big").run("rm /big && echo small > /small"));
    /// assert(b.commit("demo:1").layers.len() == image::get("base:1").layers.len() + 1);
    /// layer(b, || b.run("echo x > /x")); // a function without a parameter: written so, since Rhai locks the b of b.layer
    /// ```
    #[rhai_fn(global, name = "layer", return_raw)]
    pub fn layer(ctx: NativeCallContext, build: Build, steps: FnPtr) -> Fallible<Build> {
        let before = build.recipe().steps.len();
        // The build is the function's parameter, or comes from around it.
        let called = match steps.call_within_context::<Dynamic>(&ctx, (build.clone(),)) {
            Err(error) if matches!(&*error, EvalAltResult::ErrorFunctionNotFound(name, _) if name.starts_with(steps.fn_name())) => {
                steps.call_within_context::<Dynamic>(&ctx, ())
            }
            called => called,
        };
        let own = build.recipe().steps.split_off(before);
        called.map(drop)?;
        let text = own.iter().map(|step| step.text.as_str()).collect::<Vec<_>>().join("; ");
        add(&ctx, &build, format!("LAYER {text}"), Action::Layer(own));
        Ok(build)
    }

    /// What the step cache holds: `steps`, `size`. With `prune: true` steps are forgotten first: those `unused_for` a time, the
    /// oldest until the rest is no larger than `keep`, or all; `mounts: true` removes the caches of commands, too.
    /// With `list: true` there are `items` as well: each with its `id`, `kind` (`step` or `mount`), `text`, `size`, and when it
    /// was `created` and last `used`.
    ///
    /// ```rhai
    /// let c = build::cache(#{ prune: true, unused_for: 30.days });
    /// print(`${c.steps} steps, ${c.size}`);
    /// for item in build::cache(#{ list: true }).items { print(`${item.text}: ${item.size}`); }
    /// ```
    #[rhai_fn(name = "cache", return_raw)]
    pub fn cache_with(ctx: NativeCallContext, options: Map) -> Fallible<Map> {
        cache(&engine(&ctx)?, options).raise(&ctx)
    }

    #[rhai_fn(name = "cache", return_raw)]
    pub fn cache_all(ctx: NativeCallContext) -> Fallible<Map> {
        cache_with(ctx, Map::new())
    }

    /// Runs a command; what it changes is a layer. A string is a line for the image's shell, or when it begins with `#!` a script
    /// for the interpreter that is named there; an array is run as it is. Options:
    /// `cache` (targets and ids), `secrets` (ids and secrets), `ssh`, `mounts`, `network`, `env`, `user`, `workdir`, `timeout`,
    /// `extra_hosts`, `privileged`, `devices` (as of containers), `services`.
    ///
    /// Services are containers beside the command, which reaches them by their names in a network of the step's own; they
    /// lead outside only where the step does. Each is a name and the options of `container::create`, with its `image` (a
    /// name, a handle or a build); `timeout`, in which it must be ready (a minute): healthy where it has a health check,
    /// otherwise listening on a port that it exposes, otherwise running; `logs: true`, which shows what it writes; and
    /// `depends_on`, the services that it begins after: names of those that must be ready, or a map of names and the Compose
    /// specification's conditions (`service_started`, `service_completed_successfully`). A variable of its `environment` may be
    /// a secret. One that ends badly ends the step. They are gone after the step, and what they keep is no part of it.
    ///
    /// ```rhai
    /// let b = build::from("base:1");
    /// b.run("echo $WHO > /who", #{ env: #{ WHO: "me" }, network: "none" });
    /// b.run(["mkdir", "/made"]);
    /// b.run("grep db /etc/resolv.conf; true", #{ services: #{ db: #{ image: "base:1", command: "sleep 100" } } });
    /// b.solve();
    /// ```
    #[rhai_fn(global, name = "run", return_raw)]
    pub fn run_with(ctx: NativeCallContext, build: Build, command: Command, options: Map) -> Fallible<Build> {
        let (words, shell) = steps::command_words(&command, "run").raise(&ctx)?;
        let run = steps::run(&mut build.clone().recipe(), &command, options, &build).raise(&ctx)?;
        add(&ctx, &build, format!("RUN {}", shown_words(&words, shell)), Action::Run(Box::new(run)));
        Ok(build)
    }

    #[rhai_fn(global, name = "run", return_raw)]
    pub fn run(ctx: NativeCallContext, build: Build, command: Command) -> Fallible<Build> {
        run_with(ctx, build, command, Map::new())
    }

    /// Runs a command on what the build has come to so far, and gives what it writes to its standard output, without the line's
    /// end: for the image's environment, a label, or for what the script does next. What it changes is dropped. It is cached
    /// as any step is. Options as `run`.
    ///
    /// ```rhai
    /// let b = build::from("base:1").run("echo 1.2 > /version");
    /// b.env("VERSION", b.capture("cat /version"));
    /// assert(b.run("test $VERSION = 1.2").capture("echo $VERSION") == "1.2");
    /// ```
    #[rhai_fn(global, name = "capture", return_raw)]
    pub fn capture_with(
        ctx: NativeCallContext,
        build: Build,
        command: Command,
        options: Map,
    ) -> Fallible<ImmutableString> {
        let (words, shell) = steps::command_words(&command, "capture").raise(&ctx)?;
        // The build itself has no such step.
        let aside = build.aside();
        let run = steps::run(&mut aside.recipe(), &command, options, &build).raise(&ctx)?;
        let run = Run { capture: true, ..run };
        add(&ctx, &aside, format!("CAPTURE {}", shown_words(&words, shell)), Action::Run(Box::new(run)));
        let output = aside.captured(&tag(&ctx)?.host).raise(&ctx)?;
        Ok(output.into())
    }

    #[rhai_fn(global, name = "capture", return_raw)]
    pub fn capture(ctx: NativeCallContext, build: Build, command: Command) -> Fallible<ImmutableString> {
        capture_with(ctx, build, command, Map::new())
    }

    /// Copies files of the context, or of another build or an image (`from`). Further options: `chown`, `chmod`, `exclude`,
    /// `parents`, `link`, `optional`; a pattern that means nothing copies nothing. With `content` the file is made of that
    /// text, and none is read.
    ///
    /// ```rhai
    /// let made = build::from("base:1").run("mkdir /out && echo hi > /out/file");
    /// let b = build::from("base:1").copy("/out", "/in", #{ from: made, chmod: "a+rX" });
    /// b.solve();
    /// ```
    #[rhai_fn(global, name = "copy", return_raw)]
    pub fn copy_with(
        ctx: NativeCallContext,
        build: Build,
        source: Words,
        target: ImmutableString,
        options: Map,
    ) -> Fallible<Build> {
        let shown = steps::texts(&source, "copy").raise(&ctx)?.join(" ");
        let copy = steps::copy("copy", &mut build.clone().recipe(), &source, &target, options, &build).raise(&ctx)?;
        add(&ctx, &build, format!("COPY {shown} {target}"), Action::Copy(Box::new(copy)));
        Ok(build)
    }

    #[rhai_fn(global, name = "copy", return_raw)]
    pub fn copy(ctx: NativeCallContext, build: Build, source: Words, target: ImmutableString) -> Fallible<Build> {
        copy_with(ctx, build, source, target, Map::new())
    }

    /// Adds files as `copy` does, and unpacks archives (`unpack: false` copies them); sources may be addresses of files, with
    /// `checksum`, and of git repositories, `URL.git#REFERENCE:FOLDER` or `URL.git?ref=REFERENCE&subdir=FOLDER`, with a commit as
    /// `checksum` and `keep_git_dir`.
    ///
    /// ```rhai
    /// let made = build::from("base:1").run("echo hi > /file");
    /// build::from("base:1").add("/file", "/in/", #{ from: made }).solve();
    /// ```
    #[rhai_fn(global, name = "add", return_raw)]
    pub fn add_with(
        ctx: NativeCallContext,
        build: Build,
        source: Words,
        target: ImmutableString,
        options: Map,
    ) -> Fallible<Build> {
        let shown = steps::texts(&source, "add").raise(&ctx)?.join(" ");
        let copy = steps::copy("add", &mut build.clone().recipe(), &source, &target, options, &build).raise(&ctx)?;
        add(&ctx, &build, format!("ADD {shown} {target}"), Action::Copy(Box::new(copy)));
        Ok(build)
    }

    #[rhai_fn(global, name = "add", return_raw)]
    pub fn add_file(ctx: NativeCallContext, build: Build, source: Words, target: ImmutableString) -> Fallible<Build> {
        add_with(ctx, build, source, target, Map::new())
    }

    /// Sets variables of the image, for the steps that follow as well.
    ///
    /// ```rhai
    /// let b = build::from("base:1").env(#{ GREETING: "hello" });
    /// b.run("test $GREETING = hello").solve();
    /// ```
    #[rhai_fn(global, name = "env", return_raw)]
    pub fn env(ctx: NativeCallContext, build: Build, variables: Map) -> Fallible<Build> {
        let pairs = pairs(variables, "env").raise(&ctx)?;
        change(&ctx, &build, format!("ENV {}", shown_pairs(&pairs)), Change::Env(pairs))
    }

    #[rhai_fn(global, name = "env", return_raw)]
    pub fn env_one(ctx: NativeCallContext, build: Build, name: ImmutableString, value: Dynamic) -> Fallible<Build> {
        let pairs = pair(&name, value, "env").raise(&ctx)?;
        change(&ctx, &build, format!("ENV {}", shown_pairs(&pairs)), Change::Env(pairs))
    }

    /// Sets a variable for the steps that follow, and not for the image.
    ///
    /// ```rhai
    /// build::from("base:1").arg("VERSION", "2").run("test $VERSION = 2").solve();
    /// ```
    #[rhai_fn(global, name = "arg", return_raw)]
    pub fn arg(ctx: NativeCallContext, build: Build, name: ImmutableString, value: Dynamic) -> Fallible<Build> {
        set_args(ctx, build, Map::from([(name.as_str().into(), value)]))
    }

    /// Sets several variables for the steps that follow, and not for the image.
    ///
    /// ```rhai
    /// build::from("base:1").args(#{ VERSION: "2" }).run("test $VERSION = 2").solve();
    /// ```
    #[rhai_fn(global, name = "args", return_raw)]
    pub fn set_args(ctx: NativeCallContext, build: Build, variables: Map) -> Fallible<Build> {
        for (name, value) in pairs(variables, "args").raise(&ctx)? {
            change(&ctx, &build, format!("ARG {name}={value}"), Change::Arg(name, value))?;
        }
        Ok(build)
    }

    /// Sets the working directory, which is made when it is missing.
    ///
    /// ```rhai
    /// build::from("base:1").workdir("/srv").workdir("app").run("test $(pwd) = /srv/app").solve();
    /// ```
    #[rhai_fn(global, name = "workdir", return_raw)]
    pub fn workdir(ctx: NativeCallContext, build: Build, path: ImmutableString) -> Fallible<Build> {
        change(&ctx, &build, format!("WORKDIR {path}"), Change::Workdir(path.to_string()))
    }

    /// Sets the user of the steps that follow, and of the image: a name or a number, perhaps with a group (`"1000:100"`).
    ///
    /// ```rhai
    /// build::from("base:1").user(1000).run("test $(id -u) = 1000 || true").solve();
    /// ```
    #[rhai_fn(global, name = "user", return_raw)]
    pub fn user(ctx: NativeCallContext, build: Build, user: User) -> Fallible<Build> {
        let user = steps::user(user).raise(&ctx)?;
        change(&ctx, &build, format!("USER {user}"), Change::User(user))
    }

    /// Sets labels.
    ///
    /// ```rhai
    /// let i = build::from("base:1").label(#{ "org.example.kind": "demo" }).commit("demo:1");
    /// assert(i.labels["org.example.kind"] == "demo");
    /// ```
    #[rhai_fn(global, name = "label", return_raw)]
    pub fn label(ctx: NativeCallContext, build: Build, labels: Map) -> Fallible<Build> {
        let pairs = pairs(labels, "label").raise(&ctx)?;
        let text = format!("LABEL {}", shown_pairs(&pairs));
        change(&ctx, &build, text, Change::Label(pairs.into_iter().collect()))
    }

    #[rhai_fn(global, name = "label", return_raw)]
    pub fn label_one(ctx: NativeCallContext, build: Build, name: ImmutableString, value: Dynamic) -> Fallible<Build> {
        label(ctx, build, Map::from([(name.as_str().into(), value)]))
    }

    /// Says which ports the image's containers listen on.
    ///
    /// ```rhai
    /// build::from("base:1").expose(80).expose(["53/udp", "8000-8010"]).commit("demo:1");
    /// ```
    #[rhai_fn(global, name = "expose", return_raw)]
    pub fn expose(ctx: NativeCallContext, build: Build, ports: Dynamic) -> Fallible<Build> {
        let ports = steps::texts(&ports_as_text(ports), "expose").raise(&ctx)?;
        change(&ctx, &build, format!("EXPOSE {}", ports.join(" ")), Change::Expose(ports))
    }

    /// Says where the image's containers have volumes.
    ///
    /// ```rhai
    /// build::from("base:1").volume("/data").commit("demo:1");
    /// ```
    #[rhai_fn(global, name = "volume", return_raw)]
    pub fn volume(ctx: NativeCallContext, build: Build, targets: Words) -> Fallible<Build> {
        let targets = steps::texts(&targets, "volume").raise(&ctx)?;
        change(&ctx, &build, format!("VOLUME {}", targets.join(" ")), Change::Volume(targets))
    }

    /// Sets the shell of commands that are strings.
    ///
    /// ```rhai
    /// build::from("base:1").shell(["/bin/sh", "-ec"]).run("true").solve();
    /// ```
    #[rhai_fn(global, name = "shell", return_raw)]
    pub fn shell(ctx: NativeCallContext, build: Build, words: Array) -> Fallible<Build> {
        let words = steps::texts(&words.into(), "shell").raise(&ctx)?;
        if words.first().is_none_or(String::is_empty) {
            return Err(Error::invalid("a shell needs a program").with_hint("write [\"/bin/sh\", \"-ec\"]"))
                .raise(&ctx);
        }
        change(&ctx, &build, format!("SHELL {words:?}"), Change::Shell(words))
    }

    /// Sets the image's command. A string is a line for its shell.
    ///
    /// ```rhai
    /// let i = build::from("base:1").cmd(["echo", "hi"]).commit("demo:1");
    /// assert(container::oneshot(i, []).stdout == "hi\n");
    /// ```
    #[rhai_fn(global, name = "cmd", return_raw)]
    pub fn cmd(ctx: NativeCallContext, build: Build, command: Command) -> Fallible<Build> {
        let (words, shell) = steps::command_words(&command, "cmd").raise(&ctx)?;
        change(&ctx, &build, format!("CMD {}", shown_words(&words, shell)), Change::Cmd { words, shell })
    }

    /// Sets the fixed front of the image's command.
    ///
    /// ```rhai
    /// let i = build::from("base:1").entrypoint(["echo"]).cmd(["hi"]).commit("demo:1");
    /// assert(container::oneshot(i, []).stdout == "hi\n");
    /// ```
    #[rhai_fn(global, name = "entrypoint", return_raw)]
    pub fn entrypoint(ctx: NativeCallContext, build: Build, command: Command) -> Fallible<Build> {
        let (words, shell) = steps::command_words(&command, "entrypoint").raise(&ctx)?;
        let text = format!("ENTRYPOINT {}", shown_words(&words, shell));
        change(&ctx, &build, text, Change::Entrypoint { words, shell })
    }

    /// Says how the health of the image's containers is checked: a command, `"NONE"`, or a map with `command`. Options,
    /// behind the command or in the map: `interval`, `timeout`, `start_period`, `start_interval`, `retries`.
    ///
    /// ```rhai
    /// build::from("base:1").healthcheck("test -e /ready", #{ interval: 5.s }).commit("demo:1");
    /// build::from("base:1").healthcheck(#{ command: "test -e /ready", interval: 5.s }).commit("demo:1");
    /// ```
    #[rhai_fn(global, name = "healthcheck", return_raw)]
    pub fn healthcheck_with(ctx: NativeCallContext, build: Build, check: Command, options: Map) -> Fallible<Build> {
        let check = match check.is_map() {
            true => Err(Error::invalid("healthcheck takes one map").with_hint("write healthcheck(COMMAND, #{ … })")),
            false => Ok(Map::from([("command".into(), check)])),
        };
        let mut check = check.raise(&ctx)?;
        // A command in both is one too many.
        for (name, value) in options {
            if check.insert(name, value).is_some() {
                return Err(Error::invalid("the command of healthcheck is there twice")).raise(&ctx);
            }
        }
        healthcheck(ctx, build, check.into())
    }

    #[rhai_fn(global, name = "healthcheck", return_raw)]
    pub fn healthcheck(ctx: NativeCallContext, build: Build, check: Dynamic) -> Fallible<Build> {
        let check = steps::healthcheck(&check).raise(&ctx)?;
        let text = format!("HEALTHCHECK {}", check.test.join(" "));
        change(&ctx, &build, text, Change::HealthCheck(check))
    }

    /// Sets the signal that stops the image's containers.
    ///
    /// ```rhai
    /// build::from("base:1").stop_signal("SIGINT").commit("demo:1");
    /// ```
    #[rhai_fn(global, name = "stop_signal", return_raw)]
    pub fn stop_signal(ctx: NativeCallContext, build: Build, signal: ImmutableString) -> Fallible<Build> {
        change(&ctx, &build, format!("STOPSIGNAL {signal}"), Change::StopSignal(signal.to_string()))
    }

    /// Adds an instruction, in the Dockerfile's language, for Dockerfiles that build on the image.
    ///
    /// ```rhai
    /// build::from("base:1").onbuild("RUN make").commit("demo:1");
    /// ```
    #[rhai_fn(global, name = "onbuild", return_raw)]
    pub fn onbuild(ctx: NativeCallContext, build: Build, instruction: ImmutableString) -> Fallible<Build> {
        parse_instruction("ONBUILD", &format!("ONBUILD {instruction}")).raise(&ctx)?;
        change(&ctx, &build, format!("ONBUILD {instruction}"), Change::OnBuild(instruction.to_string()))
    }
}

/// A number is a port.
fn ports_as_text(ports: Dynamic) -> Dynamic {
    match ports.as_int() {
        Ok(port) => port.to_string().into(),
        Err(_) => ports,
    }
}
