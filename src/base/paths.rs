//! Where state lives (DESIGN.md §4): the layout of the state root and of the run directory, and nothing else.
//!
//! ```text
//! <root>/                       /var/lib/rhumb; 0700
//!   rhumb.db                    records, names, uses, leases
//!   blobs/sha256/<hex>          layers, configs, manifests
//!   layers/<chain id hex>/      one unpacked layer: "diff" and its metadata
//!   containers/<id>/            upper/ work/ config.json exit.json <id>-json.log hosts hostname resolv.conf
//!   volumes/<id>/data
//!   events/<number>.jsonl       what happened, one event a line, in segments; see crate::sys::segments
//!   cache/                      what can be made anew: lists of what "from_host" read; "mountpoints", the lowest layer
//!   tmp/                        half-made things; whatever is here and unlocked is garbage
//! <run>/                        /run/rhumb, or <root>/run when the root was given; 0700
//!   locks/                      flock files
//!   containers/<id>/            monitor.lock control.sock state.json
//!   networks/<id>/<id>          a container on a network: its address, its names
//! ```

use std::path::{Path, PathBuf};

use crate::base::{Digest, Id};

/// The default state root of the superuser.
pub const DEFAULT_ROOT: &str = "/var/lib/rhumb";
/// The run directory that goes with [`DEFAULT_ROOT`].
pub const DEFAULT_RUN: &str = "/run/rhumb";

/// The state root and its run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
    run: PathBuf,
}

impl Paths {
    /// The layout below `root`, which must be absolute; the default root has its run directory in `/run`.
    pub fn new(root: impl Into<PathBuf>) -> Paths {
        let root = root.into();
        let run = if root == Path::new(DEFAULT_ROOT) { PathBuf::from(DEFAULT_RUN) } else { root.join("run") };
        Paths { root, run }
    }

    /// The state root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What does not outlive a boot.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// A short name for this state root in global kernel names: empty for the default root, otherwise eight digits.
    pub fn root_id(&self) -> String {
        if self.root == Path::new(DEFAULT_ROOT) {
            String::new()
        } else {
            Digest::of(self.root.as_os_str().as_encoded_bytes()).hex()[..8].to_owned()
        }
    }

    /// The SQLite database.
    pub fn database(&self) -> PathBuf {
        self.root.join("rhumb.db")
    }

    /// Content-addressed blobs.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// Unpacked layers.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The log of events.
    pub fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    /// What can be made anew.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// What builds keep: logs, caches, memories of files.
    pub fn builds(&self) -> PathBuf {
        self.root.join("builds")
    }

    /// Half-made things.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The folder of all containers.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// The lowest layer of every container: empty mount points.
    pub fn mount_points(&self) -> PathBuf {
        self.root.join("cache/mountpoints")
    }

    /// One container's durable state.
    pub fn container(&self, id: &Id) -> PathBuf {
        self.containers().join(id.as_str())
    }

    /// The folder of all containers' run state.
    pub fn container_runs(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// One container's run state.
    pub fn container_run(&self, id: &Id) -> PathBuf {
        self.container_runs().join(id.as_str())
    }

    /// The folder of what is on networks now.
    pub fn networks_run(&self) -> PathBuf {
        self.run.join("networks")
    }

    /// Who is on one network now: a file for each container, named by its id.
    pub fn network_run(&self, id: &Id) -> PathBuf {
        self.networks_run().join(id.as_str())
    }

    /// The folder of all volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// One volume's folder.
    pub fn volume(&self, id: &Id) -> PathBuf {
        self.volumes().join(id.as_str())
    }

    /// One volume's content.
    pub fn volume_data(&self, id: &Id) -> PathBuf {
        self.volume(id).join("data")
    }

    /// Lock files.
    pub fn locks(&self) -> PathBuf {
        self.run.join("locks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_default_root_runs_in_run_and_has_no_root_id() {
        let default = Paths::new(DEFAULT_ROOT);
        assert_eq!((default.run(), default.root_id().as_str()), (Path::new("/run/rhumb"), ""));
        let other = Paths::new("/tmp/x");
        assert_eq!(other.run(), Path::new("/tmp/x/run"));
        assert_eq!(other.root_id().len(), 8);
        assert_ne!(other.root_id(), Paths::new("/tmp/y").root_id());
    }
}
