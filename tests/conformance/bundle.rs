//! A bundle of one case, and the runtime's operations on it.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rhumb::sys::socket::{self, Interest};
use serde_json::{Value, json};

use crate::runtime::Runtime;
use crate::support::process::{self, Outcome};
use crate::support::{Scratch, leaks, rootfs};

/// How long one call of a runtime may take, and how long a state may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The programs in every root.
const PROGRAMS: &[&str] = &[
    "sh", "cat", "echo", "sleep", "true", "false", "id", "env", "mkdir", "rm", "touch", "chmod", "stat", "head", "wc",
    "mount", "umount", "grep", "readlink", "kill", "dd", "tty", "stty", "ln", "hostname", "tr", "tail", "mknod",
    "sort", "ls", "nproc", "perl", "uname", "chrt", "ionice", "taskset", "unshare", "pwd", "sed", "cut", "setpriv",
    "ipcs",
];

/// Where all cases of this process lie, and the number by which their cgroups are known.
pub(crate) struct Ground {
    scratch: Scratch,
    /// In the names of cgroups: `rhumb-<root_id>`.
    pub(crate) root_id: String,
}

impl Ground {
    /// A root file system to share, made once.
    pub(crate) fn new() -> Ground {
        let scratch = Scratch::new();
        rootfs::make(&scratch.join("root"), PROGRAMS);
        Ground { scratch, root_id: format!("conf{}", std::process::id()) }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Removes the cgroup above those of the cases, which the runtimes make and leave.
    pub(crate) fn remove_cgroups(&self) {
        for hierarchy in leaks::hierarchies() {
            let parent = hierarchy.join(format!("rhumb-{}", self.root_id));
            if parent.exists() {
                fs::remove_dir(&parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
            }
        }
    }
}

/// A bundle: a folder with `config.json` and `rootfs`.
pub(crate) struct Bundle {
    /// The runtime under test.
    pub(crate) runtime: Runtime,
    /// The container's id.
    pub(crate) id: String,
    /// What becomes `config.json`.
    pub(crate) config: Value,
    folder: PathBuf,
    state_root: PathBuf,
    base: PathBuf,
    cgroup: String,
    before: Option<String>,
}

impl Bundle {
    /// The ordinary one.
    pub(crate) fn new(ground: &Ground, runtime: Runtime, case: &str) -> Bundle {
        let id = format!("{case}-{}", runtime.name());
        let folder = ground.scratch.join(&id);
        Bundle::at(
            folder,
            ground.scratch.join(runtime.name()),
            ground.scratch.join("root"),
            runtime,
            id,
            &ground.root_id,
        )
    }

    fn at(folder: PathBuf, state_root: PathBuf, base: PathBuf, runtime: Runtime, id: String, root_id: &str) -> Bundle {
        fs::create_dir_all(&folder).unwrap();
        rootfs::link(&base, &folder.join("rootfs"));
        let cgroup = format!("/rhumb-{root_id}/{id}");
        let config = ordinary(&cgroup);
        Bundle { runtime, id, config, folder, state_root, base, cgroup, before: None }
    }

    /// Another bundle for the same runtime and case.
    pub(crate) fn sibling(&self, name: &str) -> Bundle {
        let id = format!("{}-{name}", self.id);
        let root_id = self.cgroup.trim_start_matches("/rhumb-").split('/').next().unwrap();
        let (root, base) = (self.state_root.clone(), self.base.clone());
        Bundle::at(self.folder.with_file_name(&id), root, base, self.runtime, id, root_id)
    }

    /// A path in the case's folder, which is the bundle.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A new folder in the case's folder.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A path in the container's root, as the host sees it.
    pub(crate) fn in_root(&self, name: &str) -> PathBuf {
        self.path("rootfs").join(name.trim_start_matches('/'))
    }

    /// The text of a file in the container's root, empty when there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.in_root(name)).unwrap_or_default()
    }

    /// The container's cgroup, as `cgroupsPath` has it.
    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// The content of a file of the container's cgroup of version 1.
    pub(crate) fn cgroup_file(&self, controller: &str, name: &str) -> String {
        let path = PathBuf::from(format!("/sys/fs/cgroup/{controller}{}/{name}", self.cgroup));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
    }

    /// Patches the configuration, see [`crate::case::Test`].
    pub(crate) fn patch(&mut self, patch: &str) -> &mut Bundle {
        let text = patch.replace("@scratch@", &self.folder.display().to_string());
        let patch = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        merge(&mut self.config, &patch);
        self
    }

    /// Patches the configuration with a value.
    pub(crate) fn with(&mut self, patch: Value) -> &mut Bundle {
        merge(&mut self.config, &patch);
        self
    }

    /// Adds a mount.
    pub(crate) fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &mut Bundle {
        let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.with(json!({"mounts+": [mount]}))
    }

    /// Makes the container run `sh -c script`.
    pub(crate) fn script(&mut self, script: &str) -> &mut Bundle {
        self.with(json!({"process": {"args": ["/bin/sh", "-c", script]}}))
    }

    /// Makes [`Bundle::run`] execute a script first, in a mount namespace of the runtime's own.
    pub(crate) fn before(&mut self, script: &str) -> &mut Bundle {
        self.before = Some(script.replace("@scratch@", &self.folder.display().to_string()));
        self
    }

    /// Writes `config.json`.
    pub(crate) fn write(&self) {
        fs::write(self.path("config.json"), serde_json::to_vec_pretty(&self.config).unwrap()).unwrap();
    }

    /// A command of the runtime.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.runtime.command(&self.state_root);
        command.args(args).current_dir("/");
        command
    }

    /// Calls the runtime to its end.
    #[track_caller]
    pub(crate) fn call(&self, args: &[&str]) -> Outcome {
        process::run(&mut self.command(args), None, PATIENCE)
    }

    /// Runs the container to its end.
    #[track_caller]
    pub(crate) fn run(&self) -> Outcome {
        self.write();
        let command = self.command(&["run", "--bundle", &self.folder.display().to_string(), &self.id]);
        let Some(before) = &self.before else { return process::run(&mut { command }, None, PATIENCE) };
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "sh", "-ec", &format!("{before}\nexec \"$@\""), "sh"]);
        outer.arg(command.get_program()).args(command.get_args());
        process::run(&mut outer, None, PATIENCE)
    }

    /// Runs `script` in the container to its end and returns its output.
    #[track_caller]
    pub(crate) fn prints(&mut self, script: &str) -> String {
        self.script(script);
        self.run().ok()
    }

    /// Creates the container; what its process prints goes to the file `output` of the bundle.
    #[track_caller]
    pub(crate) fn try_create(&self) -> Outcome {
        self.write();
        let mut command = self.command(&["create", "--bundle", &self.folder.display().to_string(), "--pid-file"]);
        command.arg(self.path("pid")).arg(&self.id);
        let errors = self.path("errors");
        command.stdin(Stdio::null()).stdout(File::create(self.path("output")).unwrap());
        command.stderr(File::create(&errors).unwrap());
        let begin = Instant::now();
        let mut child = command.spawn().unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("create hangs: {}", fs::read_to_string(&errors).unwrap());
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let (stdout, bytes) = (String::new(), Vec::new());
        let stderr = fs::read_to_string(&errors).unwrap();
        let code = status.code().unwrap_or(255);
        Outcome { command: "create".into(), code, stdout, stderr, bytes, elapsed: begin.elapsed() }
    }

    /// Creates the container.
    #[track_caller]
    pub(crate) fn create(&self) -> &Bundle {
        self.try_create().ok();
        self
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(&self) -> &Bundle {
        self.call(&["start", &self.id]).ok();
        self
    }

    /// Creates and starts it.
    #[track_caller]
    pub(crate) fn up(&self) -> &Bundle {
        self.create().start()
    }

    /// Sends a signal.
    #[track_caller]
    pub(crate) fn kill(&self, signal: &str) -> &Bundle {
        self.call(&["kill", &self.id, signal]).ok();
        self
    }

    /// Deletes it.
    #[track_caller]
    pub(crate) fn delete(&self) -> &Bundle {
        self.call(&["delete", &self.id]).ok();
        self
    }

    /// Its state.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        let text = self.call(&["state", &self.id]).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Its status.
    #[track_caller]
    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    /// The process, as the host sees it.
    #[track_caller]
    pub(crate) fn pid(&self) -> u64 {
        self.state()["pid"].as_u64().expect("a pid")
    }

    /// Waits for a status.
    #[track_caller]
    pub(crate) fn until(&self, status: &str) -> &Bundle {
        eventually(status, || self.status() == status);
        self
    }

    /// Waits for a file of the container's root to have content, and returns it.
    #[track_caller]
    pub(crate) fn until_written(&self, name: &str) -> String {
        eventually(name, || self.read(name).ends_with('\n'));
        self.read(name)
    }

    /// Runs a program in it.
    #[track_caller]
    pub(crate) fn exec(&self, args: &[&str]) -> Outcome {
        self.call(&[&["exec", self.id.as_str()], args].concat())
    }

    /// `create` must fail with a message and leave nothing behind. Returns the message.
    #[track_caller]
    pub(crate) fn refused(&self) -> String {
        let outcome = self.try_create();
        assert!(!outcome.success(), "it was created:\n{outcome}");
        let said = !outcome.stderr.trim().is_empty() && !outcome.stderr.contains("panicked");
        assert!(said || self.runtime != Runtime::Rhumb, "no message:\n{outcome}");
        assert!(!self.call(&["state", &self.id]).success(), "it has a state although it could not be created");
        self.assert_no_cgroup();
        outcome.stderr
    }

    /// The options that a mount of the container shows, of the mount and of the file system.
    #[track_caller]
    pub(crate) fn mount_options(&mut self, destination: &str) -> Vec<String> {
        let text = self.prints("cat /proc/self/mountinfo");
        let mut lines = text.lines().filter(|line| line.split(' ').nth(4) == Some(destination));
        let line = lines.next_back().unwrap_or_else(|| panic!("no mount at {destination} in\n{text}"));
        let fields: Vec<&str> = line.split(' ').collect();
        let dash = fields.iter().position(|field| *field == "-").expect("mountinfo has a dash");
        let propagation = fields[6..dash].iter().map(|field| field.split(':').next().unwrap());
        let flags = fields[5].split(',').chain(propagation).map(str::to_owned);
        flags.chain(fields[dash + 3].split(',').map(|option| format!("fs:{option}"))).collect()
    }

    /// No cgroup of the container is there any more.
    #[track_caller]
    pub(crate) fn assert_no_cgroup(&self) {
        let left = || leaks::hierarchies().into_iter().find(|path| path.join(&self.cgroup[1..]).exists());
        let deadline = Instant::now() + Duration::from_secs(2);
        while let Some(path) = left() {
            assert!(Instant::now() < deadline, "{}{} is left", path.display(), self.cgroup);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Removes what a runtime that deviates left of the container's cgroup.
    pub(crate) fn remove_cgroup(&self) {
        for hierarchy in leaks::hierarchies() {
            // What cannot be removed is reported at the end.
            let _ = fs::remove_dir(hierarchy.join(&self.cgroup[1..]));
        }
    }

    /// Takes everything away, whatever state it is in.
    pub(crate) fn clean_up(&self) {
        // There may be nothing to delete, which is how most cases end.
        process::run(&mut self.command(&["delete", "--force", &self.id]), None, PATIENCE);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if self.state_root.join(&self.id).exists() {
            self.clean_up();
        }
    }
}

/// Waits for something.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The next connection.
#[track_caller]
pub(crate) fn accept(listener: &UnixListener) -> UnixStream {
    let mut waiting = [Interest::new(listener.as_fd(), true, false)];
    socket::wait(&mut waiting, Some(PATIENCE)).unwrap();
    assert!(waiting[0].readable(), "nobody connects to the socket");
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that comes until the end, which of a terminal is an error.
#[track_caller]
pub(crate) fn read_to_end(fd: BorrowedFd<'_>) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let mut waiting = [Interest::new(fd, true, false)];
        socket::wait(&mut waiting, Some(PATIENCE)).unwrap();
        assert!(waiting[0].readable() || waiting[0].hung_up(), "no end: {:?}", String::from_utf8_lossy(&text));
        match socket::read(fd, &mut buffer) {
            Ok(count @ 1..) => text.extend_from_slice(&buffer[..count]),
            _ => return String::from_utf8(text).unwrap(),
        }
    }
}

/// A JSON merge patch (RFC 7386), but that a member `name+` adds to the array `name`.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in members {
        if let Some(array) = name.strip_suffix('+') {
            let array = &mut target[array];
            if array.is_null() {
                *array = json!([]);
            }
            array.as_array_mut().expect("an array").extend(value.as_array().expect("an array").clone());
        } else if value.is_null() {
            target.as_object_mut().expect("an object").remove(name);
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}

/// The ordinary configuration.
fn ordinary(cgroup: &str) -> Value {
    static TEXT: OnceLock<Value> = OnceLock::new();
    let mut config = TEXT.get_or_init(|| serde_json::from_str(include_str!("ordinary.json")).unwrap()).clone();
    config["linux"]["cgroupsPath"] = json!(cgroup);
    config
}
