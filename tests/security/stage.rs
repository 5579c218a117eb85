//! What the rows share: images with hostile content, a file of the host that nobody in a container may reach, and the two
//! questions after each hostile case: was it one clear error, and does everything still work?

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::raw::{Raw, archive};
use crate::support::Rhumb;
use crate::support::process::{self, Outcome, PATIENCE};

/// The programs of every image here. Perl makes the system calls that no shell can.
const PROGRAMS: &[&str] = &[
    "sh", "ls", "cat", "echo", "sleep", "true", "id", "env", "mkdir", "rm", "ln", "stat", "head", "wc", "grep",
    "readlink", "kill", "dd", "mount", "umount", "mknod", "mkfifo", "touch", "chmod", "pwd", "tail", "tr", "sort",
    "perl",
];

/// What the host's canary says.
pub(crate) const CANARY: &str = "a secret of the host";

/// How long a refusal may take at most, on a machine that does other things as well.
const REFUSAL: Duration = Duration::from_secs(10);

/// A state root, and beside it a folder of the host that must stay as it is.
pub(crate) struct Stage {
    pub(crate) rhumb: Rhumb,
}

impl Stage {
    /// With an ordinary image `base:1`.
    pub(crate) fn new() -> Stage {
        let stage = Stage::empty();
        stage.image("base:1", &[], &[]);
        stage
    }

    /// Without any image.
    pub(crate) fn empty() -> Stage {
        let rhumb = Rhumb::new();
        let outside = rhumb.path("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("canary"), CANARY).unwrap();
        Stage { rhumb }
    }

    /// A path in the folder of the host that must stay as it is.
    pub(crate) fn outside(&self, name: &str) -> String {
        self.rhumb.path("outside").join(name).to_str().unwrap().to_owned()
    }

    /// Makes an image of the usual programs and these entries, which may replace any of them.
    #[track_caller]
    pub(crate) fn image(&self, name: &str, entries: &[Raw], changes: &[&str]) {
        self.import(name, entries, changes).ok();
    }

    /// As [`Stage::image`] for what may be refused.
    #[track_caller]
    pub(crate) fn import(&self, name: &str, entries: &[Raw], changes: &[&str]) -> Outcome {
        let mut bytes = base().to_vec();
        bytes.extend(archive(entries));
        let changes = changes.iter().flat_map(|change| ["-c", change]);
        let args: Vec<&str> = ["import"].into_iter().chain(changes).chain(["-", name]).collect();
        self.rhumb.run_with_input(args, &bytes)
    }

    /// Runs `args` in a new container, which goes when it has ended.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        self.rhumb.run(["run", "--rm"].iter().chain(args))
    }

    /// Leaves a container called `box` running.
    #[track_caller]
    pub(crate) fn sleeper(&self, args: &[&str]) {
        let args = ["run", "-d", "--name", "box"].iter().chain(args).chain(&["sleep", "1000"]);
        self.rhumb.run(args).ok();
    }

    /// Runs a line of shell in the container `box`.
    #[track_caller]
    pub(crate) fn exec(&self, line: &str) -> Outcome {
        self.rhumb.run(["exec", "box", "sh", "-c", line])
    }

    /// Panics unless `outcome` is a refusal: in time, with one clear message and no panic, nothing left of the container,
    /// and no lock held.
    #[track_caller]
    pub(crate) fn refused(&self, outcome: &Outcome) -> String {
        assert!(outcome.code != 0 && outcome.code < 128, "expected a refusal:\n{outcome}");
        assert!(!outcome.stderr.contains("panicked"), "a panic is not an error message:\n{outcome}");
        let lines = outcome.stderr.lines().count();
        assert!((1..=3).contains(&lines), "expected one clear error:\n{outcome}");
        assert!(outcome.elapsed < REFUSAL, "a refusal took too long:\n{outcome}");
        self.quiet();
        outcome.stderr.clone()
    }

    /// Panics unless the host's folder is as it was, and no container is left.
    #[track_caller]
    pub(crate) fn quiet(&self) {
        self.untouched();
        assert_eq!(self.rhumb.run(["ps", "-aq"]).ok(), "", "a container is left");
    }

    /// Panics unless the host's folder is as it was.
    #[track_caller]
    pub(crate) fn untouched(&self) {
        let names: Vec<_> = fs::read_dir(self.rhumb.path("outside")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["canary"], "something was made on the host");
        let canary = self.rhumb.path("outside/canary");
        assert_eq!(fs::read_to_string(&canary).unwrap(), CANARY, "the host's file was changed");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&canary).unwrap().permissions());
        assert_eq!(mode & 0o7777, 0o644, "the mode of the host's file was changed");
    }
}

/// A tar of the usual programs without its end mark, made once.
fn base() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| {
        let rhumb = Rhumb::new();
        rhumb.run(["image", "from-host", "tools:1"].iter().chain(PROGRAMS)).ok();
        rhumb.run(["create", "--name", "tools", "tools:1", "true"]).ok();
        let path = rhumb.path("tools.tar");
        rhumb.run(["export".as_ref(), "-o".as_ref(), path.as_os_str(), "tools".as_ref()]).ok();
        rhumb.run(["rm", "tools"]).ok();
        let mut bytes = Vec::new();
        fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes.resize(end.next_multiple_of(512), 0);
        bytes
    })
}

/// Runs a program of the host in a folder.
pub(crate) fn host(folder: &Path, program: &str, args: &[&str]) -> String {
    process::run(Command::new(program).args(args).current_dir(folder), None, PATIENCE).ok()
}

/// A field of a process's status file.
pub(crate) fn status_field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status:?}")).trim()
}

/// The first process of the container `box`, and its monitor.
pub(crate) fn pids(rhumb: &Rhumb) -> (i32, i32) {
    let init = rhumb.inspect("box")["State"]["Pid"].as_i64().expect("a pid") as i32;
    let status = fs::read_to_string(format!("/proc/{init}/status")).expect("a live process");
    (init, status_field(&status, "PPid").parse().expect("a pid"))
}

/// The folder in proc of a process.
pub(crate) fn proc(pid: i32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}
