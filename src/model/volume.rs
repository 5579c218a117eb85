//! Volumes, their backups and their differences.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Id, Timestamp};

/// What a new volume shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeOptions {
    /// The identity, when it was decided (and put on record) before; none is a random one.
    pub id: Option<Id>,
    /// The name; none is the id (an anonymous volume).
    pub name: Option<String>,
    /// Only `local` exists.
    pub driver: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its identity.
    pub id: Id,
    /// A label, free to change; the id for an anonymous volume.
    pub name: String,
    /// Made without a name.
    pub anonymous: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Its content on the host.
    pub mountpoint: PathBuf,
}

/// Which volumes a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeFilter {
    /// Only those whose name contains one of these.
    pub name: Vec<String>,
    /// Only those with all of these labels: `key` or `key=value`.
    pub label: Vec<String>,
    /// Only those that no container uses (`true`), or that one does.
    pub dangling: Option<bool>,
    /// Only those of one of these drivers.
    pub driver: Vec<String>,
}

/// A finished backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The archive.
    pub path: PathBuf,
    /// Entries in it.
    pub files: u64,
    /// Bytes of content before compression.
    pub content_bytes: u64,
    /// Bytes of the archive.
    pub size_bytes: u64,
    /// The digest of the archive file.
    pub digest: Digest,
    /// How long it took.
    pub elapsed: Duration,
}

/// A difference between two trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Relative path.
    pub path: String,
    /// What differs.
    pub kind: DifferenceKind,
}

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Only in the second.
    Added,
    /// Only in the first.
    Removed,
    /// In both, with another type, content, owner, mode, modification time, link target or extended attribute.
    Changed,
}
