//! A build dies, or fails, at every named point: the cache is right afterwards, and nothing is left.

use std::time::Duration;

use crate::support::Rhumb;
use crate::support::process::{self, PATIENCE};

/// A build of three steps, one of them a copy, and what its image holds.
const BUILD: &str = r#"
    let made = build::from("base:1").run("mkdir /out && echo one > /out/one");
    let b = build::from("base:1").copy("/out", "/in", #{ from: made }).run("cat /in/one > /two");
    let i = b.commit("built:1");
    print(container::oneshot(i, "cat /in/one /two"));
"#;

const POINTS: [&str; 6] = [
    "build.step.begin",
    "build.step.ended",
    "build.step.layer",
    "build.step.record",
    "build.commit.prepare",
    "build.commit.record",
];

#[test]
fn whatever_it_dies_of_the_next_build_is_right() {
    let rhumb = Rhumb::with_base();
    for action in ["kill", "error", "enospc"] {
        for point in POINTS {
            rhumb.script(r#"build::cache(#{ prune: true }); try { image::get("built:1").remove(#{ force: true }); } catch {}"#).ok();
            let mut command = rhumb.command(["-e", BUILD]);
            command.env("RHUMB_FAILPOINT", format!("{point}={action}"));
            let outcome = process::run(&mut command, None, PATIENCE);
            assert!(!outcome.success(), "{point}={action} was not passed:\n{outcome}");
            let next = rhumb.script(BUILD).ok();
            assert_eq!(next, "one\none", "after {point}={action}");
            assert_eq!(rhumb.run(["ps", "-aq"]).ok(), "", "after {point}={action}");
        }
    }
    rhumb.assert_consistent();
}

#[test]
fn a_command_of_a_killed_build_is_ended_by_the_next_one() {
    let rhumb = Rhumb::with_base();
    let build = r#"build::from("base:1").run("echo a > /a").run("sleep 100000").solve()"#;
    let mut child = rhumb.spawn(["-e", build]);
    let containers = rhumb.root().join("containers");
    let count = || std::fs::read_dir(&containers).map_or(0, Iterator::count);
    process::eventually("the second step", PATIENCE, || {
        let steps = rhumb.script("print(build::cache().steps)").ok();
        (steps.trim() == "1" && count() > 0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(200));
    child.kill().unwrap();
    child.wait().unwrap();
    process::eventually("the end of the step", PATIENCE, || {
        rhumb.run(["ps", "-aq"]).ok();
        (count() == 0).then_some(())
    });
    let steps = rhumb.script(r#"let b = build::from("base:1").run("echo a > /a").solve(); print(b.cached);"#).ok();
    assert_eq!(steps, "1");
    rhumb.assert_consistent();
}

/// The secret, the upper folder and the agent's socket of a killed build are gone with the next command.
#[test]
fn nothing_that_was_mounted_outlives_a_killed_build() {
    let rhumb = Rhumb::with_base();
    let folder = crate::dockerfile::context(&rhumb, &[("file", "x"), ("secret", "hunter22")]);
    let agent = rhumb.path("agent");
    let _agent = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let step = |end: &str| {
        let mounts = "--mount=type=bind,target=/mnt,rw --mount=type=cache,target=/cache --mount=type=secret,id=s \
                      --mount=type=ssh";
        let dockerfile = format!("FROM base:1\nRUN {mounts} echo x > /mnt/new && echo x >> /cache/log && {end}\n");
        crate::dockerfile::context(&rhumb, &[("Dockerfile", &dockerfile)]);
    };
    let secret = format!("id=s,src={}", folder.join("secret").display());
    let ssh = format!("default={}", agent.display());
    let flags = ["build", "-q", "--secret", &secret, "--ssh", &ssh, "context"];
    step("sleep 100000");
    for _ in 0..3 {
        let mut child = rhumb.spawn(flags);
        let tmp = rhumb.root().join("tmp");
        let count = || std::fs::read_dir(&tmp).map_or(0, Iterator::count);
        let containers = || std::fs::read_dir(rhumb.root().join("containers")).map_or(0, Iterator::count);
        process::eventually("the step", PATIENCE, || (count() >= 2 && containers() > 0).then_some(()));
        std::thread::sleep(Duration::from_millis(200));
        child.kill().unwrap();
        child.wait().unwrap();
        process::eventually("the end of the step", PATIENCE, || {
            rhumb.run(["ps", "-aq"]).ok();
            (containers() == 0 && count() == 0).then_some(())
        });
    }
    step("true");
    rhumb.run(flags).ok();
    assert!(!folder.join("new").exists());
    rhumb.assert_consistent();
}

#[test]
fn a_build_makes_anew_what_another_process_removed_under_it() {
    let rhumb = Rhumb::with_base();
    let steps = r#"build::from("base:1").run("echo one > /one").run("echo two > /two")"#;
    rhumb.script(&format!("{steps}.solve()")).ok();
    // It has found both steps, waits, and then builds a third one on them.
    let trace = rhumb.path("trace");
    std::fs::write(&trace, "").unwrap();
    let line = format!(
        r#"let i = {steps}.run("cat /one /two > /all").commit("built:1"); print(container::oneshot(i, "cat /all"));"#
    );
    let mut command = rhumb.command(["-e", &line]);
    command.env("RHUMB_FAILPOINT", "build.stage.recalled=pause:2000").env("RHUMB_FAILPOINT_TRACE", &trace);
    let build = std::thread::spawn(move || process::run(&mut command, None, PATIENCE));
    process::eventually("both steps were found", PATIENCE, || {
        std::fs::read_to_string(&trace).unwrap().contains("build.stage.recalled").then_some(())
    });
    let pruned = rhumb.script("print(build::cache(#{ prune: true }).removed)").ok();
    assert_eq!(build.join().unwrap().ok(), "one\ntwo", "pruned {pruned}");
    assert_ne!(pruned, "0", "nothing was removed meanwhile");
    rhumb.assert_consistent();
}
