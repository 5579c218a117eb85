//! A state root of its own and the real binary to work on it.
//!
//! [`Rhumb::new`] gives an empty root, [`Rhumb::with_base`] one that holds the image [`BASE`], made of this machine's own
//! programs once per test process and copied from there. Dropping it removes every container, and fails the test when
//! anything is left behind (see [`crate::support::leaks`]).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::leaks::{self, Leaks};
use crate::support::process::{self, Outcome, PATIENCE};

/// The reference of the image in [`Rhumb::with_base`].
pub(crate) const BASE: &str = "base:1";

/// The programs in [`BASE`].
pub(crate) const PROGRAMS: &[&str] = &[
    "sh",
    "ls",
    "cat",
    "echo",
    "sleep",
    "true",
    "false",
    "id",
    "env",
    "mkdir",
    "rm",
    "touch",
    "chmod",
    "chown",
    "mv",
    "ln",
    "cp",
    "stat",
    "dd",
    "head",
    "tail",
    "wc",
    "tr",
    "seq",
    "sort",
    "date",
    "hostname",
    "uname",
    "mount",
    "df",
    "grep",
    "sed",
    "find",
    "tar",
    "test",
    "printf",
    "pwd",
    "tty",
    "stty",
    "kill",
    "nproc",
    "sha256sum",
    "readlink",
    "timeout",
    "sync",
];

/// A folder that goes away with the value, also when the test fails.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    /// An empty folder.
    pub(crate) fn new() -> Scratch {
        Scratch(tempfile::Builder::new().prefix("rhumb-test-").tempdir().expect("a temporary folder"))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path below it.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_rhumb"))
}

/// Panics with a clear message unless the tests run as the superuser, without whom there are no containers.
pub(crate) fn assert_root() {
    let status = fs::read_to_string("/proc/self/status").expect("reading /proc/self/status");
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).and_then(|rest| rest.split_whitespace().nth(1));
    assert!(uid == Some("0"), "these tests make real containers: run `cargo test` as root");
}

/// What the folders begin with that hold a state root.
const ROOTS: &str = "rhumb-root-";

/// A state root and the binary.
pub(crate) struct Rhumb {
    scratch: Scratch,
    leaks: Leaks,
    /// The folder, locked: nobody takes it for what a dead run left.
    _alive: File,
}

impl Rhumb {
    /// An empty state root.
    pub(crate) fn new() -> Rhumb {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| sweep_the_dead(&std::env::temp_dir()));
        Rhumb::at(&std::env::temp_dir(), ROOTS)
    }

    fn at(dir: &Path, prefix: &str) -> Rhumb {
        assert_root();
        let (scratch, alive) = loop {
            let scratch = Scratch(tempfile::Builder::new().prefix(prefix).tempdir_in(dir).expect("a temporary folder"));
            let folder = File::open(scratch.path()).expect("opening a folder");
            folder.lock().expect("locking a folder");
            // A sweep that saw it before it was locked has taken it away.
            if scratch.path().exists() {
                break (scratch, folder);
            }
        };
        fs::create_dir(scratch.join("tmp")).expect("making a folder");
        let root = scratch.join("root");
        let leaks = Leaks::watch(&root, &root_id(&root));
        Rhumb { scratch, leaks, _alive: alive }
    }

    /// A state root that holds the image [`BASE`].
    pub(crate) fn with_base() -> Rhumb {
        let rhumb = Rhumb::new();
        copy_tree(template(), &rhumb.root());
        rhumb
    }

    /// A state root inside a folder that the test made, such as a mount point of a small file system, with the image
    /// [`BASE`]. It takes only the folder's own content down with it.
    pub(crate) fn with_base_in(dir: &Path) -> Rhumb {
        let rhumb = Rhumb::at(dir, "r-");
        copy_tree(template(), &rhumb.root());
        rhumb
    }

    /// The state root.
    pub(crate) fn root(&self) -> PathBuf {
        self.scratch.join("root")
    }

    /// The short id that names in the kernel carry.
    pub(crate) fn root_id(&self) -> String {
        root_id(&self.root())
    }

    /// A path beside the root for the test's own files.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scratch.join(name)
    }

    /// The guard of this root.
    pub(crate) fn leaks(&self) -> &Leaks {
        &self.leaks
    }

    /// A command on this root.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command.args(args);
        self.environ(&mut command);
        command
    }

    /// Makes `rhumb` in `command` mean the binary under test on this root.
    pub(crate) fn environ(&self, command: &mut Command) {
        let path = std::env::var("PATH").unwrap_or_default();
        let dir = binary().parent().expect("the binary lies in a folder");
        command.env("PATH", format!("{}:{path}", dir.display()));
        command.env("RHUMB_ROOT", self.root()).env("TMPDIR", self.path("tmp")).env("HOME", self.scratch.path());
        // Those that test networks say so.
        command.env("RHUMB_NETWORK", "none");
        // And those that fetch: nobody is to be asked for an image that is not here.
        command.env("RHUMB_PULL", "never").env_remove("DOCKER_CONFIG");
        command.env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8").env_remove("RHUMB_FAILPOINT");
        command.current_dir(self.scratch.path());
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        process::run(&mut self.command(args), None, PATIENCE)
    }

    /// Runs a command line, split at spaces, to its end.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> Outcome {
        self.run(line.split_whitespace())
    }

    /// Makes a file in a running container that may end because of it, and what makes it with the container.
    #[track_caller]
    pub(crate) fn touch(&self, container: &str, path: &str) {
        let outcome = self.run(["exec", container, "sh", "-c", &format!(": > {path}")]);
        assert!(matches!(outcome.code, 0 | 137), "{outcome}");
    }

    /// Runs a command with `input` on its standard input.
    #[track_caller]
    pub(crate) fn run_with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Outcome {
        process::run(&mut self.command(args), Some(input), PATIENCE)
    }

    /// Runs the text of a script.
    #[track_caller]
    pub(crate) fn script(&self, text: &str) -> Outcome {
        self.script_with(text, &[], PATIENCE)
    }

    /// Runs the text of a script with arguments.
    #[track_caller]
    pub(crate) fn script_with(&self, text: &str, args: &[&str], patience: Duration) -> Outcome {
        let file = self.path("test-script.rhai");
        fs::write(&file, text).expect("writing a script");
        process::run(self.command([file.as_os_str()]).args(args), None, patience)
    }

    /// Starts a command and leaves it running, with no standard input and its output thrown away.
    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("starting the binary")
    }

    /// A container's or another object's `inspect`.
    #[track_caller]
    pub(crate) fn inspect(&self, name: &str) -> Value {
        let text = self.run(["inspect", name]).ok();
        let mut all: Vec<Value> = serde_json::from_str(&text).expect("inspect prints JSON");
        assert_eq!(all.len(), 1, "inspect {name}: {text}");
        all.remove(0)
    }

    /// The rows of a listing as JSON.
    #[track_caller]
    pub(crate) fn rows(&self, line: &str) -> Vec<Value> {
        let text = self.run(line.split(' ').chain(["--no-trunc", "--format", "json"])).ok();
        text.lines().map(|row| serde_json::from_str(row).expect("a row is JSON")).collect()
    }

    /// Every container with its state.
    #[track_caller]
    pub(crate) fn states(&self) -> BTreeMap<String, String> {
        self.rows("ps -a").iter().map(|row| (string(&row["Names"]), string(&row["State"]))).collect()
    }

    /// Removes every container.
    #[track_caller]
    pub(crate) fn remove_all(&self) {
        let ids = self.run(["ps", "-aq", "--no-trunc"]).ok();
        let ids: Vec<&str> = ids.lines().collect();
        if !ids.is_empty() {
            let outcome = self.run(["rm", "-f", "-v"].iter().chain(&ids));
            // One that went away meanwhile, since it had `--rm`, is gone as wished.
            assert!(outcome.success() || outcome.stderr.contains("no such container"), "removing all:\n{outcome}");
        }
        if self.leaks.has_network() {
            self.run(["network", "prune", "-f"]).ok();
        }
    }

    /// Panics unless `system check` finds everything in order.
    #[track_caller]
    pub(crate) fn assert_consistent(&self) {
        self.run(["system", "check"]).ok();
    }

    fn was_used(&self) -> bool {
        self.root().join("rhumb.db").exists()
    }
}

impl Drop for Rhumb {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.leaks.sweep();
        } else if self.was_used() {
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.remove_all();
                self.leaks.assert_clean();
                let left: Vec<_> = fs::read_dir(self.path("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
                assert!(left.is_empty(), "temporary files are left: {left:?}");
            }));
            if let Err(panic) = checked {
                self.leaks.sweep();
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Ends what a run that was killed left in the kernel and in `dir`: its addresses and names would be in the way of this
/// one. Folders of runs that are alive are locked.
fn sweep_the_dead(dir: &Path) {
    for entry in fs::read_dir(dir).expect("reading the folder for temporary files").flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(ROOTS) {
            continue;
        }
        // Somebody else sweeps too, or a test has just ended: gone is as good.
        let Ok(folder) = File::open(&path) else { continue };
        if folder.try_lock().is_ok() {
            let root = path.join("root");
            Leaks::of_the_dead(&root, &root_id(&root)).sweep();
            if leaks::unmount_below(&path) {
                let _ = fs::remove_dir_all(&path);
            }
        }
    }
}

/// The text of a JSON string.
#[track_caller]
pub(crate) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string")).to_owned()
}

/// What global kernel names of a root carry; a contract of `base::paths`.
fn root_id(root: &Path) -> String {
    ::rhumb::base::Paths::new(root).root_id()
}

/// A state root with [`BASE`] that is made once per process and only ever copied. Tests that end in the middle leave it
/// in the build's folder for temporary files, where the next run replaces it.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let name = Path::new(env!("CARGO_CRATE_NAME")).join("template");
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if root.exists() {
            fs::remove_dir_all(&root).expect("removing an old template");
        }
        fs::create_dir_all(root.parent().expect("a path with a parent")).expect("making a folder");
        let mut command = Command::new(binary());
        command.args(["image", "from-host", BASE]).args(PROGRAMS).env("RHUMB_ROOT", &root);
        process::run(&mut command, None, PATIENCE).ok();
        root
    })
}

/// Copies a folder with everything that a layer can hold.
fn copy_tree(from: &Path, to: &Path) {
    process::run(Command::new("cp").args(["-a", "--"]).args([from, to]), None, PATIENCE).ok();
}
