//! Rhumb as the runtime of other engines: podman and Docker run, enter, pause, change, stop and remove containers with it.
//! A peer that is not installed is a counted skip (see `support/peers.rs`).

#[path = "support/peers.rs"]
mod peers;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use peers::peer;
use tempfile::TempDir;

/// Programs that the image has.
const PROGRAMS: [&str; 9] = ["sh", "true", "echo", "sleep", "id", "cat", "grep", "ls", "env"];
/// Limits that this machine can give: engines ask for more than one without CAP_SYS_RESOURCE may.
const LIMITS: [&str; 2] = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096"];

/// A folder with a runtime, under a name that makes it one, and an image.
struct Ground {
    folder: TempDir,
}

impl Ground {
    fn new() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_rhumb"), folder.path().join("rhumb-runc")).unwrap();
        let root = folder.path().join("rootfs");
        for dir in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for name in PROGRAMS {
            let path = fs::canonicalize(peers::find(name).unwrap()).unwrap();
            fs::copy(&path, root.join("bin").join(name)).unwrap();
            let libraries = Command::new("ldd").arg(&path).output().unwrap();
            for library in String::from_utf8(libraries.stdout).unwrap().split_whitespace() {
                if library.starts_with('/') {
                    let target = root.join(library.trim_start_matches('/'));
                    fs::create_dir_all(target.parent().unwrap()).unwrap();
                    fs::copy(library, target).unwrap();
                }
            }
        }
        let archive = folder.path().join("image.tar");
        let tar = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(tar.success());
        Ground { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// One engine's command line.
struct Engine<'a> {
    command: Box<dyn Fn() -> Command + 'a>,
    run: Vec<String>,
}

impl Engine<'_> {
    fn call<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        (self.command)().args(args).stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn ok<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> String {
        let output = self.call(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn ends_with<S: AsRef<OsStr> + std::fmt::Debug>(&self, code: i32, args: &[S]) -> String {
        let output = self.call(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn run(&self, further: &[&str], command: &[&str]) -> Vec<String> {
        let further = further.iter().map(ToString::to_string);
        let own = ["run".to_owned()].into_iter().chain(self.run.iter().cloned()).chain(further);
        own.chain(["base:1".to_owned()]).chain(command.iter().map(ToString::to_string)).collect()
    }

    /// Everything that both engines do with a runtime.
    fn works(&self, memory_limit: &dyn Fn(&str) -> String) {
        let run = |further: &[&str], command: &[&str]| self.run(further, command);
        let said = self.ends_with(3, &run(&["--rm"], &["/bin/sh", "-c", "echo hello; exit 3"]));
        assert_eq!(said, "hello\n");
        let said = self.ok(&run(
            &["--rm", "--user=7:8", "--cap-drop=all", "--read-only"],
            &["/bin/sh", "-c", "id -u; id -g; grep CapEff /proc/self/status; echo x 2>&- > /x || echo refused"],
        ));
        assert_eq!(said, "7\n8\nCapEff:\t0000000000000000\nrefused\n");
        self.ends_with(127, &run(&["--rm"], &["/nope"]));
        self.ends_with(127, &run(&["--rm"], &["nope"]));
        let said = self.ok(&run(&["--rm", "-t"], &["/bin/ls", "-l", "/proc/self/fd/0"]));
        assert!(said.contains("/dev/pts/0"), "{said}");

        let id = self.ok(&run(&["-d", "--name=one"], &["/bin/sleep", "1000"]));
        assert_eq!(self.ends_with(5, &["exec", "one", "/bin/sh", "-c", "echo inside; exit 5"]), "inside\n");
        assert!(self.ok(&["exec", "-t", "one", "/bin/ls", "-l", "/proc/self/fd/0"]).contains("/dev/pts/0"));
        assert_eq!(self.ok(&["exec", "--user=5:6", "one", "/bin/id", "-u"]), "5\n");
        self.ok(&["pause", "one"]);
        assert!(self.ok(&["inspect", "--format={{.State.Status}}", "one"]).contains("paused"));
        self.ok(&["unpause", "one"]);
        self.ok(&["update", "--memory=100m", "--memory-swap=200m", "one"]);
        assert_eq!(memory_limit(id.trim()), "104857600");
        assert!(self.ok(&["top", "one"]).contains("sleep"));
        self.ok(&["stop", "-t", "1", "one"]);
        assert!(self.ok(&["inspect", "--format={{.State.ExitCode}}", "one"]).contains("137"));
        self.ok(&["start", "one"]);
        self.ok(&["kill", "one"]);
        self.ok(&["rm", "-f", "one"]);
        assert_eq!(self.ok(&["ps", "-aq"]), "");
    }
}

/// The first memory limit of a cgroup whose name has `id` in it.
fn memory_limit(parent: &str, id: &str) -> String {
    let entries = fs::read_dir(Path::new("/sys/fs/cgroup/memory").join(parent)).unwrap();
    let folder = entries.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().contains(id)).unwrap();
    fs::read_to_string(folder.join("memory.limit_in_bytes")).unwrap().trim().to_owned()
}

/// Whether limits can be read where these tests look for them.
fn has_version_1() -> bool {
    Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
}

/// A parent of cgroups; what an engine leaves of it goes away with this, whatever becomes of the test.
struct Parent(String);

impl Drop for Parent {
    fn drop(&mut self) {
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let parent = hierarchy.path().join(&self.0);
            let _ = fs::remove_dir(parent.join("conmon"));
            let _ = fs::remove_dir(&parent);
            // Where no hierarchy is mounted, podman writes plain files into plain folders; of cgroups this removes nothing.
            let _ = fs::remove_dir_all(&parent);
            assert!(std::thread::panicking() || !parent.exists(), "{parent:?} is left");
        }
    }
}

#[test]
fn podman_runs_containers_with_it() {
    if peer("podman").is_none() {
        return;
    }
    if !has_version_1() {
        return peers::skip("there is no version 1 hierarchy for memory");
    }
    let ground = Ground::new();
    let cgroups = Parent(format!("rhumb-test-podman-{}", std::process::id()));
    let parent = &cgroups.0;
    let command = || {
        let mut command = peer("podman").unwrap();
        command.arg("--root").arg(ground.path("root")).arg("--runroot").arg(ground.path("run"));
        command.arg("--tmpdir").arg(ground.path("tmp")).arg("--runtime").arg(ground.path("rhumb-runc"));
        command.args(["--cgroup-manager=cgroupfs", "--storage-driver=vfs", "--events-backend=file"]);
        command
    };
    let run = LIMITS.iter().map(ToString::to_string);
    let run = run.chain(["--net=none".to_owned(), format!("--cgroup-parent=/{parent}")]).collect();
    let engine = Engine { command: Box::new(command), run };
    engine.ok(&["import", ground.path("image.tar").to_str().unwrap(), "base:1"]);
    engine.works(&|id| memory_limit(parent, &format!("libpod-{id}")));
    engine.ok(&["rmi", "-f", "base:1"]);
}

/// A Docker daemon of our own.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends its containerd too, which a plain kill would not.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

#[test]
fn docker_runs_containers_with_it() {
    if peer("docker").is_none() || peer("dockerd").is_none() {
        return;
    }
    if !has_version_1() {
        return peers::skip("there is no version 1 hierarchy for memory");
    }
    let ground = Ground::new();
    let cgroups = Parent(format!("rhumb-test-docker-{}", std::process::id()));
    let parent = &cgroups.0;
    let socket = format!("unix://{}", ground.path("docker.sock").display());
    let mut dockerd = peer("dockerd").unwrap();
    dockerd.arg("--data-root").arg(ground.path("data")).arg("--exec-root").arg(ground.path("exec"));
    dockerd.arg("--pidfile").arg(ground.path("pid")).args(["-H", &socket, "--iptables=false", "--bridge=none"]);
    dockerd.arg(format!("--add-runtime=rhumb={}", ground.path("rhumb-runc").display()));
    dockerd.args(["--storage-driver=vfs", &format!("--cgroup-parent=/{parent}")]);
    let log = fs::File::create(ground.path("log")).unwrap();
    dockerd.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let daemon = Daemon(dockerd.spawn().unwrap());
    let command = || {
        let mut command = peer("docker").unwrap();
        command.args(["-H", &socket]);
        command
    };
    let run = LIMITS.iter().map(ToString::to_string);
    let run = run.chain(["--runtime=rhumb", "--net=none"].map(str::to_owned)).collect();
    let engine = Engine { command: Box::new(command), run };
    let begun = Instant::now();
    while !engine.call(&["version"]).status.success() {
        let said = fs::read_to_string(ground.path("log")).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(60), "the daemon does not come up: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
    engine.ok(&["import", ground.path("image.tar").to_str().unwrap(), "base:1"]);
    engine.works(&|id| memory_limit(parent, id));
    drop(daemon);
}
