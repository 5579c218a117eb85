//! Capabilities (capabilities(7)). The one door to `caps`.

use caps::{CapSet, read};

use crate::base::{Error, Result};

/// The capabilities that this process has in effect and could pass on: `CAP_CHOWN` and so on, sorted.
///
/// # Errors
/// `failed` when the kernel does not tell.
pub fn held() -> Result<Vec<String>> {
    let ask = |set| read(None, set).map_err(|error| Error::failed(format!("reading capabilities: {error}")));
    let (effective, bounding) = (ask(CapSet::Effective)?, ask(CapSet::Bounding)?);
    let mut names: Vec<String> = effective.intersection(&bounding).map(ToString::to_string).collect();
    names.sort();
    Ok(names)
}
