//! Mounts as users ask for them.

use serde::{Deserialize, Serialize};

/// A mount of a new container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// Where, absolute in the container.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum MountSource {
    /// A path of the host.
    Bind {
        /// Absolute.
        path: String,
        /// Make a folder when it is missing (`-v`) instead of failing (`--mount`).
        create: bool,
        /// `rprivate`, `rslave`, `rshared`, `private`, `slave` or `shared`; none is `rprivate`.
        propagation: Option<String>,
        /// Leave out what is mounted below the path.
        non_recursive: bool,
    },
    /// A volume.
    Volume {
        /// Its name or id; none makes an anonymous one.
        name: Option<String>,
        /// Do not fill an empty volume with what the image has there.
        no_copy: bool,
        /// A path inside the volume; none is its root.
        subpath: Option<String>,
    },
    /// Memory.
    Tmpfs {
        /// The most it may hold, in bytes; none is half of memory.
        size_bytes: Option<u64>,
        /// Permissions of its root; none is 1777.
        mode: Option<u32>,
        /// Further options from Docker's list: `noexec`, `nosuid`, `uid=…` and so on.
        options: Vec<String>,
    },
}

/// Takes over the mounts of another container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Name or id.
    pub container: String,
    /// Overrides what the other has: `Some(true)` for `:ro`, `Some(false)` for `:rw`.
    pub read_only: Option<bool>,
}
