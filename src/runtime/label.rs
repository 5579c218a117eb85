//! Labels of security modules: an AppArmor profile or an SELinux context that the next program runs under.
//!
//! A label that cannot be set is an error and never left out. It is written by descriptor to a process file system that is
//! attached nowhere, opened while no mount of the container is in sight (CVE-2019-16884, CVE-2025-52881).

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use oci_spec::runtime::Process;

use crate::base::{Context as _, Error, Result};
use crate::sys::mount;

/// A label for the next program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    /// Whose it is, for errors.
    module: &'static str,
    /// Where it is written, below a process's own folder; the first that is there.
    files: &'static [&'static str],
    /// What is written.
    text: String,
}

/// The label that `process` asks for.
///
/// # Errors
/// `unsupported` when the module is not active; `invalid_argument` for both at once.
pub(crate) fn of(process: &Process) -> Result<Option<Label>> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    // What confines nobody needs no module.
    let profile = given(process.apparmor_profile()).filter(|profile| profile != "unconfined" || has_apparmor());
    match (profile, given(process.selinux_label())) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Error::invalid("both an AppArmor profile and an SELinux label are set")),
        (Some(_), None) if !has_apparmor() => {
            Err(Error::unsupported("apparmor: config provided but apparmor not supported"))
        }
        (None, Some(_)) if !has_selinux() => {
            Err(Error::unsupported("selinux label is specified in config, but selinux is disabled or not supported"))
        }
        (Some(profile), None) => {
            let files = &["self/attr/apparmor/exec", "self/attr/exec"];
            Ok(Some(Label { module: "AppArmor", files, text: format!("exec {profile}") }))
        }
        (None, Some(text)) => Ok(Some(Label { module: "SELinux", files: &["self/attr/exec"], text })),
    }
}

/// Whether AppArmor confines processes on this kernel.
pub(crate) fn has_apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

/// Whether SELinux confines processes on this kernel.
pub(crate) fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

impl Label {
    /// Opens where this process writes its label; only it can, and only until its next program.
    ///
    /// # Errors
    /// What opening gives.
    pub(crate) fn open(&self) -> Result<File> {
        let doing = || format!("opening where the {} label is set", self.module);
        let proc = mount::new_filesystem("proc", None, &[], 0).context(doing)?;
        let mut opened = Err(std::io::ErrorKind::NotFound.into());
        for file in self.files {
            opened = mount::open_in_proc(proc.as_fd(), file, true);
            if opened.is_ok() {
                break;
            }
        }
        opened.context(doing)
    }

    /// Sets it for the next program.
    ///
    /// # Errors
    /// What the module says: no such profile, no right to change to it.
    pub(crate) fn set(&self, mut file: File) -> Result<()> {
        file.write_all(self.text.as_bytes()).context(|| format!("setting the {} label {:?}", self.module, self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn a_label_of_an_absent_module_is_never_left_out() {
        let process = |key: &str| -> Process {
            serde_json::from_value(serde_json::json!({"user": {}, "cwd": "/", key: "some-label"})).unwrap()
        };
        for (key, there) in [("apparmorProfile", has_apparmor()), ("selinuxLabel", has_selinux())] {
            match of(&process(key)) {
                Ok(label) => assert!(there && label.is_some()),
                Err(error) => assert!(!there && error.kind() == Kind::Unsupported),
            }
        }
        let none = serde_json::from_value(serde_json::json!({"user": {}, "cwd": "/", "selinuxLabel": ""})).unwrap();
        assert_eq!(of(&none).unwrap(), None);
        let unconfined = serde_json::json!({"user": {}, "cwd": "/", "apparmorProfile": "unconfined"});
        assert_eq!(of(&serde_json::from_value(unconfined).unwrap()).unwrap().is_some(), has_apparmor());
    }
}
