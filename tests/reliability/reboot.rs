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

/// What resume starts after a boot, and what it leaves: Docker's rules at the start of its daemon.
#[test]
fn resume_starts_what_policies_ask_for() {
    let rhumb = Rhumb::with_base();
    let run = |name: &str, policy: &str, args: &[&str]| {
        let line = ["run", "-d", "--name", name, "--restart", policy];
        let line: Vec<&str> = line.iter().chain(args).copied().collect();
        after(&rhumb, 0, &line).ok();
    };
    let forever = [BASE, "sleep", "1000"];
    run("none", "no", &forever);
    run("always", "always", &forever);
    run("always-stopped", "always", &forever);
    run("unless", "unless-stopped", &forever);
    run("unless-stopped", "unless-stopped", &forever);
    run("failing", "on-failure", &forever);
    run("fine", "on-failure", &[BASE, "true"]);
    run("exhausted", "on-failure:1", &[BASE, "false"]);
    // Made before the one that it joins runs again, so that the order matters.
    run("server", "always", &forever);
    run("guest", "always", &["--network", "container:server", BASE, "sleep", "1000"]);
    run("orphan", "always", &["--network", "container:none", BASE, "sleep", "1000"]);
    after(&rhumb, 0, &["create", "--name", "never", "--restart", "always", BASE, "sleep", "1000"]).ok();
    after(&rhumb, 0, &["stop", "-t", "0", "always-stopped", "unless-stopped"]).ok();
    eventually("the last try has failed", PATIENCE, || {
        let state = after(&rhumb, 0, &["inspect", "exhausted"]).state().expect("it is there").0;
        (state == "exited").then_some(())
    });
    restart(&rhumb);
    let resumed = after(&rhumb, 1, &["system", "resume"]);
    assert_eq!(resumed.code, 1, "{resumed}");
    assert!(resumed.stderr.contains("resuming the container \"orphan\""), "{resumed}");
    let status = |name: &str| after(&rhumb, 1, &["inspect", name]).state().expect("it is there").0;
    let running = ["always", "always-stopped", "unless", "failing", "server", "guest"];
    assert_eq!(resumed.lines().len(), running.len(), "{resumed}");
    for name in running {
        assert_eq!(status(name), "running", "{name} after resume");
    }
    let left = [
        ("none", "dead"),
        ("unless-stopped", "exited"),
        ("fine", "exited"),
        ("exhausted", "exited"),
        ("orphan", "dead"),
        ("never", "created"),
    ];
    for (name, wanted) in left {
        assert_eq!(status(name), wanted, "{name} after resume");
    }
    // What runs is left alone.
    let again = after(&rhumb, 1, &["system", "resume", "--json"]);
    let report: Value = serde_json::from_str(&again.stdout).expect("a report");
    assert_eq!((&report["started"], &report["running"]), (&Value::Array(Vec::new()), &6.into()), "{again}");
    // Once the reason is gone, the other one comes as well.
    after(&rhumb, 1, &["start", "none"]).ok();
    assert_eq!(after(&rhumb, 1, &["system", "resume"]).lines().len(), 1);
    let containers = after(&rhumb, 1, &["ps", "-a", "-q"]).ok();
    let all: Vec<&str> = ["rm", "-f"].into_iter().chain(containers.lines()).collect();
    after(&rhumb, 1, &all).ok();
    rhumb.leaks().assert_kernel_clean();
}

/// The machine goes down while a container waits for its next run, or just makes it.
#[test]
fn a_boot_in_a_restart_loop_loses_nothing() {
    let rhumb = Rhumb::with_base();
    after(&rhumb, 0, &["run", "-d", "--name", "box", "--restart", "always", BASE, "sh", "-c", "echo run; exit 3"]).ok();
    for boot in 1..=count(5) {
        eventually("it has been restarted", PATIENCE, || {
            let all: Value = serde_json::from_str(&after(&rhumb, boot - 1, &["inspect", "box"]).ok()).unwrap();
            (all[0]["RestartCount"].as_i64() > Some(boot as i64 % 3)).then_some(())
        });
        restart(&rhumb);
        let (status, _) = after(&rhumb, boot, &["inspect", "box"]).state().expect("it is there");
        assert!(["exited", "dead"].contains(&&*status), "{status} after a boot");
        assert_eq!(after(&rhumb, boot, &["system", "resume"]).lines().len(), 1);
    }
    after(&rhumb, count(5), &["rm", "-f", "box"]).ok();
    rhumb.leaks().assert_kernel_clean();
}
