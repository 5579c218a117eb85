//! What kind of hierarchies the machine has, which of them a container is in, and making and removing folders in them.
//!
//! Not here: what the files in the folders mean.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use crate::base::{Error, Result};

/// Where the hierarchies are.
pub(super) const MOUNT: &str = "/sys/fs/cgroup";
/// The cgroup2 tree beside version 1.
pub(super) const UNIFIED: &str = "unified";
/// Version 1 hierarchies that every container is in: limits can be set later and statistics are always there.
const ALWAYS: [&str; 6] = ["memory", "cpu", "cpuacct", "pids", "devices", "blkio"];
/// Further ones, only when something asks for them.
const ON_DEMAND: [&str; 6] = ["cpuset", "freezer", "hugetlb", "net_cls", "net_prio", "rdma"];
/// How often a folder is made anew whose parent goes away in between.
const ATTEMPTS: u32 = 50;

/// What kind of hierarchies the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One hierarchy.
    V2,
    /// Version 1, perhaps with a cgroup2 tree beside.
    V1 {
        /// There is one.
        unified: bool,
    },
}

impl Layout {
    /// Looks.
    pub(super) fn of_machine() -> Result<Layout> {
        if is_mounted(Path::new(MOUNT)) {
            Ok(Layout::V2)
        } else if ALWAYS.iter().any(|name| is_mounted(&root(name))) {
            Ok(Layout::V1 { unified: root("unified/cgroup.controllers").exists() })
        } else {
            Err(Error::unsupported("no cgroup file system below /sys/fs/cgroup")
                .with_hint("mount cgroup2 there, or the version 1 controllers in folders of their names"))
        }
    }

    /// All hierarchies that a container could be in, by their names below [`MOUNT`].
    pub(super) fn names(self) -> Vec<&'static str> {
        match self {
            Layout::V2 => vec![""],
            Layout::V1 { unified } => ALWAYS.into_iter().chain(ON_DEMAND).chain(unified.then_some(UNIFIED)).collect(),
        }
    }

    /// Those that a container with these limits is in, as far as the machine has them.
    pub(super) fn wanted(self, resources: Option<&LinuxResources>) -> Vec<&'static str> {
        let Layout::V1 { unified } = self else { return vec![""] };
        let mut names = ALWAYS.to_vec();
        names.extend(resources.into_iter().flat_map(on_demand));
        // Freezing and killing are the unified tree's where there is one.
        names.push(if unified { UNIFIED } else { "freezer" });
        names.retain(|name| is_mounted(&root(name)));
        names
    }
}

/// Hierarchies of version 1 that only these limits need.
pub(super) fn on_demand(resources: &LinuxResources) -> Vec<&'static str> {
    let cpu = resources.cpu().as_ref();
    let set = |text: Option<&String>| text.is_some_and(|text| !text.is_empty());
    let network = resources.network().as_ref();
    [
        ("cpuset", cpu.is_some_and(|cpu| set(cpu.cpus().as_ref()) || set(cpu.mems().as_ref()))),
        ("hugetlb", resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty())),
        ("net_cls", network.is_some_and(|network| network.class_id().is_some_and(|class| class != 0))),
        ("net_prio", network.is_some_and(|network| network.priorities().as_ref().is_some_and(|all| !all.is_empty()))),
        ("rdma", resources.rdma().as_ref().is_some_and(|limits| !limits.is_empty())),
    ]
    .into_iter()
    .filter_map(|(name, asked)| asked.then_some(name))
    .collect()
}

/// The root of a hierarchy.
pub(super) fn root(name: &str) -> PathBuf {
    Path::new(MOUNT).join(name)
}

/// An empty folder of that name is no hierarchy: limits would be written to ordinary files.
fn is_mounted(root: &Path) -> bool {
    root.join("cgroup.procs").exists()
}

/// Makes a cgroup and its parents; says whether it was missing. Another container's end may take the parent away in
/// between: then again.
pub(super) fn make(dir: &Path) -> io::Result<bool> {
    let mut attempts = 0;
    loop {
        match fs::create_dir(dir) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound && attempts < ATTEMPTS => {
                attempts += 1;
                match fs::create_dir_all(dir.parent().unwrap_or(dir)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Removes a cgroup and those that its processes made below it.
pub(super) fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    remove_tree(&entry.path())?;
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Adds the processes of a cgroup and of those below it.
pub(super) fn read_processes(dir: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(19); // ENODEV
    let mut text = String::new();
    match File::open(dir.join("cgroup.procs")).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => {}
        // Threaded: the parent lists them (EOPNOTSUPP).
        Err(error) if gone(&error) || error.raw_os_error() == Some(95) => return Ok(()),
        Err(error) => return Err(error),
    }
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    let entries = match fs::read_dir(dir) {
        Err(error) if gone(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read_processes(&entry.path(), pids)?;
        }
    }
    Ok(())
}
