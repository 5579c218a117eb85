//! R10: the machine restarts. The processes are gone, so is the run directory, and the boot has another id.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::count;
use crate::support::leaks::processes;
use crate::support::process::{self, Outcome, PATIENCE, eventually};
use crate::support::rhumb::{binary, string};
use crate::support::{BASE, Rhumb};

/// Does what a power switch does to one root: no process is asked, nothing is written.
fn restart(rhumb: &Rhumb) {
    let (root, root_id) = (rhumb.root(), rhumb.root_id());
    eventually("all processes are gone", Duration::from_secs(10), || {
        let alive = processes(&root, &root_id);
        for (pid, _) in &alive {
            let _ = Command::new("/bin/kill").args(["-KILL", &pid.to_string()]).output(); // perhaps gone already
        }
        alive.is_empty().then_some(())
    });
    for hierarchy in crate::support::leaks::hierarchies() {
        let parent = hierarchy.join(format!("rhumb-{root_id}"));
        for child in fs::read_dir(&parent).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
            eventually("a cgroup can go", Duration::from_secs(5), || fs::remove_dir(child.path()).ok());
        }
        let _ = fs::remove_dir(parent); // not every hierarchy has one
    }
    fs::remove_dir_all(root.join("run")).expect("wiping the run directory");
}

/// A command under the boot with this number: in a mount namespace where the kernel's file shows another id.
#[track_caller]
fn after(rhumb: &Rhumb, boot: usize, args: &[&str]) -> Outcome {
    let file = rhumb.path("boot-id");
    fs::write(&file, format!("00000000-0000-4000-8000-{boot:012}\n")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", r#"mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@""#]);
    command.arg(file).arg(binary()).args(args);
    rhumb.environ(&mut command);
    process::run(&mut command, None, PATIENCE)
}

impl Outcome {
    /// Status and error of the container that was inspected; none when there is no such container.
    fn state(&self) -> Option<(String, String)> {
        if self.stderr.contains("no such") {
            return None;
        }
        let all: Value = serde_json::from_str(&self.ok()).expect("inspect prints JSON");
        let state = &all[0]["State"];
        Some((string(&state["Status"]), string(&state["Error"])))
    }
}

#[test]
fn a_new_boot_voids_run_state_and_keeps_data() {
    let rhumb = Rhumb::with_base();
    after(&rhumb, 0, &["create", "--name", "idle", BASE, "true"]).ok();
    after(&rhumb, 0, &["run", "--name", "ended", BASE, "sh", "-c", "exit 3"]).fails(3);
    after(&rhumb, 0, &["run", "--rm", "-d", "--name", "fleeting", "-v", "/data", BASE, "sleep", "1000"]).ok();
    let writer = "echo boot >> /v/log; echo boot >> /own; exec sleep 1000";
    after(&rhumb, 0, &["run", "-d", "--name", "worker", "-v", "kept:/v", BASE, "sh", "-c", writer]).ok();
    for boot in 1..=count(20) {
        eventually("the worker has written", Duration::from_secs(10), || {
            let text = after(&rhumb, boot - 1, &["exec", "worker", "cat", "/v/log"]).ok();
            (text.lines().count() == boot).then_some(())
        });
        restart(&rhumb);
        let state = |name: &str| after(&rhumb, boot, &["inspect", name]).state().map(|(status, _)| status);
        let states = ["idle", "ended", "worker"].map(state);
        assert_eq!(states, [Some("created".into()), Some("exited".into()), Some("dead".into())]);
        // What had --rm and was lost is of no use to anybody.
        assert_eq!(state("fleeting"), None);
        after(&rhumb, boot, &["system", "check"]).ok();
        rhumb.leaks().assert_kernel_clean();
        after(&rhumb, boot, &["start", "worker"]).ok();
    }
    let boots = count(20) + 1;
    let last = boots - 1;
    eventually("the last start has written", Duration::from_secs(10), || {
        let text = after(&rhumb, last, &["exec", "worker", "cat", "/own"]).ok();
        (text.lines().count() == boots).then_some(())
    });
    let ended: Value = serde_json::from_str(&after(&rhumb, last, &["inspect", "ended"]).ok()).unwrap();
    assert_eq!(ended[0]["State"]["ExitCode"], 3);
    after(&rhumb, last, &["rm", "-f", "worker", "idle", "ended"]).ok();
    after(&rhumb, last, &["volume", "rm", "kept"]).ok();
    assert_eq!(after(&rhumb, last, &["volume", "ls", "-q"]).ok(), "", "a volume is left");
}

/// The pids of the state files belong to another boot: whoever has them now is a stranger. The lock and the file of a
/// container that "runs" are there, since the run directory was not wiped.
#[test]
fn run_state_of_another_boot_is_void() {
    let rhumb = Rhumb::with_base();
    after(&rhumb, 0, &["run", "-d", "--name", "box", BASE, "sleep", "1000"]).ok();
    let keep = rhumb.path("kept-run");
    let run = rhumb.root().join("run");
    process::run(Command::new("cp").arg("-a").args([&run, &keep]), None, PATIENCE).ok();
    restart(&rhumb);
    fs::rename(&keep, &run).unwrap();
    let (status, error) = after(&rhumb, 1, &["inspect", "box"]).state().expect("it is there");
    assert!(status == "dead" && error.contains("restart"), "{status}: {error}");
    after(&rhumb, 1, &["start", "box"]).ok();
    assert_eq!(after(&rhumb, 1, &["inspect", "box"]).state().expect("it is there").0, "running");
    after(&rhumb, 1, &["rm", "-f", "box"]).ok();
}
