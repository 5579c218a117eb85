//! Bundles for `rhumb oci`: a configuration, a root file system of this machine's programs, and the verbs on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::process::{self, Outcome, PATIENCE};
use crate::support::{Rhumb, rootfs};

/// The programs in every root.
const PROGRAMS: &[&str] = &[
    "sh", "cat", "echo", "sleep", "true", "id", "env", "ls", "stat", "readlink", "grep", "touch", "mkdir", "kill",
    "perl", "pwd", "head", "wc", "mount",
];

/// A configuration that containers of engines commonly have.
const ORDINARY: &str = include_str!("../conformance/ordinary.json");

/// Containers of one root folder of `rhumb oci`, watched by the guard.
pub(crate) struct Bundles {
    pub(crate) rhumb: Rhumb,
}

impl Bundles {
    pub(crate) fn new() -> Bundles {
        let rhumb = Rhumb::new();
        rootfs::make(&rhumb.path("base"), PROGRAMS);
        fs::create_dir(rhumb.path("outside")).unwrap();
        fs::write(rhumb.path("outside/canary"), crate::stage::CANARY).unwrap();
        Bundles { rhumb }
    }

    /// The folder of the containers' states; the guard knows processes by it.
    pub(crate) fn state(&self) -> PathBuf {
        self.rhumb.root().join("oci")
    }

    /// A bundle whose command is `sh -c script`, changed by `edit`, in the folder of this name.
    pub(crate) fn bundle(&self, name: &str, script: &str, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let folder = self.rhumb.path(name);
        if !folder.exists() {
            rootfs::link(&self.rhumb.path("base"), &folder.join("rootfs"));
        }
        let mut config: Value = serde_json::from_str(ORDINARY).unwrap();
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        config["linux"]["cgroupsPath"] = json!(format!("/rhumb-{}/{name}", self.rhumb.root_id()));
        edit(&mut config);
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        folder
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.rhumb.command(["oci", "--root"]);
        command.arg(self.state()).args(args);
        command
    }

    /// Runs a verb to its end; its streams are files, which a container that it leaves behind may keep.
    #[track_caller]
    pub(crate) fn oci(&self, args: &[&str]) -> Outcome {
        process::run(&mut self.command(args), None, PATIENCE)
    }

    /// As [`Bundles::oci`] with a failpoint.
    #[track_caller]
    pub(crate) fn oci_failing(&self, args: &[&str], failpoint: &str) -> Outcome {
        process::run(self.command(args).env("RHUMB_FAILPOINT", failpoint), None, PATIENCE)
    }

    /// Runs the bundle in `folder` to its end.
    #[track_caller]
    pub(crate) fn run(&self, folder: &Path) -> Outcome {
        self.oci(&["run", "-b", folder.to_str().unwrap(), &id_of(folder)])
    }

    #[track_caller]
    pub(crate) fn create(&self, folder: &Path) -> Outcome {
        self.oci(&["create", "-b", folder.to_str().unwrap(), &id_of(folder)])
    }

    /// Starts a verb and leaves it running.
    pub(crate) fn spawn(&self, args: &[&str]) -> std::process::Child {
        let errors = File::create(self.rhumb.path("errors")).unwrap();
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap()
    }

    /// Panics unless an outcome is one clear error of the runtime.
    #[track_caller]
    pub(crate) fn refused(&self, outcome: &Outcome) -> String {
        assert_eq!(outcome.code, 1, "expected a refusal:\n{outcome}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        assert!((1..=3).contains(&outcome.stderr.lines().count()), "expected one clear error:\n{outcome}");
        outcome.stderr.clone()
    }

    /// Deletes a container by force, whatever it is, and panics unless nothing of any is left then.
    #[track_caller]
    pub(crate) fn delete(&self, id: &str) {
        let begin = Instant::now();
        self.oci(&["delete", "--force", id]).ok();
        assert!(begin.elapsed() < Duration::from_secs(15), "deleting took {:?}", begin.elapsed());
        assert_eq!(self.oci(&["list", "-q"]).ok(), "", "a container is left");
        assert_eq!(fs::read_dir(self.state()).map_or(0, Iterator::count), 0, "a state folder is left");
        self.rhumb.leaks().assert_kernel_clean();
    }
}

fn id_of(folder: &Path) -> String {
    folder.file_name().unwrap().to_str().unwrap().to_owned()
}
