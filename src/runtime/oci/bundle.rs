//! A bundle: the folder with `config.json` and the root file system.
//!
//! Read once, at `create`: later changes of the bundle do not concern the container, which works with its own copy.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::base::{Context as _, Error, Result};
use crate::runtime::oci::validate;
use crate::runtime::plan::Rootfs;

/// The configuration's name.
pub(crate) const CONFIG: &str = "config.json";
/// The largest config.json that is read, in bytes. Ten thousand id mappings take one of them.
const MAX_CONFIG: u64 = 16 * 1024 * 1024;

/// What a bundle says.
pub(crate) struct Bundle {
    /// The folder, absolute and without links.
    pub(crate) dir: PathBuf,
    /// The configuration.
    pub(crate) spec: Spec,
    /// Its text.
    pub(crate) text: Vec<u8>,
    /// The root file system.
    pub(crate) rootfs: Rootfs,
}

impl Bundle {
    /// The command wants a terminal.
    pub(crate) fn terminal(&self) -> bool {
        self.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false)
    }
}

/// Reads the bundle in `dir`, whose configuration may have another name. What is ignored of it is named in `warnings`.
///
/// # Errors
/// `not_found` without a folder, a config.json or a root; `invalid_argument` for what does not follow the specification.
pub(crate) fn load(dir: &Path, config: Option<&Path>, no_pivot: bool, warnings: &mut Vec<String>) -> Result<Bundle> {
    let dir = std::fs::canonicalize(dir).context(|| format!("opening the bundle {dir:?}"))?;
    let text = read(&dir.join(config.unwrap_or(Path::new(CONFIG))))?;
    let spec = validate::parse(&text, warnings)?;
    validate::check(&spec)?;
    if let Some(process) = spec.process() {
        validate::warn_of_missing_rights(&spec, process, warnings)?;
    }
    let spec = validate::with_device_rules(spec);
    let root = spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default();
    let path = dir.join(root);
    let path = std::fs::canonicalize(&path).context(|| format!("opening the root file system {path:?}"))?;
    if !path.is_dir() {
        return Err(Error::invalid(format!("config.json: root.path: {path:?} is not a folder")));
    }
    let rootfs = Rootfs::Bundle { bundle: dir.clone(), path, no_pivot };
    Ok(Bundle { dir, spec, text, rootfs })
}

/// Reads a configuration file.
///
/// # Errors
/// `not_found`; `invalid_argument` when it is too large or something else than a file, which might keep us waiting.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let metadata = std::fs::metadata(path).context(|| format!("reading {path:?}"))?;
    if !metadata.is_file() {
        return Err(Error::invalid(format!("{path:?} is not a regular file")));
    }
    read_any(path)
}

/// As [`read`], but it may be a pipe: the caller's own, as a shell's `<(…)`.
///
/// # Errors
/// `not_found`; `invalid_argument` when it is too large.
pub(crate) fn read_any(path: &Path) -> Result<Vec<u8>> {
    let doing = || format!("reading {path:?}");
    let file = File::open(path).context(doing)?;
    let mut text = Vec::new();
    file.take(MAX_CONFIG + 1).read_to_end(&mut text).context(doing)?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(Error::invalid(format!("{path:?} is larger than {} MiB", MAX_CONFIG >> 20)));
    }
    Ok(text)
}
