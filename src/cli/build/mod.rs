//! `rhumb build`: a build script when there is one, otherwise a Dockerfile.
//!
//! ```text
//! build.rhai  ─▶ the script, with --tag and --NAME=VALUE of --build-arg as its arguments
//! Dockerfile  ─▶ docker::dockerfile: parse, check, translate ─▶ --check | --to-rhai | the engine
//! ```

mod input;
mod refused;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;

use crate::base::ignore::Ignore;
use crate::base::{Error, Kind, Result};
use crate::cli::{Session, program, report};
use crate::docker::dockerfile::check::{self, About};
use crate::docker::dockerfile::translate::{self, Options};
use crate::docker::dockerfile::{ast::Dockerfile, parse, print};
use crate::model::build::Context;
use crate::model::image::ImageConfig;
use input::{Input, Recipe};
use refused::RefusedFlags;

/// The exit code of `--check` when there are warnings, as Docker has it.
const WARNED: u8 = 1;

// `rhumb build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
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
    /// Give a folder or an image a name for FROM and --from: NAME=DIR, NAME=docker-image://IMAGE
    #[arg(long, value_name = "CONTEXT")]
    build_context: Vec<String>,
    /// Build for this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print the build checks' warnings, and build nothing
    #[arg(long)]
    check: bool,
    /// Print the build script that does the same, and build nothing
    #[arg(long)]
    to_rhai: bool,
    #[command(flatten)]
    refused: RefusedFlags,
    /// The build context: a folder, or - for a Dockerfile from standard input
    #[arg(value_name = "DIR", default_value = ".")]
    context: String,
}

impl BuildArgs {
    /// Builds from a Dockerfile.
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        self.refused.check()?;
        let input = Input::find(&self.context, self.file.as_deref())?;
        let (name, text) = input.dockerfile()?;
        self.dockerfile(&input, &name, &text, session)
    }

    /// Runs the build script, when there is one; returns the exit code.
    pub(crate) fn script(&self, root: Option<&Path>) -> Result<Option<u8>> {
        self.refused.check()?;
        let Recipe::Script(path) = Input::find(&self.context, self.file.as_deref())?.recipe else { return Ok(None) };
        let given = [
            ("--target", self.target.is_some()),
            ("--build-context", !self.build_context.is_empty()),
            ("--platform", self.platform.is_some()),
            ("--check", self.check),
            ("--to-rhai", self.to_rhai),
        ];
        if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
            return Err(Error::invalid(format!("{flag} is for Dockerfiles, and {path:?} is a build script"))
                .with_hint("name the Dockerfile with --file"));
        }
        let mut args: Vec<String> = self.tag.iter().map(|tag| format!("--tag={tag}")).collect();
        args.extend(values::arguments(&self.build_arg)?.into_iter().map(|(name, value)| format!("--{name}={value}")));
        Ok(Some(program::script(root.map(Path::to_owned), path, args)))
    }

    fn dockerfile(&self, input: &Input, name: &str, text: &[u8], session: &mut Session) -> Result<u8> {
        let file = parse(name, text)?;
        let ignore = Ignore::new(input.ignore.iter().map(String::as_str))
            .map_err(|error| error.context(format!("reading {:?}", input.ignore_file)))?;
        if self.check {
            return self.print_checks(&file, &ignore, session);
        }
        let platform = format!("linux/{}", values::architecture());
        let options = Options {
            target: self.target.clone(),
            arguments: values::arguments(&self.build_arg)?,
            platform: self.platform.clone().unwrap_or_else(|| platform.clone()),
            build_platform: platform,
            context: Context { path: input.context.clone(), ignore: input.ignore.clone(), ..Context::default() },
            named: values::contexts(&self.build_context)?,
        };
        if !self.to_rhai {
            return Err(Error::unsupported("Dockerfiles are checked and translated, but not yet built")
                .with_hint("see --check, and --to-rhai, whose script can be run"));
        }
        let mut known = Known::default();
        let mut images = |image: &str, _: Option<&str>| Ok(known.config(session, image));
        let translated = translate::translate(&file, &options, &mut images)?;
        warn_unused(&translated.unused_arguments);
        session.out.text(&print::script(&translated.graph, &self.tag))?;
        Ok(0)
    }

    /// Prints the warnings to standard output, since they are what was asked for.
    fn print_checks(&self, file: &Dockerfile, ignore: &Ignore, session: &mut Session) -> Result<u8> {
        let mut known = Known::default();
        let mut configs = BTreeMap::new();
        for stage in &file.stages {
            if let Some(config) = known.config(session, &stage.base.text) {
                configs.insert(stage.base.text.clone(), config);
            }
        }
        let images = |image: &str| configs.get(image).cloned();
        let checked = check::check(file, &About { ignore: Some(ignore), images: Some(&images) });
        for warning in &checked.warnings {
            let (line, column) = (warning.span.line, warning.span.column);
            session.out.line(format_args!("{}:{line}:{column}: {}: {}", file.file, warning.rule, warning.message))?;
        }
        if checked.warnings.is_empty() {
            session.out.line("No warnings.")?;
        }
        Ok(if checked.warnings.is_empty() { 0 } else { WARNED })
    }
}

/// Arguments that nothing declares are likely mistyped.
fn warn_unused(names: &[String]) {
    if !names.is_empty() {
        report::note(&format!("warning: no ARG declares {}", names.join(", ")));
    }
}

/// What images say, as far as they are here.
#[derive(Default)]
struct Known {
    engine: Option<Option<crate::engine::Engine>>,
}

impl Known {
    /// None when the image is not here, or no state root is: printing needs neither.
    fn config(&mut self, session: &Session, image: &str) -> Option<ImageConfig> {
        let engine = self.engine.get_or_insert_with(|| session.engine().ok()).as_ref()?;
        match engine.image_get(image) {
            Ok(image) => Some(image.config),
            Err(error) if error.kind() == Kind::NotFound => None,
            Err(error) => {
                report::note(&format!("warning: {error}"));
                None
            }
        }
    }
}
