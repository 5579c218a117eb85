//! Containers of bundles beside others: no verb touches what is another container's, or nobody's container at all.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use ::rhumb::sys::socket;
use serde_json::{Value, json};

use crate::support::process::{self, Outcome, PATIENCE, eventually};
use crate::support::{Scratch, leaks, rhumb, rootfs};

/// A state root and a bundle, with a cgroup for the containers that share it.
struct Ground {
    scratch: Scratch,
    cgroup: String,
}

impl Ground {
    fn new() -> Ground {
        rhumb::assert_root();
        let scratch = Scratch::new();
        rootfs::make(&scratch.join("bundle/rootfs"), &["sleep", "env", "true"]);
        let name = scratch.path().file_name().unwrap().to_str().unwrap().to_owned();
        Ground { scratch, cgroup: format!("/{name}") }
    }

    /// Writes a bundle whose container does `args`.
    fn bundle(&self, args: &[&str]) -> PathBuf {
        let folder = self.scratch.join("bundle");
        let spaces: Vec<Value> = ["pid", "mount", "ipc", "uts"].iter().map(|kind| json!({ "type": kind })).collect();
        let config = json!({
            "ociVersion": "1.2.0", "root": {"path": "rootfs"},
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": args, "env": ["PATH=/bin", "WHO=first"]},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": spaces, "cgroupsPath": self.cgroup},
        });
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        folder
    }

    fn command(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = Command::new(rhumb::binary());
        command.args(["oci", "--root"]).arg(self.scratch.join("state")).arg(verb).args(args);
        if matches!(verb, "create" | "run") {
            command.arg("-b").arg(self.scratch.join("bundle"));
            // Not pipes, which the container would keep open.
            command.stdin(std::process::Stdio::null());
        }
        command
    }

    fn call(&self, verb: &str, args: &[&str]) -> Outcome {
        process::run(&mut self.command(verb, args), None, PATIENCE)
    }

    /// Leaves a container running.
    fn up(&self, id: &str, args: &[&str]) {
        self.bundle(args);
        let log = fs::File::create(self.scratch.join("log")).unwrap();
        let mut command = self.command("create", &[id]);
        let created = command.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
        assert!(created.success(), "{}", fs::read_to_string(self.scratch.join("log")).unwrap());
        self.call("start", &[id]).ok();
    }

    fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.call("state", &[id]).ok()).unwrap()
    }

    fn until_stopped(&self, id: &str) {
        eventually("it has stopped", PATIENCE, || (self.state(id)["status"] == "stopped").then_some(()));
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for id in ["one", "two"] {
            self.call("delete", &["--force", id]);
        }
        for hierarchy in leaks::hierarchies() {
            let left = hierarchy.join(self.cgroup.trim_start_matches('/'));
            assert!(std::thread::panicking() || !left.exists(), "{} is left", left.display());
        }
    }
}

#[test]
fn deleting_a_container_spares_another_one_in_its_cgroup() {
    let ground = Ground::new();
    ground.up("one", &["true"]);
    ground.until_stopped("one");
    ground.up("two", &["sleep", "1000"]);
    let before = ground.state("two");
    ground.call("kill", &["--all", "one", "KILL"]).ok();
    assert_eq!(ground.state("two"), before);
    ground.call("delete", &["one"]).ok();
    assert_eq!(ground.state("two"), before);
    // The same with force, and for one that was killed.
    ground.call("delete", &["--force", "two"]).ok();
    ground.up("one", &["sleep", "1000"]);
    ground.call("kill", &["one", "KILL"]).ok();
    ground.until_stopped("one");
    ground.up("two", &["sleep", "1000"]);
    ground.call("delete", &["--force", "one"]).ok();
    assert_eq!(ground.state("two")["status"], "running");
}

#[test]
fn run_leaves_a_later_container_with_its_id_alone() {
    let ground = Ground::new();
    ground.bundle(&["sleep", "1000"]);
    let mut first = ground.command("run", &["one"]).spawn().unwrap();
    eventually("it runs", PATIENCE, || {
        let said = ground.call("state", &["one"]).stdout;
        said.contains("running").then_some(())
    });
    let signal = |name: &str| {
        let done = Command::new("kill").args([name, &first.id().to_string()]).status().unwrap();
        assert!(done.success());
    };
    signal("-STOP");
    ground.call("kill", &["one", "KILL"]).ok();
    ground.until_stopped("one");
    ground.call("delete", &["one"]).ok();
    ground.up("one", &["sleep", "1000"]);
    let before = ground.state("one");
    signal("-CONT");
    assert_eq!(first.wait().unwrap().code(), Some(137), "the status is the first one's");
    assert_eq!(ground.state("one"), before);
}

#[test]
fn a_pid_file_is_never_written_through_a_link() {
    let ground = Ground::new();
    let (victim, file) = (ground.scratch.join("victim"), ground.scratch.join("one.pid"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, ground.scratch.join(".one.pid")).unwrap();
    symlink(&victim, &file).unwrap();
    ground.bundle(&["true"]);
    ground.call("run", &["--pid-file", file.to_str().unwrap(), "one"]).ok();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
}

#[test]
fn a_forced_deletion_takes_no_folder_that_is_not_a_containers() {
    let ground = Ground::new();
    let precious = ground.scratch.join("state/one/deep/file");
    fs::create_dir_all(precious.parent().unwrap()).unwrap();
    fs::write(&precious, "").unwrap();
    ground.call("delete", &["--force", "one"]).fails_with(1, "is not of a container");
    assert!(precious.exists());
    fs::remove_dir_all(ground.scratch.join("state/one/deep")).unwrap();
    ground.call("delete", &["--force", "one"]).ok();
    assert!(!ground.scratch.join("state/one").exists());
}

#[test]
fn a_variable_of_exec_replaces_the_containers_own() {
    let ground = Ground::new();
    ground.up("one", &["sleep", "1000"]);
    let said = ground.call("exec", &["--env", "WHO=second", "one", "env"]).ok();
    assert_eq!(said.lines().filter(|line| line.starts_with("WHO=")).collect::<Vec<_>>(), ["WHO=second"]);
}

/// Nobody accepts, and its queue is full: that ends as an error and leaves nothing.
#[test]
fn a_console_socket_that_is_busy_holds_nobody_up_for_ever() {
    let ground = Ground::new();
    let folder = ground.bundle(&["true"]);
    let mut config: Value = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    config["process"]["terminal"] = json!(true);
    let devpts = json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts"});
    config["mounts"].as_array_mut().unwrap().push(devpts);
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let path = ground.scratch.join("console");
    let _listener = UnixListener::bind(&path).unwrap();
    let folder = fs::File::open(ground.scratch.path()).unwrap();
    let _waiting: Vec<OwnedFd> = std::iter::from_fn(|| socket::connect_now(folder.as_fd(), "console").ok()).collect();
    let outcome = ground.call("create", &["--console-socket", path.to_str().unwrap(), "one"]);
    outcome.fails_with(1, "sending the terminal to the console socket");
    assert!(!ground.call("state", &["one"]).success());
}
