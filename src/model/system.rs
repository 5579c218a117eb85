//! The whole engine: reports of prunes, disk usage and checks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::Timestamp;

/// What a prune took away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneReport {
    /// What was removed: ids or names.
    pub items: Vec<String>,
    /// Bytes that are free again.
    pub freed_bytes: u64,
    /// What could not be removed, and why: a line for each.
    pub failures: Vec<String>,
}

/// One thing that `system check` found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of thing: `container`, `cgroup`, `layer`, `blob`, `folder`, `record`, `network`, `interface`, `rules`, `port` …
    pub noun: String,
    /// Which one.
    pub name: String,
    /// What is wrong with it, in one sentence without a full stop.
    pub problem: String,
    /// It was mended in this run.
    pub repaired: bool,
}

/// The outcome of `system check`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// How many things were looked at.
    pub checked: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// How a check is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Mend what can be mended.
    pub repair: bool,
    /// Read every blob and compare it with its digest.
    pub rehash: bool,
}

/// Space by noun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsage {
    /// A row for images, containers, volumes and what builds keep.
    pub rows: Vec<DiskUsageRow>,
}

/// One row of [`DiskUsage`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsageRow {
    /// `Images`, `Containers`, `Local Volumes`, `Build Cache`.
    pub noun: String,
    /// How many there are.
    pub total: u64,
    /// How many are in use.
    pub active: u64,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Bytes that a prune would free.
    pub reclaimable_bytes: u64,
}

/// Something that builds keep for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cached {
    /// A step's key, or the name of a cache's folder.
    pub id: String,
    /// What commands keep in a mount of theirs; otherwise what a step came to.
    pub is_mount: bool,
    /// The step as one reads it, or the id of the cache.
    pub text: String,
    /// Bytes on disk, which other steps or images may share.
    pub size_bytes: u64,
    /// When it was made, where that is known.
    pub created: Option<Timestamp>,
    /// When it was last of use, where that is known.
    pub used: Option<Timestamp>,
    /// Nothing is free without it: an image has it as well, or it changed nothing.
    pub is_shared: bool,
}

/// Which of the unused objects a prune removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneFilter {
    /// Only those that were made before this time.
    pub until: Option<Timestamp>,
    /// Only those with all of these labels: `key` or `key=value`.
    pub label: Vec<String>,
    /// None of those with all of these labels.
    pub without_label: Vec<String>,
}

impl PruneFilter {
    /// Whether it speaks of labels, which not everything has.
    pub fn has_labels(&self) -> bool {
        !self.label.is_empty() || !self.without_label.is_empty()
    }

    /// Whether an object may go. One that does not say when it was made is old.
    pub fn fits(&self, created: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        let all = |wanted: &[String]| wanted.iter().all(|wanted| has_label(labels, wanted));
        let is_old = self.until.is_none_or(|until| created.is_none_or(|created| created < until));
        is_old && all(&self.label) && (self.without_label.is_empty() || !all(&self.without_label))
    }
}

/// Whether there is this label: `key` or `key=value`.
pub fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
        None => labels.contains_key(wanted),
    }
}

/// What `system resume` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeReport {
    /// Ids of the containers that were started.
    pub started: Vec<String>,
    /// How many run already.
    pub running: u64,
    /// What could not be started, and why.
    pub failures: Vec<String>,
}

/// Facts about this machine and engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// This program's version.
    pub version: String,
    /// The state root.
    pub root: String,
    /// Containers by state: running, paused, stopped.
    pub containers_running: u64,
    /// Frozen ones.
    pub containers_paused: u64,
    /// All others.
    pub containers_stopped: u64,
    /// Images.
    pub images: u64,
    /// Volumes.
    pub volumes: u64,
    /// `v1`, `hybrid` or `v2`.
    pub cgroup: String,
    /// uname -r.
    pub kernel: String,
    /// The distribution's pretty name.
    pub operating_system: String,
    /// `x86_64`.
    pub architecture: String,
    /// Processors.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
}
