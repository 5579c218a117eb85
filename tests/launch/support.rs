//! A root file system of the machine's own programs, plans over it, and running them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rhumb::base::{Id, Result};
use rhumb::model::exec::ExecOptions;
use rhumb::model::log::{LogOptions, Stream};
use rhumb::model::restart::RestartPolicy;
use rhumb::runtime::client::{self, AttachEnd, Attachment, Monitor};
use rhumb::runtime::plan::{Pauses, Plan, Rootfs, Stop};
use rhumb::runtime::state;
use serde_json::{Value, json};

use crate::rootfs;

const PROGRAMS: &[&str] = &[
    "sh", "ls", "cat", "echo", "sleep", "true", "id", "env", "mkdir", "rm", "touch", "chmod", "stat", "head", "wc",
    "mount", "grep", "readlink", "kill", "dd", "tty", "stty", "seq", "ln", "hostname", "tr", "tail", "umount", "mknod",
    "sort", "setsid", "nproc", "perl",
];

/// The shared read-only layer.
pub(crate) fn base() -> &'static Path {
    static BASE: OnceLock<tempfile::TempDir> = OnceLock::new();
    BASE.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("rhumb-launch-").tempdir().unwrap();
        rootfs::make(folder.path(), PROGRAMS);
        folder
    })
    .path()
}

/// Removes the shared layer, which a static would keep.
pub(crate) fn remove_base() {
    fs::remove_dir_all(base()).unwrap();
}

/// A container's folders; dropping it ends and removes everything.
pub(crate) struct Box_ {
    folder: tempfile::TempDir,
    /// What is made.
    pub(crate) plan: Plan,
}

impl Box_ {
    /// A container that runs `sh -c script`.
    pub(crate) fn sh(script: &str) -> Box_ {
        Box_::new(&["sh", "-c", script])
    }

    /// A container that runs `args`.
    pub(crate) fn new(args: &[&str]) -> Box_ {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new().prefix("rhumb-launch-").tempdir().unwrap();
        let at = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (upper, work, state_dir, run_dir) = (at("upper"), at("work"), at("state"), at("run"));
        let id = Id::random().unwrap().as_str().to_owned();
        let plan = Plan {
            hold_network: false,
            spec: serde_json::from_value(spec(args)).unwrap(),
            rootfs: Rootfs::Overlay { lower: vec![base().to_owned()], upper, work, volatile: true },
            user: String::new(),
            group_add: Vec::new(),
            state_dir,
            run_dir,
            cgroup: format!("rhumb-launch{}-{number}/{id}", std::process::id()),
            id,
            log: LogOptions::default(),
            log_facts: Default::default(),
            stdin_open: false,
            stdin_once: true,
            init: false,
            probe: None,
            restart: RestartPolicy::No,
            pauses: Pauses::default(),
            stop_signal: None,
            stop: Stop { signal: 15, grace: std::time::Duration::from_secs(10) },
            joined: Vec::new(),
            events: None,
            ephemeral: true,
            on_exit: Vec::new(),
        };
        Box_ { folder, plan }
    }

    /// A folder of the test's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes the specification as JSON.
    pub(crate) fn edit(mut self, change: impl FnOnce(&mut Value)) -> Box_ {
        let mut json = serde_json::to_value(&self.plan.spec).unwrap();
        change(&mut json);
        self.plan.spec = serde_json::from_value(json).unwrap();
        self
    }

    /// Changes the plan.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Plan)) -> Box_ {
        change(&mut self.plan);
        self
    }

    /// Creates it.
    pub(crate) fn create(&self) -> Result<Monitor> {
        client::create(&self.plan)
    }

    /// Runs it attached: exit code, standard output, standard error.
    pub(crate) fn run(&self) -> Result<(i32, String, String)> {
        let mut monitor = self.create()?;
        let mut streams = (Vec::new(), Vec::new());
        let end = attach(&mut monitor, &mut streams, true)?;
        monitor.join()?;
        let AttachEnd::Exited(code) = end else { panic!("detached") };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok((code, text(&streams.0), text(&streams.1)))
    }

    /// Starts it and leaves it running.
    pub(crate) fn start(&self) -> Monitor {
        let mut monitor = self.create().unwrap();
        monitor.start().unwrap();
        monitor
    }

    /// What is known of it.
    pub(crate) fn life(&self) -> state::Life {
        state::life(&self.plan.state_dir, &self.plan.run_dir).unwrap()
    }

    /// Its log.
    pub(crate) fn log(&self) -> String {
        let path = self.plan.state_dir.join(format!("{}-json.log", self.plan.id));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Runs `args` in it: exit code, standard output, standard error.
    pub(crate) fn exec(&self, args: &[&str]) -> Result<(i32, String, String)> {
        let options =
            ExecOptions { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..ExecOptions::default() };
        self.exec_with(&options)
    }

    /// As [`Box_::exec`] with options.
    pub(crate) fn exec_with(&self, options: &ExecOptions) -> Result<(i32, String, String)> {
        let mut monitor = client::connect(&self.plan.run_dir)?;
        let mut streams = (Vec::new(), Vec::new());
        let end = monitor.exec(options, attachment(&mut |stream, bytes| take(&mut streams, stream, bytes)))?;
        let AttachEnd::Exited(code) = end else { panic!("detached") };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok((code, text(&streams.0), text(&streams.1)))
    }
}

impl Drop for Box_ {
    fn drop(&mut self) {
        if let Ok(mut monitor) = client::connect(&self.plan.run_dir) {
            let _ = monitor.signal(9);
            let _ = monitor.join();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = state::sweep(&self.plan.cgroup, &self.plan.run_dir) {
            assert!(Instant::now() < deadline, "{error}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let parent = self.plan.cgroup.split('/').next().unwrap();
        assert_eq!(state::cgroups_below(parent).unwrap(), Vec::<String>::new());
    }
}

type Streams = (Vec<u8>, Vec<u8>);

fn take(streams: &mut Streams, stream: Stream, bytes: &[u8]) -> Result<()> {
    match stream {
        Stream::Stdout => streams.0.extend_from_slice(bytes),
        Stream::Stderr => streams.1.extend_from_slice(bytes),
    }
    Ok(())
}

/// An attachment without input.
pub(crate) fn attachment<'a>(output: &'a mut (dyn FnMut(Stream, &[u8]) -> Result<()> + Send)) -> Attachment<'a> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Attachment {
        stdin: None,
        output,
        terminal: None,
        detach_keys: Vec::new(),
        signals: None,
        interrupt: &NEVER,
        deadline: Some(Instant::now() + Duration::from_secs(30)),
    }
}

/// Attaches and collects.
pub(crate) fn attach(monitor: &mut Monitor, streams: &mut Streams, start: bool) -> Result<AttachEnd> {
    monitor.attach(attachment(&mut |stream, bytes| take(streams, stream, bytes)), start)
}

/// Waits until `done`, or fails.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The specification of an ordinary container.
fn spec(args: &[&str]) -> Value {
    let capabilities = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ];
    json!({
        "ociVersion": "1.2.0",
        "hostname": "box",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
            "env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]},
        ],
        "linux": {
            "resources": {"devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "access": "m"}, {"allow": true, "type": "b", "access": "m"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 7, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 8, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 9, "access": "rwm"},
                {"allow": true, "type": "c", "major": 5, "minor": 0, "access": "rwm"},
                {"allow": true, "type": "c", "major": 5, "minor": 2, "access": "rwm"},
                {"allow": true, "type": "c", "major": 136, "access": "rwm"},
            ]},
            "namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"}, {"type": "cgroup"}],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
