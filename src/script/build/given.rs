//! What the command line of `rhumb build` says of the builds that a script makes. Where the script says something itself,
//! that counts; secrets and caches of both are there together, and so are labels, those of the command line on top.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::base::{Error, Result, suggest};
use crate::docker::build as docker;
use crate::engine::build::Progress;
use crate::model::build::{BuildOptions, Credentials, Graph};
use crate::script::context::Host;

/// Shows a build while it goes on: calls what builds, which says whether that went well.
pub type Show = Box<dyn Fn(&Graph, &mut dyn FnMut(&Progress<'_>) -> bool) + Send + Sync>;

/// What is said of all builds of a script.
pub struct Builds {
    /// What files are copied from.
    pub context: PathBuf,
    /// As for Dockerfiles; the names are for an image that is committed without one.
    pub options: BuildOptions,
    /// The rights that the steps of Dockerfiles may ask for.
    pub allow: Vec<String>,
    /// Arguments of the script that are heeded whether or not it reads them.
    pub heeded: Vec<String>,
    /// How builds are shown.
    pub show: Show,
    /// The names of stages that were built.
    pub stages: Mutex<BTreeSet<String>>,
}

/// The folder that `copy` takes files from where the script names none.
pub(super) fn context(host: &Host) -> PathBuf {
    host.builds.as_ref().map_or_else(|| PathBuf::from("."), |builds| builds.context.clone())
}

/// What counts where the script says nothing, and these credentials.
pub(super) fn options(host: &Host, own: Credentials) -> BuildOptions {
    let mut all = host.builds.as_ref().map(|builds| builds.options.clone()).unwrap_or_default();
    all.credentials.secrets.extend(own.secrets);
    all.credentials.ssh.extend(own.ssh);
    all
}

/// Builds, and shows it as the command line says.
pub(super) fn shown<T>(host: &Host, graph: &Graph, build: impl FnOnce(&Progress<'_>) -> Result<T>) -> Result<T> {
    let Some(builds) = &host.builds else { return build(&|_| {}) };
    let names = graph.stages.iter().filter_map(|stage| stage.name.as_ref()).map(|name| name.to_ascii_lowercase());
    builds.stages.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    let (mut build, mut made) = (Some(build), None);
    (builds.show)(graph, &mut |hears| {
        made = build.take().map(|build| build(hears));
        matches!(made, Some(Ok(_)))
    });
    let made = made.unwrap_or_else(|| Err(Error::failed("nothing was built")));
    made.map_err(docker::without_output)
}

/// No image got the name that the command line says.
pub(crate) fn unnamed() -> Error {
    Error::invalid("no image got the name of --tag: the script neither reads it nor commits without a name")
        .with_hint("write commit(arg(\"tag\", \"NAME\")), or commit()")
}

impl Builds {
    /// What the command line asked for and nothing came of, as warnings.
    pub(crate) fn unheeded(&self) -> Vec<String> {
        let known = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = self.options.no_cache_filter.iter().filter(|name| !known.contains(*name));
        let warn = |name: &String| {
            let hint = suggest::hint(name, known.iter().map(String::as_str));
            let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
            format!("warning: no stage that was built is called {name:?}{hint}")
        };
        unknown.map(warn).collect()
    }
}
