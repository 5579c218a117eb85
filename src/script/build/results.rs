//! What becomes of a build, as scripts call it: solved, an image, files; and what is told of it.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use super::functions::Words;
use super::{Build, given, steps};
use crate::base::{Context as _, Error, Result, Timestamp};
use crate::docker::build as docker;
use crate::engine::build::{Debug, Enter, Progress};
use crate::engine::container::Attachment;
use crate::engine::image::{PushOptions, SaveOptions, SaveTo};
use crate::model::build::{Attest, BuildOptions, CachePlace, CacheTarget, Graph, Network};
use crate::model::image::{self as model, ArchiveFormat, Pull};
use crate::model::log::Stream;
use crate::script::context::{Host, tag};
use crate::script::convert::Keys;
use crate::script::error::{Fallible, Raise};
use crate::script::image::{Image, compression};
use crate::script::units::a_type;
use crate::sys::terminal::RawMode;

/// What `commit`, `output` and `solve` take besides.
fn options_of(host: &Host, build: &Build, of: &'static str, options: Map) -> Result<(Graph, BuildOptions)> {
    options_from(host, build, Keys::new(of, options))
}

fn options_from(host: &Host, build: &Build, mut keys: Keys) -> Result<(Graph, BuildOptions)> {
    let (graph, credentials) = build.graph()?;
    let mut all = given::options(host, credentials);
    all.no_cache = keys.optional_flag("no_cache")?.unwrap_or(all.no_cache);
    all.epoch = epoch(&mut keys, all.epoch)?;
    all.timeout = keys.duration("timeout")?;
    all.jobs = keys.integer("jobs")?.map(jobs).transpose()?;
    // Those of the command line are on top, as they are for Dockerfiles.
    all.labels = keys.labels()?.into_iter().chain(all.labels).collect();
    let cached = keys.texts("cache_from")?;
    for text in cached {
        all.cache_from.push(cache_place(&text)?);
    }
    let mounts = keys.flag("cache_mounts")?;
    let kept = keys.texts("cache_to")?;
    let target = |text: &String| match text.starts_with("type=") {
        true => docker::cache_to(text).map(|target| CacheTarget { mounts: mounts || target.mounts, ..target }),
        false => Ok(CacheTarget { place: cache_place(text)?, mounts }),
    };
    for text in &kept {
        all.cache_to.push(target(text)?);
    }
    all.pull = keys.text("pull")?.as_deref().map(Pull::parse).transpose()?.or(all.pull);
    all.network = match keys.text("network")?.as_deref() {
        None => all.network,
        Some("default") => Network::Default,
        Some("none") => Network::None,
        Some("host") => Network::Host,
        Some(other) => {
            return Err(Error::invalid(format!("{other:?} is no network of a step"))
                .with_hint("use \"none\", \"host\" or \"default\""));
        }
    };
    keys.finish()?;
    Ok((graph, all))
}

/// A time, or seconds since 1970; without either what the command line or this environment says, as for Dockerfiles.
fn epoch(keys: &mut Keys, given: Option<Timestamp>) -> Result<Option<Timestamp>> {
    let Some(value) = keys.take("epoch") else {
        let environment = || std::env::var(docker::EPOCH).map_or(Ok(None), |text| docker::epoch(&text));
        return given.map_or_else(environment, |time| Ok(Some(time)));
    };
    if let Some(time) = value.read_lock::<Timestamp>() {
        return Ok(Some(*time));
    }
    let text = value.to_string();
    if value.is_string()
        && let Ok(time) = Timestamp::parse(&text)
    {
        return Ok(Some(time));
    }
    match (value.is_int() || value.is_string()) && !text.is_empty() {
        true => docker::epoch(&text).map_err(|_| {
            Error::invalid(format!("\"epoch\" is {text:?}, which is no time"))
                .with_hint("give seconds since 1970, or a time such as \"2026-01-31T00:00:00Z\"")
        }),
        false => Err(Error::invalid(format!("\"epoch\" takes a time or seconds since 1970, not {}", a_type(&value)))),
    }
}

fn jobs(number: i64) -> Result<usize> {
    let known = usize::try_from(number).ok().filter(|jobs| *jobs > 0);
    known
        .ok_or_else(|| Error::invalid(format!("{number} is no number of steps at one time")).with_hint("use 1 or more"))
}

/// A folder, or in Docker's words `type=registry,ref=NAME`.
fn cache_place(text: &str) -> Result<CachePlace> {
    match text.starts_with("type=") {
        true => docker::cache_from(text),
        false => Ok(CachePlace::Folder(PathBuf::from(text))),
    }
}

/// Takes off what is to be said of the image.
fn attest(keys: &mut Keys) -> Result<Attest> {
    Ok(Attest { provenance: keys.flag("provenance")?, sbom: keys.flag("sbom")? })
}

/// The image as it is where it goes.
fn recompressed(build: &Build, image: &model::Image, how: Option<model::Recompress>) -> Result<model::Image> {
    how.map_or_else(|| Ok(image.clone()), |how| build.engine.image_recompressed(image, how))
}

fn commit(host: &Host, build: &Build, tags: &Words, options: Map) -> Result<Image> {
    let mut keys = Keys::new("commit", options);
    let (attest, push) = (attest(&mut keys)?, keys.flag("push")?);
    let compression = compression(&mut keys, false)?;
    if attest != Attest::default() && !push {
        return Err(Error::unsupported("attestations go to a registry with the image").with_hint("add push: true"));
    }
    if compression.is_some() && !push {
        return Err(Error::unsupported("layers are compressed otherwise where an image goes, and this one stays here")
            .with_hint("add push: true, or push it later with that compression"));
    }
    let (graph, mut all) = options_from(host, build, keys)?;
    let own = steps::texts(tags, "commit")?;
    match own.is_empty() {
        // The names of the command line are for this image, then.
        true => host.heed("tag"),
        false => all.tags = own,
    }
    if push && all.tags.is_empty() {
        return Err(Error::invalid("an image is written to the registry that its name names, and it has no name"));
    }
    let (image, report) = given::shown(host, &graph, |hears| build.engine.build_commit(&graph, &all, hears))?;
    if push {
        let there = recompressed(build, &image, compression)?;
        let attestations = build.engine.build_attest(&graph, &all, &report, &there, attest)?;
        let how = PushOptions { attestations, compression };
        for tag in &all.tags {
            build.engine.image_push(tag, &how, &|_| {})?;
        }
    }
    build.recipe().report = Some(report);
    Ok(Image { engine: build.engine.clone(), id: image.id })
}

fn output(host: &Host, build: &Build, path: &str, options: Map) -> Result<()> {
    let mut keys = Keys::new("output", options);
    let kind = keys.text("type")?;
    let (attest, compression) = (attest(&mut keys)?, compression(&mut keys, false)?);
    if attest != Attest::default() && !matches!(kind.as_deref(), Some("oci" | "oci-archive")) {
        return Err(Error::unsupported("attestations go into an OCI layout").with_hint("add type: \"oci-archive\""));
    }
    if compression.is_some() && matches!(kind.as_deref(), None | Some("local" | "tar")) {
        return Err(Error::invalid("files are not compressed as layers are").with_hint("add type: \"oci-archive\""));
    }
    let (graph, all) = options_from(host, build, keys)?;
    let all = BuildOptions { tags: Vec::new(), ..all };
    let path = Path::new(path);
    let archive = |format, hears: &Progress<'_>| {
        let (image, report) = build.engine.build_commit(&graph, &all, hears)?;
        let there = recompressed(build, &image, compression)?;
        let attestations = build.engine.build_attest(&graph, &all, &report, &there, attest)?;
        let how = SaveOptions { format, attestations, compression };
        build.engine.image_save_with(&[image.id.to_string()], SaveTo::Path(path), how).map(|()| report)
    };
    let report = given::shown(host, &graph, |hears| match kind.as_deref() {
        None | Some("local") => build.engine.build_output(&graph, &all, hears, path),
        Some("tar") => build.engine.build_tar_at(&graph, &all, hears, path),
        Some("oci") => archive(ArchiveFormat::OciDir, hears),
        Some("oci-archive") => archive(ArchiveFormat::OciArchive, hears),
        Some("docker") => archive(ArchiveFormat::DockerArchive, hears),
        Some(other) => Err(Error::invalid(format!("there is no output of the type {other:?}"))
            .with_hint("use local, tar, oci, oci-archive or docker")),
    })?;
    build.recipe().report = Some(report);
    Ok(())
}

/// Opens a shell at the end of the build, or where a step fails.
fn shell(host: &Host, build: &Build, options: Map) -> Result<()> {
    let terminal = host.console.lock().unwrap_or_else(PoisonError::into_inner).terminal.clone();
    let terminal = terminal.ok_or_else(|| {
        Error::invalid("there is no terminal for a shell").with_hint("run the script at a terminal, or use run")
    })?;
    let (graph, all) = options_of(host, build, "sh", options)?;
    let open = |place: &str, enter: &mut Enter<'_>| {
        host.note(&format!("a shell in {place}: leave it with exit"));
        let raw = RawMode::enter(terminal.as_fd()).context(|| "using the terminal")?;
        let mut show = |_: Stream, bytes: &[u8]| -> Result<()> {
            let mut console = host.console.lock().unwrap_or_else(PoisonError::into_inner);
            let written = console.out.write_all(bytes).and_then(|()| console.out.flush());
            written.context(|| "writing to the terminal")
        };
        let ended = enter(Attachment {
            stdin: Some(terminal.as_fd()),
            output: &mut show,
            terminal: Some(terminal.as_fd()),
            detach_keys: Vec::new(),
            signals: None,
            interrupt: host.interrupt(),
            deadline: None,
        });
        drop(raw);
        ended.map(drop)
    };
    let debug = Debug { shell: Some(&open), at_end: true, ..Debug::default() };
    let report = build.engine.build_solve_with(&graph, &all, &|_| {}, &debug)?;
    build.recipe().report = Some(report);
    Ok(())
}

fn verify(host: &Host, build: &Build, options: Map) -> Result<Option<Map>> {
    let (graph, all) = options_of(host, build, "verify", options)?;
    let found = given::shown(host, &graph, |hears| build.engine.build_verify(&graph, &all, hears))?;
    let Some(difference) = found else { return Ok(None) };
    let line = difference.position.map_or(0, |position| position.line);
    let pairs = [
        ("step", difference.text.into()),
        ("line", (line as i64).into()),
        ("path", difference.path.into()),
        ("what", difference.what.into()),
    ];
    Ok(Some(pairs.into_iter().map(|(key, value): (&str, Dynamic)| (key.into(), value)).collect()))
}

fn solve(host: &Host, build: &Build, options: Map) -> Result<()> {
    let (graph, all) = options_of(host, build, "solve", options)?;
    let report = given::shown(host, &graph, |hears| build.engine.build_solve(&graph, &all, hears))?;
    build.recipe().report = Some(report);
    Ok(())
}

fn plan(build: &Build) -> Result<Array> {
    let (graph, _) = build.graph()?;
    let mut rows = Array::new();
    for (index, stage) in graph.stages.iter().enumerate() {
        for step in &stage.steps {
            let mut row = Map::new();
            row.insert("stage".into(), (index as i64).into());
            row.insert("step".into(), step.text.clone().into());
            let line = step.position.as_ref().map_or(0, |position| position.line);
            row.insert("line".into(), (line as i64).into());
            rows.push(row.into());
        }
    }
    Ok(rows)
}

fn why(host: &Host, build: &Build) -> Result<String> {
    if build.recipe().report.is_none() {
        solve(host, build, Map::new())?;
    }
    let recipe = build.recipe();
    let lines = recipe.report.iter().flat_map(|report| &report.steps).map(|step| match step.cached {
        true => format!("cached  {}", step.text),
        false => format!("done    {}: {}", step.text, step.why),
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod build_results {
    use super::*;

    /// Does the steps, and keeps them in the cache. Options: `no_cache`, `network`, `timeout`, `jobs`; `epoch`, a time or seconds
    /// since 1970 that no file is later than (otherwise the variable `SOURCE_DATE_EPOCH` says it); `pull`, when
    /// images are fetched (`missing`, `always`, `never`); `cache_from`, folders that steps are taken from which are not in the
    /// cache, `cache_to`, folders that the steps are written to, with `cache_mounts: true` also what commands keep in their
    /// caches. Instead of a folder, `type=registry,ref=NAME` is a place in a registry, and `type=inline` the image that
    /// `commit` makes.
    ///
    /// ```rhai
    /// let b = build::from("base:1").run("true").solve();
    /// print(b.cached);
    /// ```
    #[rhai_fn(global, name = "solve", return_raw)]
    pub fn solve_with(ctx: NativeCallContext, build: Build, options: Map) -> Fallible<Build> {
        solve(&tag(&ctx)?.host, &build, options).raise(&ctx)?;
        Ok(build)
    }

    #[rhai_fn(global, name = "solve", return_raw)]
    pub fn solve_all(ctx: NativeCallContext, build: Build) -> Fallible<Build> {
        solve_with(ctx, build, Map::new())
    }

    /// Does the steps and makes an image of this name, or these names; without any, of those that `rhumb build --tag` was given.
    /// Options as `solve`, and
    /// `labels`; with `push: true` the image is written to the registry that its name names, and with it, when `provenance: true`
    /// and `sbom: true` say so, how it was built and which packages it has. There its layers are compressed as `compression` says
    /// (`gzip`, `zstd`, `uncompressed`), those of the base as they came unless it is `force_compression: true`.
    ///
    /// ```rhai
    /// let i = build::from("base:1").run("echo hi > /hi").commit(["demo:1", "demo:latest"]);
    /// assert(i.tags == ["demo:1", "demo:latest"]);
    /// ```
    #[rhai_fn(global, name = "commit", return_raw)]
    pub fn commit_with(ctx: NativeCallContext, build: Build, tags: Words, options: Map) -> Fallible<Image> {
        commit(&tag(&ctx)?.host, &build, &tags, options).raise(&ctx)
    }

    #[rhai_fn(global, name = "commit", return_raw)]
    pub fn commit_named(ctx: NativeCallContext, build: Build, tags: Words) -> Fallible<Image> {
        commit_with(ctx, build, tags, Map::new())
    }

    #[rhai_fn(global, name = "commit", return_raw)]
    pub fn commit_plain(ctx: NativeCallContext, build: Build) -> Fallible<Image> {
        commit_with(ctx, build, Array::new().into(), Map::new())
    }

    /// Does the steps and writes the files of the result into a folder of this machine, or with `type: "tar"` into a tar. The
    /// types `oci`, `oci-archive` and `docker` write the image: an OCI layout, the same in a tar, Docker's archive. The first
    /// two take `provenance: true` and `sbom: true`: what the image refers to says how it was built, and which packages it
    /// has; all three `compression` and `force_compression` as `commit` does. Other options as `solve`.
    ///
    /// ```rhai
    /// let dir = host::temp_dir();
    /// let made = build::from("base:1").run("mkdir /out && echo hi > /out/hi");
    /// build::scratch().copy("/out", "/", #{ from: made }).output(dir);
    /// assert(host::read(`${dir}/hi`) == "hi\n");
    /// ```
    #[rhai_fn(global, name = "output", return_raw)]
    pub fn output_with(ctx: NativeCallContext, build: Build, dir: ImmutableString, options: Map) -> Fallible<()> {
        output(&tag(&ctx)?.host, &build, &dir, options).raise(&ctx)
    }

    #[rhai_fn(global, name = "output", return_raw)]
    pub fn output_to(ctx: NativeCallContext, build: Build, dir: ImmutableString) -> Fallible<()> {
        output_with(ctx, build, dir, Map::new())
    }

    /// Builds twice without the cache, on what looks like two machines at two times. Unit when both come to the same files;
    /// otherwise the first `step` that does not, its `line`, the first `path` that differs, and `what` of it. Options as
    /// `solve`.
    ///
    /// ```rhai
    /// assert(build::from("base:1").run("echo made > /made").verify() == ());
    /// let found = build::from("base:1").run("hostname > /name").verify();
    /// assert(found.path == "/name" && found.what == "has other content");
    /// ```
    #[rhai_fn(global, name = "verify", return_raw)]
    pub fn verify_with(ctx: NativeCallContext, build: Build, options: Map) -> Fallible<Dynamic> {
        let found = verify(&tag(&ctx)?.host, &build, options).raise(&ctx)?;
        Ok(found.map_or(Dynamic::UNIT, Dynamic::from))
    }

    #[rhai_fn(global, name = "verify", return_raw)]
    pub fn verify_plain(ctx: NativeCallContext, build: Build) -> Fallible<Dynamic> {
        verify_with(ctx, build, Map::new())
    }

    /// Opens a shell in what the build has come to, or, when a step fails, there, with everything as it was. What you change
    /// is lost when you leave it. Without a terminal it is an error. Options as `solve`.
    ///
    /// ```rhai
    /// let b = build::from("base:1").run("true");
    /// try { b.sh(); } catch (e) { assert(e.message.contains("no terminal")); }
    /// ```
    #[rhai_fn(global, name = "sh", return_raw)]
    pub fn sh_with(ctx: NativeCallContext, build: Build, options: Map) -> Fallible<()> {
        let host = tag(&ctx)?.host;
        shell(&host, &build, options).raise(&ctx)
    }

    #[rhai_fn(global, name = "sh", return_raw)]
    pub fn sh(ctx: NativeCallContext, build: Build) -> Fallible<()> {
        sh_with(ctx, build, Map::new())
    }

    /// The steps as a table, with those of the builds that it uses: `stage`, `step`, `line`.
    ///
    /// ```rhai
    /// let b = build::from("base:1").run("true");
    /// assert(b.plan()[0].step == "RUN true");
    /// ```
    #[rhai_fn(global, name = "plan", return_raw)]
    pub fn plan_of(ctx: NativeCallContext, build: Build) -> Fallible<Array> {
        plan(&build).raise(&ctx)
    }

    /// For each step whether it was cached and, if not, the first input that changed. Does the steps when they are not done
    /// yet.
    ///
    /// ```rhai
    /// print(build::from("base:1").run("true").why());
    /// ```
    #[rhai_fn(global, name = "why", return_raw)]
    pub fn why_of(ctx: NativeCallContext, build: Build) -> Fallible<ImmutableString> {
        why(&tag(&ctx)?.host, &build).raise(&ctx).map(ImmutableString::from)
    }

    /// How many steps there are; after a build, with those of the builds that it uses.
    ///
    /// ```rhai
    /// assert(build::from("base:1").run("true").steps == 1);
    /// ```
    #[rhai_fn(global, get = "steps")]
    pub fn steps_count(build: Build) -> i64 {
        let recipe = build.recipe();
        recipe.report.as_ref().map_or(recipe.steps.len(), |report| report.steps.len()) as i64
    }

    /// How many of the steps the last build found in the cache.
    ///
    /// ```rhai
    /// let b = build::from("base:1").run("true").solve();
    /// assert(b.solve().cached == b.steps);
    /// ```
    #[rhai_fn(global, get = "cached")]
    pub fn cached_count(build: Build) -> i64 {
        build.recipe().report.as_ref().map_or(0, |report| report.cached()) as i64
    }
}
