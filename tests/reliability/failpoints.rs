//! R1: a process dies, or a step fails, at every named point of every verb.
//!
//! The names are found out by running the verb once with RHUMB_FAILPOINT_TRACE, which the monitor inherits. Then, for
//! every name: `kill`, `error`, and a full disk, a full quota and a broken disk. After each the next command must work within two seconds, the verb must have
//! happened fully or not at all, everything else must be as before by digest, and once the verb's own objects are removed
//! nothing of them may be left in the kernel or on the disk.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::count;
use crate::observe::{Observation, observe};
use crate::support::Rhumb;
use crate::support::process::{self, Outcome, PATIENCE};
use crate::verbs::{VERBS, Verb};

/// How many kills the table asks for; the points are gone through again until there are as many.
const KILLS: usize = 600;

/// How long a bystander's command may take after a kill.
const NEXT_COMMAND: Duration = Duration::from_secs(2);

/// How long a state that changes by itself (a container that ends) may take to be one of the allowed ones.
const SETTLE: Duration = Duration::from_secs(8);

/// Runs a line of shell in which `rhumb` is the binary on this root.
#[track_caller]
fn shell(rhumb: &Rhumb, line: &str, failpoint: Option<(&str, &str)>) -> Outcome {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]);
    rhumb.environ(&mut command);
    if let Some((variable, value)) = failpoint {
        command.env(variable, value);
    }
    process::run(&mut command, None, PATIENCE)
}

/// A root with bystanders: an image, a running container, a volume with content, networks.
fn stage() -> Rhumb {
    let rhumb = Rhumb::with_base();
    fs::create_dir(rhumb.path("out")).unwrap();
    fs::create_dir_all(rhumb.path("in/files/etc")).unwrap();
    fs::write(rhumb.path("in/files/etc/motd"), "extra\n").unwrap();
    fs::write(rhumb.path("in/files/zeros"), vec![0; 300_000]).unwrap();
    for line in [
        "tar -C in/files -cf in/files.tar .",
        r#"rhumb -e 'image::from_dir("in/files", "extra:1").save("in/extra.tar")'"#,
        "rhumb rmi extra:1",
        "rhumb run --rm -v kept:/v base:1 sh -c 'mkdir /v/d; echo precious > /v/d/file; ln -s file /v/d/link'",
        r#"rhumb -e 'volume::get("kept").backup("in/kept.tar.zst")'"#,
        "rhumb network create around",
        "rhumb network create --internal beside",
        "rhumb run -d --name sleeper -v kept:/v --network around --network beside base:1 sleep 100000",
    ] {
        shell(&rhumb, line, None).ok();
    }
    rhumb
}

/// The experiment with one verb on a stage of its own.
struct Trial<'a> {
    rhumb: &'a Rhumb,
    verb: &'a Verb,
    /// What is there without the verb's objects.
    empty: Observation,
    before: Observation,
    after: Observation,
    /// What the bystanders have in the kernel and on the disk.
    bystanders: BTreeSet<String>,
    /// Points that are passed before the act already, at which nothing may fail then.
    early: BTreeSet<String>,
}

impl<'a> Trial<'a> {
    /// Runs the verb cleanly once, and finds out the names of its points.
    fn begin(rhumb: &'a Rhumb, verb: &'a Verb) -> (Trial<'a>, BTreeSet<String>) {
        let empty = observe(rhumb);
        let bystanders = present(rhumb);
        let trace = rhumb.path("trace");
        let names = || -> BTreeSet<String> {
            let text = fs::read_to_string(&trace).unwrap_or_default();
            fs::write(&trace, "").unwrap(); // a monitor goes on writing to it
            text.lines().map(str::to_owned).collect()
        };
        let tracing = Some(("RHUMB_FAILPOINT_TRACE", trace.to_str().unwrap()));
        for line in verb.prepare {
            shell(rhumb, line, tracing).ok();
        }
        let early = names();
        let before = observe(rhumb);
        let done = shell(rhumb, verb.act, tracing);
        assert!(done.success(), "{}: the verb does not work at all:\n{done}", verb.name);
        let after = observe(rhumb);
        let points = names();
        let trial = Trial { rhumb, verb, empty, before, after, bystanders, early };
        trial.clean("a clean run");
        (trial, points)
    }

    fn allowed(&self, seen: &Observation) -> bool {
        if *seen == self.before || *seen == self.after {
            return true;
        }
        // Besides: the container `box` in one of the states between, its anonymous volumes with it, and all else as before.
        self.verb.between.iter().any(|state| {
            let mut like = self.before.clone();
            like.containers.remove("box");
            if !state.is_empty() {
                like.containers.insert("box".into(), (*state).into());
            }
            // Wherever it is connected.
            let mut seen = seen.clone();
            for networks in [&mut seen.networks, &mut like.networks] {
                networks.values_mut().for_each(|members| members.retain(|name| name != "box"));
            }
            let most = self.before.anonymous.max(self.after.anonymous).max(self.empty.anonymous + 1);
            like.anonymous = seen.anonymous.min(most);
            seen == like
        })
    }

    /// One act with a failure at `point`.
    fn strike(&self, point: &str, action: &str) {
        let plan = format!("{point}={action}");
        // A monitor that the preparation starts shall fail during the act as well.
        let plan_before = (!self.early.contains(point)).then_some(("RHUMB_FAILPOINT", &*plan));
        for line in self.verb.prepare {
            shell(self.rhumb, line, plan_before).ok();
        }
        let what = format!("{} with {plan}", self.verb.name);
        let outcome = shell(self.rhumb, self.verb.act, Some(("RHUMB_FAILPOINT", &plan)));
        assert!(!outcome.stderr.contains("panicked"), "{what}: a panic\n{outcome}");
        if !outcome.success() && action != "kill" {
            let lines = outcome.stderr.lines().count();
            // A script's error shows its line and the call that led there; either may have a hint.
            let most = if self.verb.act.contains("-e") { 14 } else { 4 };
            assert!((1..=most).contains(&lines), "{what}: expected one clear error\n{outcome}");
        }
        let begin = Instant::now();
        self.rhumb.run(["ps", "-a"]).ok();
        assert!(begin.elapsed() < NEXT_COMMAND, "{what}: the next command took {:?}", begin.elapsed());
        let begin = Instant::now();
        loop {
            let seen = observe(self.rhumb);
            if self.allowed(&seen) {
                break;
            }
            assert!(
                begin.elapsed() < SETTLE,
                "{what}: neither done nor undone\nseen:   {seen}\nbefore: {}\nafter:  {}\n{outcome}",
                self.before,
                self.after
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        self.clean(&what);
        let check = self.rhumb.run(["system", "check"]);
        assert!(check.success(), "{what}: the check finds something:\n{check}");
    }

    /// Removes the verb's own objects; nothing else may have changed, and nothing be left.
    fn clean(&self, what: &str) {
        let mut said = String::new();
        for line in self.verb.clean {
            said.push_str(&shell(self.rhumb, line, None).to_string()); // what it removes may not be there
        }
        for entry in fs::read_dir(self.rhumb.path("out")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let seen = observe(self.rhumb);
        assert!(seen == self.empty, "{what}: after cleaning up\nseen:     {seen}\nexpected: {}\n{said}", self.empty);
        let begin = Instant::now();
        loop {
            let left: Vec<String> = present(self.rhumb).difference(&self.bystanders).cloned().collect();
            if left.is_empty() {
                break;
            }
            assert!(begin.elapsed() < SETTLE, "{what}: left behind\n  {}", left.join("\n  "));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn present(rhumb: &Rhumb) -> BTreeSet<String> {
    rhumb.leaks().kernel().into_iter().chain(rhumb.leaks().files()).collect()
}

#[test]
fn every_verb_survives_a_failure_at_every_point() {
    let stages = [stage(), stage()];
    let only = std::env::var("RHUMB_VERB").ok(); // one verb, for whoever mends it
    let verbs: Vec<&Verb> = VERBS.iter().filter(|verb| only.as_deref().is_none_or(|name| name == verb.name)).collect();
    let points = round(&stages, &verbs, &["kill", "error", "enospc", "edquot", "eio"]);
    let known: usize = points.iter().map(|(_, names)| names).sum();
    let without: Vec<_> = points.iter().filter(|(_, names)| *names == 0).map(|(verb, _)| verb).collect();
    assert!(without.is_empty(), "verbs that change something and have no failpoint: {without:?}");
    let mut kills = known;
    while only.is_none() && kills < count(KILLS) {
        round(&stages, &verbs, &["kill"]);
        kills += known;
    }
    writeln!(std::io::stderr(), "R1: {kills} kills at {known} points of {} verbs", verbs.len()).unwrap();
}

/// Strikes at every point of every verb; returns how many points each has.
fn round(stages: &[Rhumb], verbs: &[&Verb], actions: &[&str]) -> Vec<(String, usize)> {
    let queue = Mutex::new(verbs.to_vec());
    let points = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for stage in stages {
            scope.spawn(|| {
                while let Some(verb) = { queue.lock().unwrap().pop() } {
                    let (trial, names) = Trial::begin(stage, verb);
                    for name in &names {
                        actions.iter().for_each(|action| trial.strike(name, action));
                    }
                    points.lock().unwrap().push((verb.name.to_owned(), names.len()));
                }
            });
        }
    });
    points.into_inner().unwrap()
}
