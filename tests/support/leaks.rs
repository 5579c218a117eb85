//! The guard that nothing is left: mounts, namespaces, cgroups, processes, links, nft tables, loop devices, files.
//!
//! It looks at one state root at a time, so that tests run side by side and other users of the machine do not matter: all
//! that Rhumb makes is named after its root or holds a path below it. What it sees is the kernel's own account, never
//! Rhumb's records.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::peers;

/// How long the guard waits for things that go by themselves: a monitor that is about to leave, a dying cgroup.
const SETTLE: Duration = Duration::from_secs(5);

/// What belongs to one state root outside of its durable state.
#[derive(Debug, Clone)]
pub(crate) struct Leaks {
    root: PathBuf,
    /// The short id that global kernel names carry.
    root_id: String,
    links: BTreeSet<String>,
    tables: BTreeSet<String>,
}

impl Leaks {
    /// Notes the state before. `root_id` is what names in the kernel carry.
    pub(crate) fn watch(root: &Path, root_id: &str) -> Leaks {
        Leaks { root: root.to_owned(), root_id: root_id.to_owned(), links: links(), tables: tables() }
    }

    /// Of a root whose test was killed: what carries its id now is its own. Names without an id may be anybody's.
    pub(crate) fn of_the_dead(root: &Path, root_id: &str) -> Leaks {
        let links = ["rhumb", "rhumb0"].map(str::to_owned).into();
        Leaks { root: root.to_owned(), root_id: root_id.to_owned(), links, tables: BTreeSet::new() }
    }

    /// Everything of this root that is in the kernel now, one line each; empty when it is clean.
    pub(crate) fn kernel(&self) -> Vec<String> {
        let mut found = Vec::new();
        found.extend(self.mounts());
        found.extend(self.cgroups().into_iter().map(|path| format!("cgroup {}", path.display())));
        found
            .extend(processes(&self.root, &self.root_id).into_iter().map(|(pid, why)| format!("process {pid}: {why}")));
        found.extend(self.loops());
        let four = &self.root_id[..4];
        let ours = |name: &&String| {
            let linked = ["rb", "rv"].iter().any(|kind| name.starts_with(&format!("{kind}{four}")));
            linked || name.contains(&self.root_id) || *name == "rhumb" || *name == "rhumb0"
        };
        found.extend(links().difference(&self.links).filter(ours).map(|name| format!("link {name}")));
        found.extend(tables().difference(&self.tables).filter(ours).map(|name| format!("nft {name}")));
        found
    }

    /// The root has links or rules.
    pub(crate) fn has_network(&self) -> bool {
        self.kernel().iter().any(|line| line.starts_with("link ") || line.starts_with("nft "))
    }

    /// Files that belong to no object: run state, half-made things.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        for dir in ["tmp", "containers", "run/containers"] {
            let entries = fs::read_dir(self.root.join(dir)).into_iter().flatten();
            found.extend(entries.map(|entry| format!("file {}", entry.unwrap().path().display())));
        }
        found
    }

    /// Panics when anything is left after a short while. Call it when the root has no container any more.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        self.assert_settled("leaked", || [self.kernel(), self.files()].concat());
    }

    /// As [`Leaks::assert_clean`], for kernel objects alone: stopped containers may exist.
    #[track_caller]
    pub(crate) fn assert_kernel_clean(&self) {
        self.assert_settled("left in the kernel", || self.kernel());
    }

    #[track_caller]
    fn assert_settled(&self, what: &str, found: impl Fn() -> Vec<String>) {
        let begin = Instant::now();
        loop {
            let left = found();
            if left.is_empty() {
                return;
            }
            assert!(begin.elapsed() < SETTLE, "{what} by {}:\n  {}", self.root.display(), left.join("\n  "));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The last resort when a test has failed: ends what is left so that the machine stays usable.
    pub(crate) fn sweep(&self) {
        for _ in 0..20 {
            let alive = processes(&self.root, &self.root_id);
            if alive.is_empty() {
                break;
            }
            // The machine's own first process sees what was left among its mounts, and is not to blame.
            for (pid, _) in alive.into_iter().filter(|(pid, _)| *pid != 1) {
                // Gone already is as good; the loop looks again.
                let _ = Command::new("/bin/kill").args(["-KILL", &pid.to_string()]).output();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut cgroups = self.cgroups();
        cgroups.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for path in cgroups {
            let _ = fs::remove_dir(path); // the failed test has said what is wrong
        }
        for line in self.kernel() {
            let _ = match line.split_once(' ') {
                Some(("link", name)) => Command::new("ip").args(["link", "del", name]).output(),
                Some(("nft", table)) => Command::new("nft").arg(format!("delete {table}")).output(),
                _ => continue,
            };
        }
    }

    /// Mounts of this mount namespace that have the root in their source, target or options.
    fn mounts(&self) -> Vec<String> {
        let root = self.root.to_string_lossy();
        let text = fs::read_to_string("/proc/self/mountinfo").expect("reading /proc/self/mountinfo");
        // A test may have mounted a file system to hold the root itself.
        let holds_root = |line: &str| line.split(' ').nth(4).is_some_and(|target| self.root.starts_with(target));
        text.lines()
            .filter(|line| line.contains(&*root) && !holds_root(line))
            .map(|line| format!("mount {line}"))
            .collect()
    }

    /// Cgroups of the root's containers, over all hierarchies. The empty parent itself may stay.
    fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for hierarchy in hierarchies() {
            let parent = hierarchy.join(format!("rhumb-{}", self.root_id));
            let children = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
            found.extend(children.filter(|path| path.is_dir()));
        }
        found
    }

    fn loops(&self) -> Vec<String> {
        let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        devices
            .filter_map(|device| {
                let backing = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
                let below = Path::new(backing.trim_end()).starts_with(&self.root);
                below.then(|| format!("loop device {} on {backing}", device.file_name().to_string_lossy()))
            })
            .collect()
    }
}

/// Unmounts all that is mounted below a folder, and says whether nothing is any more.
pub(crate) fn unmount_below(dir: &Path) -> bool {
    let below = || {
        let text = fs::read_to_string("/proc/self/mountinfo").expect("reading /proc/self/mountinfo");
        let targets = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        targets.filter(|target| target.starts_with(dir)).collect::<Vec<_>>()
    };
    // What is mounted last is listed last.
    for target in below().iter().rev() {
        let _ = Command::new("umount").arg("--lazy").arg(target).output(); // the look below says how it went
    }
    below().is_empty()
}

/// The mount points of all cgroup hierarchies.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("reading /proc/self/mountinfo");
    let cgroup = text.lines().filter(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 "));
    cgroup.filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// Processes that belong to a root, with the reason: they name it in their arguments or environment, have a file of it
/// open or mapped as a root file system, or sit in one of its cgroups. This process is not one of them.
pub(crate) fn processes(root: &Path, root_id: &str) -> Vec<(i32, String)> {
    let text = root.to_string_lossy();
    let own = std::process::id() as i32;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("reading /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if pid != own
            && let Some(why) = belongs(&entry.path(), &text, root_id)
        {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, format!("{} ({why})", String::from_utf8_lossy(&command).replace('\0', " "))));
        }
    }
    found
}

/// Why the process with this folder in `/proc` belongs to the root. A process that goes away meanwhile does not.
fn belongs(proc: &Path, root: &str, root_id: &str) -> Option<String> {
    let has = |file: &str, needle: &str| {
        let bytes = fs::read(proc.join(file)).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    // A zombie has no files, and its parent's turn has not come: it is the parent's matter, not a leak of ours.
    if fs::read_to_string(proc.join("stat")).is_ok_and(|stat| stat.contains(") Z ")) {
        return None;
    }
    for file in ["cmdline", "environ"] {
        if has(file, root) {
            return Some(format!("the root is in its {file}"));
        }
    }
    if has("cgroup", &format!("rhumb-{root_id}/")) {
        return Some("it sits in a cgroup of the root".into());
    }
    for link in fs::read_dir(proc.join("fd")).into_iter().flatten().flatten() {
        if fs::read_link(link.path()).is_ok_and(|target| target.to_string_lossy().contains(root)) {
            return Some(format!("it has {} open", fs::read_link(link.path()).unwrap_or_default().display()));
        }
    }
    // The overlay of a container names its layers in its own mount namespace only.
    let own_namespace = fs::read_link("/proc/self/ns/mnt").ok();
    if fs::read_link(proc.join("ns/mnt")).ok() != own_namespace && has("mountinfo", root) {
        return Some("the root is in its mounts".into());
    }
    None
}

fn links() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let handles = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.chain(handles).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn tables() -> BTreeSet<String> {
    let Some(nft) = peers::find("nft") else { return BTreeSet::new() };
    let Ok(output) = Command::new(nft).args(["list", "tables"]).output() else { return BTreeSet::new() };
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
