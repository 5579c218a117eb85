//! Several verbs of `rhumb oci` at once, on one container and on many: one wins, the others say why, nobody hangs and
//! nothing is left.
//!
//! Which of them wins is a matter of luck, so that each test says what may come of it, and plays a few rounds. What a kill
//! of the runtime itself leaves is not here.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::leaks::{self, Leaks};
use support::process::{self, Outcome};
use support::{Scratch, rhumb, rootfs};

/// How long one verb may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the same is tried.
const ROUNDS: u32 = 4;
/// How many containers live at once.
const MANY: usize = 16;

/// A root file system, bundles over it, and the state of the runtime.
struct Ground {
    scratch: Scratch,
    root_id: String,
    leaks: Leaks,
}

impl Ground {
    fn new(name: &str) -> Ground {
        rhumb::assert_root();
        let scratch = Scratch::new();
        rootfs::make(&scratch.join("base"), &["sh", "sleep", "true", "echo"]);
        let root_id = format!("{name}{}", std::process::id());
        let leaks = Leaks::watch(scratch.path(), &root_id);
        Ground { scratch, root_id, leaks }
    }

    /// Writes the bundle of the container `id`, which runs `script`.
    fn bundle(&self, id: &str, script: &str) {
        let mut config: Value = serde_json::from_str(include_str!("conformance/ordinary.json")).unwrap();
        config["root"] = json!({"path": self.scratch.join("base"), "readonly": true});
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        config["linux"]["cgroupsPath"] = json!(format!("/rhumb-{}/{id}", self.root_id));
        fs::create_dir_all(self.scratch.join(id)).unwrap();
        fs::write(self.scratch.join(id).join("config.json"), config.to_string()).unwrap();
    }

    /// Calls a verb to its end; the first word that is `@ID` is the bundle of `ID` and its id.
    #[track_caller]
    fn call(&self, words: &str) -> Outcome {
        let mut command = Command::new(rhumb::binary());
        command.arg("oci").arg("--root").arg(self.scratch.join("state"));
        for word in words.split(' ') {
            match word.strip_prefix('@') {
                Some(id) => command.arg("--bundle").arg(self.scratch.join(id)).arg(id),
                None => command.arg(word),
            };
        }
        let outcome = process::run(&mut command, None, PATIENCE);
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        outcome
    }

    /// Calls all of these at the same moment.
    fn at_once(&self, calls: &[&str]) -> Vec<Outcome> {
        let together = Barrier::new(calls.len());
        thread::scope(|scope| {
            let call = |words| {
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    self.call(words)
                })
            };
            let threads: Vec<_> = calls.iter().map(|words| call(*words)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// No container is there, and nothing of one.
    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.call("list -q").ok(), "");
        let left = fs::read_dir(self.scratch.join("state")).unwrap().count();
        assert_eq!(left, 0, "folders of containers are left");
        self.leaks.assert_kernel_clean();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if thread::panicking() {
            self.leaks.sweep();
        }
        for hierarchy in leaks::hierarchies() {
            // The parent of all, where there was one; a failed test has said what is wrong with it.
            let _ = fs::remove_dir(hierarchy.join(format!("rhumb-{}", self.root_id)));
        }
    }
}

#[test]
fn of_creates_with_one_id_one_wins() {
    let ground = Ground::new("wins");
    ground.bundle("one", "sleep 1000");
    for _ in 0..ROUNDS {
        let outcomes = ground.at_once(&["create @one"; 4]);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.success()).count(), 1, "{outcomes:?}");
        for outcome in outcomes.iter().filter(|outcome| !outcome.success()) {
            outcome.fails_with(1, "container with given ID already exists");
        }
        assert!(ground.call("state one").ok().contains("\"created\""));
        ground.call("start one").ok();
        ground.call("delete --force one").ok();
    }
    ground.assert_clean();
}

#[test]
fn a_delete_during_start_waits_or_ends_it() {
    let ground = Ground::new("during");
    ground.bundle("one", "sleep 1000");
    for _ in 0..ROUNDS {
        ground.call("create @one").ok();
        let outcomes = ground.at_once(&["start one", "delete one"]);
        outcomes[0].ok();
        outcomes[1].fails_with(1, "that is not stopped");
        ground.call("delete --force one").ok();

        ground.call("create @one").ok();
        let outcomes = ground.at_once(&["start one", "delete --force one", "state one", "list"]);
        outcomes[1].ok();
        outcomes[3].ok();
        assert!([0, 1].contains(&outcomes[0].code), "{}", outcomes[0]);
        ground.call("state one").fails_with(1, "container does not exist");
    }
    ground.assert_clean();
}

#[test]
fn an_exec_during_kill_ends_with_the_container() {
    let ground = Ground::new("exec");
    ground.bundle("one", "sleep 1000");
    for _ in 0..ROUNDS {
        ground.call("create @one").ok();
        ground.call("start one").ok();
        let exec = "exec one /bin/sleep 1000";
        let outcomes = ground.at_once(&[exec, exec, "exec one /bin/true", "kill one KILL", exec]);
        outcomes[3].ok();
        for outcome in [0, 1, 4].map(|at| &outcomes[at]) {
            // Killed with it, or too late; 1 when it was killed before it was the command.
            assert!([1, 137, 255].contains(&outcome.code), "{outcome}");
        }
        assert!([0, 1, 137, 255].contains(&outcomes[2].code), "{}", outcomes[2]);
        // The kernel ends the others first.
        let deadline = Instant::now() + PATIENCE;
        while !ground.call("state one").ok().contains("\"stopped\"") {
            assert!(Instant::now() < deadline, "it does not end");
        }
        ground.call("exec one /bin/true").fails_with(255, "cannot exec in a stopped container");
        ground.call("delete one").ok();
    }
    ground.assert_clean();
}

#[test]
fn many_containers_live_side_by_side() {
    let ground = Ground::new("many");
    let ids: Vec<String> = (0..MANY).map(|number| format!("c{number}")).collect();
    ids.iter().for_each(|id| ground.bundle(id, &format!("echo {id}; exit 7")));
    let runs: Vec<String> = ids.iter().map(|id| format!("run @{id}")).collect();
    let outcomes = ground.at_once(&runs.iter().map(String::as_str).collect::<Vec<_>>());
    for (id, outcome) in ids.iter().zip(&outcomes) {
        assert_eq!((outcome.code, outcome.stdout.trim()), (7, id.as_str()), "{outcome}");
    }
    ids.iter().for_each(|id| ground.bundle(id, "sleep 1000"));
    let runs: Vec<String> = ids.iter().map(|id| format!("run --detach @{id}")).collect();
    let outcomes = ground.at_once(&runs.iter().map(String::as_str).collect::<Vec<_>>());
    outcomes.iter().for_each(|outcome| drop(outcome.ok()));
    assert_eq!(ground.call("list -q").lines().len(), MANY);
    let deletes: Vec<String> = ids.iter().map(|id| format!("delete --force {id}")).collect();
    let outcomes = ground.at_once(&deletes.iter().map(String::as_str).collect::<Vec<_>>());
    outcomes.iter().for_each(|outcome| drop(outcome.ok()));
    ground.assert_clean();
}
