//! From a Dockerfile to the build's graph: arguments and variables get their values, names become stages and files.
//!
//! ```text
//! global ARG ─▶ names of bases ─▶ which stages the target needs, in order (stages.rs) ─▶ their steps (steps.rs)
//! ```
//!
//! Only what the target needs is translated. What an image says (its variables, its triggers) is asked of the caller.

mod stages;
mod steps;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::base::{Error, Result};
use crate::docker::dockerfile::ast::{Dockerfile, Word};
use crate::docker::dockerfile::{at, expand};
use crate::model::build::{Action, Context, Graph, Network};
use crate::model::image::ImageConfig;

/// The variables that commands have without being declared, when they are given with `--build-arg`.
pub const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The arguments that say for what and on what is built, and which stage is asked for.
pub const PLATFORM_ARGUMENTS: [&str; 11] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
];

/// Arguments that are there without being declared, and are nothing to warn about when they are not used.
const QUIET: [&str; 2] = ["SOURCE_DATE_EPOCH", "BUILDKIT_"];

/// Something with a name that `FROM` and `--from` find, besides stages and images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A folder, and the patterns of what is not in it.
    Folder(PathBuf, Vec<String>),
    /// An image.
    Image(String),
}

/// The platform of this machine, in the words of images.
pub fn own_platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("linux/{architecture}")
}

/// The rights that a build can be allowed to give to its steps; `device=NAME` is one device alone.
pub const RIGHTS: [&str; 3] = ["network.host", "security.insecure", "device"];

/// Refuses steps that ask for more than steps have, unless whoever builds allows it: what a base image's triggers or a
/// Dockerfile from elsewhere say is no consent (CVE-2024-23653).
///
/// # Errors
/// `permission_denied` with the place of the first one; `invalid_argument` for a right that there is not.
pub fn check_rights(graph: &Graph, allowed: &[String]) -> Result<()> {
    if let Some(unknown) =
        allowed.iter().find(|right| !RIGHTS.contains(&right.as_str()) && !right.starts_with(ONE_DEVICE))
    {
        let error = Error::invalid(format!("there is no right {unknown:?} to allow"));
        return Err(error.with_hint(format!("there are {}", RIGHTS.join(", "))));
    }
    for step in graph.stages.iter().flat_map(|stage| &stage.steps) {
        let Action::Run(run) = &step.action else { continue };
        let plain = [("network.host", run.network == Network::Host), ("security.insecure", run.insecure)];
        let plain = plain.into_iter().filter(|(_, asks)| *asks).map(|(right, _)| right.to_owned());
        let devices = run.devices.iter().map(|device| format!("{ONE_DEVICE}{}", device.name));
        for right in plain.chain(devices) {
            let all = right.split('=').next().unwrap_or(&right);
            if !allowed.iter().any(|allowed| *allowed == right || allowed == all) {
                let place = step.position.as_ref().map_or_else(String::new, |at| format!("{}:{}: ", at.file, at.line));
                return Err(Error::permission_denied(format!("{place}{} asks for {right}", step.text))
                    .with_hint(format!("allow it if you trust the step: --allow {right}")));
            }
        }
    }
    Ok(())
}

/// How the right to one device begins.
const ONE_DEVICE: &str = "device=";

/// What is asked for besides the file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The stage that is wanted: a name or a number. None is the last one.
    pub target: Option<String>,
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// `os/architecture[/variant]` of what is made, and of this machine.
    pub platform: String,
    /// The platform of this machine.
    pub build_platform: String,
    /// The build context.
    pub context: Context,
    /// `--build-context`.
    pub named: BTreeMap<String, Named>,
}

/// Asks what an image says; the platform is what the stage asks for. None when nobody can say.
pub type Images<'a> = &'a mut dyn FnMut(&str, Option<&str>) -> Result<Option<ImageConfig>>;

/// What comes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Translated {
    /// The graph.
    pub graph: Graph,
    /// Arguments of `--build-arg` that no `ARG` declares.
    pub unused_arguments: Vec<String>,
}

/// Makes the graph.
///
/// # Errors
/// `invalid_argument` with the place: what does not exist, what needs itself, what cannot be expanded.
pub fn translate(file: &Dockerfile, options: &Options, images: Images<'_>) -> Result<Translated> {
    let mut used = BTreeSet::new();
    let globals = globals(file, options, &mut used)?;
    let mut configs = BTreeMap::new();
    let plan = stages::plan(file, options, &globals, &mut |index, reference, platform| {
        let config = images(reference, platform).map_err(|error| {
            let place = &file.stages[index].base;
            error.context(at(&file.file, place.span, format!("FROM {reference}")).message().to_owned())
        })?;
        let triggers = config.as_ref().map(|config: &ImageConfig| config.on_build.clone()).unwrap_or_default();
        configs.insert(index, config);
        Ok(triggers)
    })?;
    let mut graph = Graph { target: 0, contexts: vec![options.context.clone()], ..Graph::default() };
    for (name, named) in &options.named {
        if let Named::Folder(path, ignore) = named {
            graph.contexts.push(Context { name: name.clone(), path: path.clone(), ignore: ignore.clone() });
        }
    }
    let mut states: Vec<steps::State> = Vec::new();
    for &index in &plan.order {
        let state = match &plan.bases[index] {
            stages::From::Stage(base) => states[plan.place(*base)].clone(),
            stages::From::Image(_) => steps::State::of_image(configs.remove(&index).flatten().as_ref()),
            stages::From::Scratch | stages::From::Folder(_) => steps::State::default(),
        };
        let (shown, used) = (file.file.clone(), &mut used);
        let mut walk = steps::Walk { file, shown, options, globals: &globals, plan: &plan, stage: index, state, used };
        let stage = walk.stage(&graph.contexts)?;
        states.push(walk.state);
        graph.stages.push(stage);
    }
    graph.target = graph.stages.len() - 1;
    let quiet = |name: &str| QUIET.iter().any(|quiet| name.starts_with(quiet)) || PROXIES.contains(&name);
    let unused = options.arguments.keys().filter(|name| !used.contains(*name) && !quiet(name)).cloned().collect();
    Ok(Translated { graph, unused_arguments: unused })
}

/// The arguments in front of the first `FROM`, over those of the platforms.
fn globals(file: &Dockerfile, options: &Options, used: &mut BTreeSet<String>) -> Result<variables::Globals> {
    let mut globals = variables::Globals::of_platforms(&options.platform, &options.build_platform);
    globals.predefine("TARGETSTAGE", options.target.as_deref().unwrap_or("default"));
    for name in PLATFORM_ARGUMENTS {
        if let Some(value) = options.arguments.get(name) {
            globals.predefine(name, value);
            used.insert(name.to_owned());
        }
    }
    for instruction in &file.arguments {
        let crate::docker::dockerfile::ast::InstructionKind::Arg(pairs) = &instruction.kind else { continue };
        for pair in pairs {
            let name = pair.name.text.clone();
            let value = match options.arguments.get(&name) {
                Some(value) => Some(value.clone()),
                None => {
                    let expand = |word: &Word| expanded(file, word, &|name| globals.get(name));
                    pair.value.as_ref().map(expand).transpose()?
                }
            };
            used.insert(name.clone());
            globals.declare(name, value);
        }
    }
    Ok(globals)
}

/// A word without variables, quotes and escapes.
pub(crate) fn expanded(file: &Dockerfile, word: &Word, lookup: expand::Lookup<'_>) -> Result<String> {
    value(&file.file, file.escape, word, lookup)
}

/// The same, with the name that messages have.
fn value(shown: &str, escape: char, word: &Word, lookup: expand::Lookup<'_>) -> Result<String> {
    match expand::word(&word.text, escape, lookup) {
        Ok((text, _)) => Ok(text),
        Err(why) => Err(at(shown, word.span, why)),
    }
}
