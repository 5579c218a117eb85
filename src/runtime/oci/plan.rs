//! What a configuration comes to, decided and not done: every check and every plan that `create` makes of its text alone,
//! before it looks at the machine or touches anything.
//!
//! For whoever wants to know whether a config.json is good without making a container of it: tests of hostile ones and
//! fuzzing above all. It opens no namespace, looks for no root file system and knows no cgroup.

use std::path::PathBuf;

use crate::base::Result;
use crate::runtime::oci::validate;
use crate::runtime::plan::Rootfs;
use crate::runtime::{mounts, namespaces, seccomp, sysctl};
use crate::sys::namespace::Namespaces;

/// A configuration that would be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The namespaces that the container does not share with the runtime, as flags of clone(2).
    pub namespaces: Namespaces,
    /// How its root is built, a line for each step.
    pub mounts: Vec<String>,
    /// Its system calls are filtered.
    pub filtered: bool,
    /// What is ignored.
    pub warnings: Vec<String>,
}

/// Reads a config.json and plans all of it.
///
/// # Errors
/// `invalid_argument` and `unsupported` name what is wrong.
pub fn plan(text: &[u8]) -> Result<Planned> {
    let mut warnings = Vec::new();
    let spec = validate::parse(text, &mut warnings)?;
    validate::check(&spec)?;
    let spec = validate::with_device_rules(spec);
    let layout = namespaces::plan(&spec)?;
    if let (Some(maps), Some(process)) = (&layout.maps, spec.process()) {
        maps.first((process.user().uid(), process.user().gid()))?;
    }
    sysctl::plan(&spec, layout.own())?;
    let root = spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default();
    let bundle = PathBuf::from("/");
    let rootfs = Rootfs::Bundle { path: bundle.join(root), bundle, no_pivot: false };
    let mounts = mounts::plan(&spec, &rootfs)?.iter().map(ToString::to_string).collect();
    let filtered = seccomp::of(&spec)?.is_some();
    Ok(Planned { namespaces: layout.own(), mounts, filtered, warnings })
}
