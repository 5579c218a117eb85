//! Capabilities of the calling thread. The one door to `caps`.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

use crate::base::{Error, Result};

/// Five sets of capabilities by name, `CAP_CHOWN`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What no program can ever exceed.
    pub bounding: Vec<String>,
    /// What counts.
    pub effective: Vec<String>,
    /// What can become effective.
    pub permitted: Vec<String>,
    /// What survives execve for files that say so; empty unless asked for (CVE-2022-29162).
    pub inheritable: Vec<String>,
    /// What survives execve for everyone else; empty unless asked for (CVE-2016-8867).
    pub ambient: Vec<String>,
}

fn set(names: &[String]) -> Result<CapsHashSet> {
    names.iter().map(|name| parse(name)).collect()
}

fn parse(name: &str) -> Result<Capability> {
    name.parse().map_err(|_| Error::invalid(format!("unknown capability {name:?}")))
}

fn system(error: caps::errors::CapsError) -> Error {
    Error::from(io::Error::last_os_error()).context(error.to_string())
}

/// Drops everything that is not in the bounding set, while the right to do so is still there.
///
/// # Errors
/// `invalid_argument` for an unknown name; what prctl(2) gives.
pub fn limit_bounding(bounding: &[String]) -> Result<()> {
    let keep = set(bounding)?;
    for capability in caps::all() {
        // Capabilities that the running kernel does not know are not in the set to begin with.
        if !keep.contains(&capability) && caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false) {
            caps::drop(None, CapSet::Bounding, capability).map_err(system)?;
        }
    }
    Ok(())
}

/// Takes the other four sets. `have` limits them to what is permitted now, so that a plan for the whole machine also
/// works for an engine with less.
///
/// # Errors
/// `invalid_argument` for an unknown name; what capset(2) and prctl(2) give.
pub fn apply(wanted: &Capabilities) -> Result<()> {
    let have = caps::read(None, CapSet::Permitted).map_err(system)?;
    let within = |names: &[String]| -> Result<CapsHashSet> { Ok(&set(names)? & &have) };
    let permitted = within(&wanted.permitted)?;
    let inheritable = within(&wanted.inheritable)?;
    caps::clear(None, CapSet::Ambient).map_err(system)?;
    caps::set(None, CapSet::Effective, &(&within(&wanted.effective)? & &permitted)).map_err(system)?;
    caps::set(None, CapSet::Inheritable, &inheritable).map_err(system)?;
    for capability in &within(&wanted.ambient)? & &(&inheritable & &permitted) {
        caps::raise(None, CapSet::Ambient, capability).map_err(system)?;
    }
    caps::set(None, CapSet::Permitted, &permitted).map_err(system)
}

/// Makes every permitted capability effective.
///
/// # Errors
/// What capset(2) gives.
pub fn raise_all() -> Result<()> {
    let permitted = caps::read(None, CapSet::Permitted).map_err(system)?;
    caps::set(None, CapSet::Effective, &permitted).map_err(system)
}

/// Every capability that there is, `CAP_CHOWN` and so on, sorted.
pub fn known() -> Vec<String> {
    let mut names: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    names.sort();
    names
}

/// The capabilities that this process has in effect and could pass on: `CAP_CHOWN` and so on, sorted.
///
/// # Errors
/// `failed` when the kernel does not tell.
pub fn held() -> Result<Vec<String>> {
    let ask = |set| caps::read(None, set).map_err(|error| Error::failed(format!("reading capabilities: {error}")));
    let (effective, bounding) = (ask(CapSet::Effective)?, ask(CapSet::Bounding)?);
    let mut names: Vec<String> = effective.intersection(&bounding).map(ToString::to_string).collect();
    names.sort();
    Ok(names)
}
