//! Events beside Docker's: the same verbs on a daemon of our own tell the same, type by type, action by action, attribute
//! by attribute. A peer that is not installed is a counted skip (see `support/peers.rs`).
//!
//! What differs, and why:
//!
//! | Docker | Rhumb | because |
//! |---|---|---|
//! | `network connect` and `disconnect` | none | there are no networks yet |
//! | `volume create` also for one that exists | only when it was made | nothing was created |
//! | `exec_start` also of what cannot be executed | only `exec_create` | it never started |
//! | `exec_…` of health checks | only `health_status` | one a second would push everything else out of the log |
//! | `unpause` after a `commit` | before it | it is thawed as soon as its files are read |
//! | `die` without `execDuration` before version 23 | with it | later versions have it |

#[path = "support/peers.rs"]
mod peers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use peers::peer;
use serde_json::Value;
use tempfile::TempDir;

/// What both images have.
const PROGRAMS: [&str; 3] = ["sh", "true", "sleep"];
/// Docker asks for more files than this machine may give, and has a network of its own.
const DOCKERS: [&str; 3] = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096", "--net=none"];

/// One verb a line; `run` and `create` get what an engine needs besides.
const VERBS: &[&str] = &[
    "import image.tar base:1",
    "tag base:1 extra:1",
    "save -o saved.tar extra:1",
    "rmi extra:1",
    "load -i saved.tar",
    "volume create vol",
    "run --rm --label tier=web base:1 /bin/true",
    "run -d --name one -v /anon --label tier=web base:1 /bin/sleep 1000",
    "exec one /bin/true",
    "exec -d one /bin/sleep 0",
    "pause one",
    "unpause one",
    "rename one two",
    "top two",
    "kill -s WINCH two",
    "export -o exported.tar two",
    "commit --pause=false -m done two made:1",
    "stop -t 0 two",
    "start two",
    "restart -t 0 two",
    "kill two",
    "start two",
    "rm -f -v two",
    "create --name three base:1 /bin/true",
    "start -a three",
    "container prune -f",
    "volume rm vol",
    "volume prune -f",
    "rmi made:1",
    "image prune -f",
];

/// A folder with an image.
fn ground() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
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
    assert!(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap().success());
    folder
}

/// Does every verb, and returns what was told: `container die exitCode image name`.
fn told(folder: &Path, command: &dyn Fn() -> Command, further: &[&str]) -> Vec<String> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let call = |args: &[&str]| {
        let output = command().args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for verb in VERBS {
        let mut words: Vec<&str> = verb.split_whitespace().collect();
        if ["run", "create"].contains(&words[0]) {
            words.splice(1..1, further.iter().copied());
        }
        call(&words);
        if verb.contains("exec -d") {
            // It ends by itself, before the next verb.
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1;
    let text =
        call(&["events", "--since", &since.to_string(), "--until", &until.to_string(), "--format", "{{json .}}"]);
    let line = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let keys = event["Actor"]["Attributes"].as_object().unwrap().keys().filter(|key| *key != "execDuration");
        let mut keys: Vec<_> = keys.cloned().collect();
        keys.sort();
        let of_container = event["status"] == event["Action"] && event["id"] == event["Actor"]["ID"];
        let old = ["image", "container"].contains(&event["Type"].as_str().unwrap()) == of_container
            || event["Action"] == "prune";
        assert!(
            old && event["scope"] == "local" && event["timeNano"].as_u64().unwrap() / 1_000_000_000 == event["time"]
        );
        format!("{} {} {}", event["Type"].as_str().unwrap(), event["Action"].as_str().unwrap(), keys.join(" "))
    };
    text.lines().map(line).filter(|line| !line.starts_with("network")).collect()
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

fn of_docker(folder: &Path, parent: &str) -> Vec<String> {
    let path = |name: &str| -> PathBuf { folder.join(name) };
    let socket = format!("unix://{}", path("docker.sock").display());
    let mut dockerd = peer("dockerd").unwrap();
    dockerd.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("exec"));
    dockerd.arg("--pidfile").arg(path("pid")).args(["-H", &socket, "--iptables=false", "--bridge=none"]);
    dockerd.args(["--storage-driver=vfs", &format!("--cgroup-parent=/{parent}")]);
    let log = fs::File::create(path("log")).unwrap();
    dockerd.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let daemon = Daemon(dockerd.spawn().unwrap());
    let command = || {
        let mut command = peer("docker").unwrap();
        command.args(["-H", &socket]);
        command
    };
    let begun = Instant::now();
    while !command().arg("version").output().unwrap().status.success() {
        let said = fs::read_to_string(path("log")).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(60), "the daemon does not come up: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let told = told(folder, &command, &DOCKERS);
    drop(daemon);
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = fs::remove_dir(hierarchy.path().join(parent));
    }
    told
}

#[test]
fn the_same_verbs_tell_the_same_as_dockers() {
    if peer("docker").is_none() || peer("dockerd").is_none() {
        return;
    }
    let folder = ground();
    let theirs = of_docker(folder.path(), &format!("rhumb-test-events-{}", std::process::id()));
    let root = folder.path().join("rhumb");
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rhumb"));
        command.arg("--root").arg(&root);
        command
    };
    let ours = told(folder.path(), &command, &[]);
    // The bridge of the default network goes before its root does.
    assert!(command().args(["network", "prune", "-f"]).status().unwrap().success());
    let shown = |list: &[String]| list.join("\n");
    assert_eq!(shown(&ours), shown(&theirs));
    assert!(ours.len() > 50, "{}", shown(&ours));
}
