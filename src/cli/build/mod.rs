//! `rhumb build`: a build script when there is one, otherwise a Dockerfile.
//!
//! ```text
//! build.rhai  ─▶ the script, with --tag and --NAME=VALUE of --build-arg as its arguments; other flags count for its builds
//! Dockerfile  ─▶ docker::dockerfile: parse, check, translate ─▶ --check | --to-rhai | the engine ─▶ image | output
//! ```

mod call;
mod give;
mod given;
mod input;
mod limits;
mod logs;
mod progress;
mod refused;
mod timeline;
mod values;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::{Args, Subcommand};

use crate::base::ignore::Ignore;
use crate::base::{Error, Kind, Result, suggest, units};
use crate::cli::attach::{self, Streams};
use crate::cli::flags::flag;
use crate::cli::registry::View;
use crate::cli::{Session, program, report};
use crate::docker::build as docker;
use crate::docker::dockerfile::check::{self, About, Checked};
use crate::docker::dockerfile::translate::{self, Options};
use crate::docker::dockerfile::{ast::Dockerfile, parse, print};
use crate::docker::words;
use crate::engine::Engine;
use crate::engine::build::{Debug, Enter, FetchedContext, Progress};
use crate::engine::container::AttachEnd;
use crate::engine::image::{PushOptions, SaveOptions};
use crate::model::build::{Attest, BuildOptions, CachePlace, Context, Credentials, Difference, Graph};
use crate::model::image::{ImageConfig, Pull};
use crate::script::Builds;
use call::Call;
use give::Target;
use given::GivenFlags;
use input::{Input, Recipe};
use limits::StepLimits;
use logs::LogsArgs;
use progress::Form;
use refused::RefusedFlags;

/// The argument that keeps the history of a build context that is a commit, as Docker has it.
const KEEP_GIT: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
/// The exit code of `--check` when there are warnings, as Docker has it.
const WARNED: u8 = 1;

// `rhumb build`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BuildArgs {
    // Before the others, which take their values out of what was parsed.
    #[command(flatten)]
    given: GivenFlags,
    #[command(subcommand)]
    verb: Option<BuildVerb>,
    /// Take the build script or Dockerfile from here [default: build.rhai, then Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Name the image
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// Build this stage
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set an argument: NAME=VALUE, or NAME with this environment's value
    #[arg(long, value_name = "ARG")]
    build_arg: Vec<String>,
    /// Give a folder or an image a name for FROM and --from: NAME=DIR, NAME=docker-image://IMAGE, NAME=oci-layout://DIR[:TAG],
    /// NAME=URL of an archive or a git repository
    #[arg(long, value_name = "CONTEXT")]
    build_context: Vec<String>,
    /// Build for this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Put a label on the image: NAME=VALUE
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// Put an annotation into the image's manifest: KEY=VALUE
    #[arg(long, value_name = "ANNOTATION")]
    annotation: Vec<String>,
    /// Give steps a secret: id=ID,src=FILE or id=ID,env=NAME; GIT_AUTH_TOKEN.HOST and HTTP_AUTH_TOKEN_HOST are for what is fetched
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// Give steps and git an ssh agent: default, ID=SOCKET, or ID=KEY for the file of a key
    #[arg(long, value_name = "AGENT")]
    ssh: Vec<String>,
    /// Do every step anew
    #[arg(long)]
    no_cache: bool,
    /// Do the steps of these stages anew
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Take steps from where --cache-to wrote them: type=local,src=DIR, or NAME in a registry or of an image here
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<String>,
    /// Write the steps' results: type=local,dest=DIR, type=registry,ref=NAME, or type=inline for the image itself; RUN's
    /// caches, too: mounts=true
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<String>,
    /// Write the result: DIR, type=local|tar|oci|docker,dest=PATH, or type=registry
    #[arg(short, long, value_name = "OUTPUT")]
    output: Vec<String>,
    /// Fetch base images anew, in case there are newer ones
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pull: Option<String>,
    /// Write the image to its registry: --output type=registry
    #[arg(long)]
    push: bool,
    /// Show what happens in this form
    #[arg(long, value_enum, value_name = "FORM", default_value = "auto", hide_possible_values = true)]
    #[arg(help = "Show what happens: auto, plain, tty, json or quiet")]
    progress: Form,
    /// Open a shell where a step fails, with everything as it was
    #[arg(long)]
    interactive: bool,
    /// Print the image's id and failures only
    #[arg(short, long)]
    quiet: bool,
    /// Write the image's id into this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write facts about the result into this file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Draw when each step ran, as an SVG picture in this file
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// Write when each step ran into this file, in the trace event format
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Give RUN this network: default, none or host
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Let steps ask for a right: network.host, security.insecure, device, device=NAME
    #[arg(long, value_name = "RIGHT", value_delimiter = ',')]
    allow: Vec<String>,
    /// Name a host for RUN: NAME:ADDRESS
    #[arg(long, value_name = "HOST")]
    add_host: Vec<String>,
    /// Limit what a process of RUN may use: nofile=1024:2048
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Give RUN so much shared memory
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Say in the OCI layout or at the registry how the image was built (SLSA provenance)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    /// Say in the OCI layout or at the registry which packages the image has (SPDX)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
    /// Say the one or the other: type=provenance, type=sbom
    #[arg(long, value_name = "ATTESTATION")]
    attest: Vec<String>,
    /// Build twice without the cache, and say which step and file differ first
    #[arg(long)]
    verify: bool,
    /// Print the build checks' warnings, and build nothing
    #[arg(long)]
    check: bool,
    /// Print what the Dockerfile says of itself, and build nothing: check, outline or targets; as JSON with ,format=json
    #[arg(long, alias = "print", value_name = "WHAT")]
    call: Option<String>,
    /// Print the build script that does the same, and build nothing
    #[arg(long)]
    to_rhai: bool,
    /// The build context: a folder, - for an archive or a Dockerfile from standard input, the URL of an archive, or that of
    /// a git repository: URL.git#REFERENCE:DIR or URL.git?branch=NAME&subdir=DIR
    #[arg(value_name = "DIR", default_value = ".")]
    context: String,
    #[command(flatten)]
    limits: StepLimits,
    #[command(flatten)]
    refused: RefusedFlags,
    /// What `--secret` and `--ssh` came to.
    #[arg(skip)]
    shown: OnceCell<Credentials>,
}

#[derive(Debug, Subcommand)]
enum BuildVerb {
    /// Print what the steps of a build wrote
    Logs(LogsArgs),
}

impl BuildArgs {
    /// Builds from a Dockerfile.
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        if let Some(BuildVerb::Logs(args)) = &self.verb {
            return args.run(session);
        }
        self.refused.check()?;
        let input = self.input(session)?;
        let (name, text) = input.dockerfile()?;
        self.dockerfile(&input, &name, &text, session)
    }

    /// Who one is to others; read once, since it may come from pipes.
    fn credentials(&self) -> Result<&Credentials> {
        if self.shown.get().is_none() {
            let all = Credentials { secrets: values::secrets(&self.secret)?, ssh: values::agents(&self.ssh)? };
            let _ = self.shown.set(all); // there is none yet
        }
        Ok(self.shown.get_or_init(Credentials::default))
    }

    fn input(&self, session: &Session) -> Result<Input> {
        let file = self.file.as_deref();
        match self.context.as_str() {
            "-" => Input::read(&session.engine()?, file),
            context if input::is_folder(context) => Input::find(context, file, self.is_about_dockerfile()?),
            context => {
                let keeps = values::arguments(&self.build_arg)?.get(KEEP_GIT).is_some_and(|value| value == "1");
                Input::fetch(&session.engine()?, context, file, self.credentials()?, keeps)
            }
        }
    }

    /// Runs the build script, when there is one; returns the exit code.
    pub(crate) fn script(&self, root: Option<&Path>) -> Result<Option<u8>> {
        if self.verb.is_some() {
            return Ok(None);
        }
        self.refused.check()?;
        if self.is_about_dockerfile()? || !input::is_folder(&self.context) {
            return Ok(None);
        }
        let found = Input::find(&self.context, self.file.as_deref(), false)?.recipe;
        let Recipe::Script(path) = found else { return Ok(None) };
        self.given.check_for_script()?;
        let mut args: Vec<String> = self.tag.iter().map(|tag| format!("--tag={tag}")).collect();
        args.extend(values::arguments(&self.build_arg)?.into_iter().map(|(name, value)| format!("--{name}={value}")));
        Ok(Some(program::script(root.map(Path::to_owned), &path, args, self.builds()?)))
    }

    /// What counts for all builds of a script.
    fn builds(&self) -> Result<Builds> {
        self.own_platform()?;
        let form = self.form();
        let one_at_a_time = Mutex::new(());
        Ok(Builds {
            context: PathBuf::from(&self.context),
            options: self.options()?,
            allow: self.allow.clone(),
            heeded: [docker::EPOCH, values::INLINE_CACHE].map(str::to_owned).to_vec(),
            show: Box::new(move |graph, build| {
                // Two builds at one time cannot both be drawn at the end of the window.
                let alone = one_at_a_time.try_lock();
                let form = if form.is_drawn() && alone.is_err() { Form::Quiet } else { form };
                progress::show(form, graph, |hears| build(hears));
            }),
            stages: Mutex::default(),
        })
    }

    /// Whether nothing is built, and only a Dockerfile can say what is asked for.
    fn is_about_dockerfile(&self) -> Result<bool> {
        Ok(self.to_rhai || call::read(self.call.as_deref(), self.check)?.0 != Call::Build)
    }

    /// How what happens is shown.
    fn form(&self) -> Form {
        if self.quiet { Form::Quiet } else { self.progress }
    }

    fn dockerfile(&self, input: &Input, name: &str, text: &[u8], session: &mut Session) -> Result<u8> {
        let file = parse(name, text)?;
        let ignore = Ignore::new(input.ignore.iter().map(String::as_str))
            .map_err(|error| error.context(format!("reading {:?}", input.ignore_file)))?;
        let (call, is_json) = call::read(self.call.as_deref(), self.check)?;
        let checked = checked(session, &file, &ignore);
        match call {
            Call::Check => return call::checks(&file, &checked, is_json, session),
            Call::Targets => return call::targets(&file, is_json, session),
            Call::Build | Call::Outline => {}
        }
        // What makes no sense is said before anything is fetched.
        let asked = if self.is_about_dockerfile()? { BuildOptions::default() } else { self.options()? };
        let mut held = Vec::new();
        let options = self.translation(input, session, &mut held)?;
        let pull = if self.to_rhai || call == Call::Outline { Some(Pull::Never) } else { self.pull()? };
        let mut images = |image: &str, _: Option<&str>| match pull {
            Some(Pull::Never) => Ok(known_config(session, image)),
            pull => base_config(session, image, pull, self.quiet),
        };
        let translated = translate::translate(&file, &options, &mut images)?;
        if call == Call::Outline {
            return call::outline(&file, &translated.graph, &options.arguments, is_json, session);
        }
        for warning in &checked.warnings {
            report::note(&format!("{}: warning: {}", place(&file, warning), warning.message));
        }
        warn_unused(&translated.unused_arguments);
        warn_unknown(&translated.graph, &self.no_cache_filter);
        if self.to_rhai && (input.is_passing() || !held.is_empty()) {
            return Err(Error::unsupported("a build script takes its files from folders of this machine")
                .with_hint("fetch the build context first"));
        }
        if self.to_rhai {
            session.out.text(&print::script(&translated.graph, &self.tag))?;
            return Ok(0);
        }
        if checked.fails {
            return Err(Error::invalid(format!("{name} asks for no warnings of the build checks, and there are some")));
        }
        translate::check_rights(&translated.graph, &self.allow)?;
        self.build(&translated.graph, asked, session).map_err(|error| with_stage(error, &file))?;
        Ok(0)
    }

    /// What the Dockerfile's names and variables mean.
    fn translation(&self, input: &Input, session: &Session, held: &mut Vec<FetchedContext>) -> Result<Options> {
        let own = self.own_platform()?;
        Ok(Options {
            target: self.target.clone(),
            arguments: values::arguments(&self.build_arg)?,
            platform: self.platform.clone().unwrap_or_else(|| own.clone()),
            build_platform: own,
            context: Context { path: input.context.clone(), ignore: input.ignore.clone(), ..Context::default() },
            named: match self.build_context.as_slice() {
                [] => BTreeMap::new(),
                given => values::contexts(given, session, self.credentials()?, held)?,
            },
        })
    }

    /// This machine's platform, which is the one that is built for.
    fn own_platform(&self) -> Result<String> {
        let own = translate::own_platform();
        if let Some(platform) = &self.platform
            && *platform != own
            && !platform.starts_with(&format!("{own}/"))
        {
            return Err(Error::unsupported(format!("images for {platform:?} are not built on a machine of {own}"))
                .with_hint("build on such a machine"));
        }
        Ok(own)
    }

    /// `--pull`, in Docker's words and in podman's.
    fn pull(&self) -> Result<Option<Pull>> {
        let pull = match self.pull.as_deref() {
            None => return Ok(None),
            Some("true") => Ok(Pull::Always),
            Some("false") => Ok(Pull::Missing),
            Some(other) => Pull::parse(other),
        };
        pull.map(Some).map_err(|error| error.context("reading --pull"))
    }

    /// What is asked for besides the graph.
    fn options(&self) -> Result<BuildOptions> {
        let cache_from = |text: &String| flag("--cache-from", docker::cache_from(text));
        let cache_to = |text: &String| flag("--cache-to", docker::cache_to(text));
        let arguments = values::arguments(&self.build_arg)?;
        let shm_size = self.shm_size.as_deref().map(units::parse_bytes).transpose();
        Ok(BuildOptions {
            tags: self.tags()?,
            no_cache: self.no_cache,
            no_cache_filter: self.no_cache_filter.iter().map(|stage| stage.to_ascii_lowercase()).collect(),
            credentials: self.credentials()?.clone(),
            epoch: values::epoch(&arguments)?,
            network: values::network(self.network.as_deref())?,
            extra_hosts: values::hosts(&self.add_host)?,
            labels: values::labels(&self.label)?,
            ulimits: self.ulimit.iter().map(|text| flag("--ulimit", words::ulimit(text))).collect::<Result<_>>()?,
            shm_size_bytes: shm_size.map_err(|error| error.context("reading --shm-size"))?,
            limits: self.limits.limits()?,
            cgroup_parent: self.limits.cgroup_parent()?,
            annotations: give::annotations(&self.annotation, &self.output)?,
            cache_from: self.cache_from.iter().map(cache_from).collect::<Result<_>>()?,
            cache_to: self.cache_to.iter().map(cache_to).chain(values::inline(&arguments)).collect::<Result<_>>()?,
            pull: self.pull()?,
            ..BuildOptions::default()
        })
    }

    /// The image's names: those of `--tag`, and those of outputs.
    fn tags(&self) -> Result<Vec<String>> {
        Ok(self.tag.iter().cloned().chain(give::names(&self.output)?).collect())
    }

    fn build(&self, graph: &Graph, mut options: BuildOptions, session: &mut Session) -> Result<()> {
        let targets = give::targets(&self.output, self.push)?;
        let tags = self.tags()?;
        if tags.is_empty() && targets.iter().any(|target| matches!(target, Target::Registry(_))) {
            return Err(Error::invalid("an image is written to the registry that its name names, and it has no name")
                .with_hint("add --tag REGISTRY/NAME"));
        }
        let attestable = |target: &Target| matches!(target, Target::Archive { .. } | Target::Registry(_));
        let attest = values::attest(&self.attest, self.provenance.as_deref(), self.sbom.as_deref())?;
        if attest != Attest::default() && !targets.iter().any(attestable) {
            return Err(Error::unsupported("attestations go into an OCI layout or to a registry, and none is written")
                .with_hint("add --output type=oci,dest=FILE, or --push"));
        }
        let form = self.form();
        let engine = session.engine()?;
        if self.verify {
            let found = shown(form, graph, |hears| engine.build_verify(graph, &options, hears));
            if let Some(difference) = found.map_err(docker::without_output)? {
                let Difference { text, position, path, what } = difference;
                let place = position.map_or_else(String::new, |at| format!("{}:{}: ", at.file, at.line));
                return Err(Error::failed(format!("{place}the step {text:?} is not reproducible: {path} {what}")));
            }
        }
        if self.interactive {
            self.with_shell(&engine, graph, &options, session)?;
            // What was just done anew is not done a second time.
            options.no_cache = false;
            options.no_cache_filter.clear();
        }
        let mut image = None;
        for target in &targets {
            let made = shown(form, graph, |hears| match target {
                Target::Image(_) | Target::Registry(_) | Target::Archive { .. } => {
                    engine.build_commit(graph, &options, hears).map(|(made, report)| (Some(made), report))
                }
                Target::Folder(dir) => engine.build_output(graph, &options, hears, dir).map(|report| (None, report)),
                Target::Tar(path) => {
                    give::tar(&engine, graph, &options, hears, path.as_deref(), session).map(|report| (None, report))
                }
            });
            let (made, report) = made.map_err(docker::without_output)?;
            for warning in &report.warnings {
                report::note(&format!("warning: {warning}"));
            }
            let compression = target.compression();
            // What is said is said of the manifest that goes there.
            let made = match (made, compression) {
                (Some(image), Some(how)) => Some(engine.image_recompressed(&image, how)?),
                (made, _) => made,
            };
            if let (Some(image), Target::Archive { path, format, .. }) = (&made, target) {
                let attestations = engine.build_attest(graph, &options, &report, image, attest)?;
                let how = SaveOptions { format: *format, attestations, compression };
                give::archive(&engine, image, &tags, path.as_deref(), session, how)?;
            }
            if let (Some(image), Target::Registry(_)) = (&made, target) {
                let attestations = engine.build_attest(graph, &options, &report, image, attest)?;
                let how = PushOptions { attestations, compression };
                for tag in &tags {
                    let view = View::new(self.quiet, "Pushed");
                    view.show(|hears| engine.image_push(tag, &how, hears))?;
                }
            }
            if let Some(file) = &self.timeline {
                give::file(file, timeline::svg(&report).as_bytes())?;
            }
            if let Some(file) = &self.trace {
                give::file(file, format!("{:#}\n", timeline::trace(&report)).as_bytes())?;
            }
            image = image.or(made);
            if let Some(file) = &self.metadata_file {
                give::metadata(file, image.as_ref(), &report)?;
            }
        }
        let is_for_images =
            !options.annotations.is_empty() || options.cache_to.iter().any(|to| to.place == CachePlace::Inline);
        if image.is_none() && is_for_images {
            report::note("warning: annotations and inline caches go into images, and none was asked for");
        }
        match (&self.iidfile, &image) {
            (Some(file), Some(image)) => give::file(file, image.id.as_str().as_bytes())?,
            (Some(_), None) => return Err(Error::invalid("--iidfile is for images, and none was asked for")),
            (None, _) => {}
        }
        if let Some(image) = image.filter(|_| !targets.iter().any(Target::takes_standard_output)) {
            session.out.line(&image.id)?;
        }
        Ok(())
    }
}

impl BuildArgs {
    /// Does the steps; where one fails the user gets a shell.
    fn with_shell(&self, engine: &Engine, graph: &Graph, options: &BuildOptions, session: &mut Session) -> Result<()> {
        session.out.flush()?;
        let interrupt = session.interrupt();
        let streams =
            Streams { stdin: true, stdout: true, stderr: true, tty: true, sig_proxy: false, detach_keys: None };
        let shell = |place: &str, enter: &mut Enter<'_>| {
            report::note(&format!("a shell in {place}: leave it with exit"));
            attach::joined(interrupt, &streams, |attachment| enter(attachment).map(AttachEnd::Exited)).map(drop)
        };
        let debug = Debug { shell: Some(&shell), ..Debug::default() };
        // A live view would draw over the shell.
        let form = if self.progress == Form::Auto && !self.quiet { Form::Plain } else { self.progress };
        let solved = shown(form, graph, |hears| engine.build_solve_with(graph, options, hears, &debug));
        solved.map(drop).map_err(docker::without_output)
    }
}

/// Runs a build and shows it.
fn shown<T>(form: Form, graph: &Graph, build: impl FnOnce(&Progress<'_>) -> Result<T>) -> Result<T> {
    let mut made = None;
    progress::show(form, graph, |hears| made.insert(build(hears)).is_ok());
    made.expect("showing a build runs it")
}

/// Where a warning is, and its rule.
fn place(file: &Dockerfile, warning: &check::Warning) -> String {
    format!("{}:{}:{}: {}", file.file, warning.span.line, warning.span.column, warning.rule)
}

/// An image that is not there is likely a stage that was mistyped.
fn with_stage(error: Error, file: &Dockerfile) -> Error {
    let missing = error.subject().filter(|(noun, _)| *noun == "image").map(|(_, name)| name);
    let stages = file.stages.iter().filter_map(|stage| Some(stage.name.as_ref()?.text.as_str()));
    let near = missing.and_then(|name| suggest::nearest(name, stages).map(str::to_owned));
    near.into_iter().fold(error, |error, near| error.with_hint(format!("did you mean the stage {near:?}?")))
}

/// Stages that are to be done anew and that are not there are likely mistyped.
fn warn_unknown(graph: &Graph, filter: &[String]) {
    let known = || graph.stages.iter().filter_map(|stage| stage.name.as_deref());
    for name in filter.iter().filter(|name| !known().any(|known| known.eq_ignore_ascii_case(name))) {
        let hint = suggest::hint(name, known()).map_or_else(String::new, |hint| format!("; {hint}"));
        report::note(&format!("warning: no stage that is built is called {name:?}{hint}"));
    }
}

/// Arguments that nothing declares are likely mistyped.
fn warn_unused(names: &[String]) {
    if !names.is_empty() {
        report::note(&format!("warning: no ARG declares {}", names.join(", ")));
    }
}

/// The warnings of the build checks.
fn checked(session: &Session, file: &Dockerfile, ignore: &Ignore) -> Checked {
    let mut configs = BTreeMap::new();
    for stage in &file.stages {
        if let Some(config) = known_config(session, &stage.base.text) {
            configs.insert(stage.base.text.clone(), config);
        }
    }
    let images = |image: &str| configs.get(image).cloned();
    check::check(file, &About { ignore: Some(ignore), images: Some(&images) })
}

/// What a base image says, which is fetched where that is wanted.
fn base_config(session: &Session, image: &str, pull: Option<Pull>, quiet: bool) -> Result<Option<ImageConfig>> {
    // An engine that cannot be opened says why when it is to build.
    let Ok(engine) = session.engine() else { return Ok(None) };
    let view = View::new(quiet, "Pull complete");
    match view.show(|hears| engine.image_for_build(image, pull.unwrap_or(engine.pull_policy()), hears)) {
        Ok(image) => Ok(Some(image.config)),
        // It is said where it stands, when it is built on.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::InvalidArgument) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an image says; none when it is not here, or no state root is: printing needs neither.
fn known_config(session: &Session, image: &str) -> Option<ImageConfig> {
    let engine = session.engine().ok()?;
    match engine.image_get_for_build(image) {
        Ok(image) => Some(image.config),
        // What is no reference is said where it stands.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::InvalidArgument) => None,
        Err(error) => {
            report::note(&format!("warning: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_stage_is_found_by_the_image_that_is_missing() {
        let file = parse("Dockerfile", b"FROM base AS builder\nFROM base\nCOPY --from=bilder /x /x\n").unwrap();
        let missing =
            |noun, name: &str| Error::not_found("none").about(noun, name).context("building Dockerfile:3: COPY");
        assert_eq!(with_stage(missing("image", "bilder"), &file).hint(), Some("did you mean the stage \"builder\"?"));
        for error in [missing("image", "postgres"), missing("volume", "bilder"), Error::failed("x")] {
            assert_eq!(with_stage(error, &file).hint(), None);
        }
    }
}
