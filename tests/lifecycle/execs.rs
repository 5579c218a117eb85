//! What `exec` started: listed, found in inspect, killed, remembered.

use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use crate::support::process::{PATIENCE, eventually, run};
use crate::support::{BASE, Rhumb};

#[test]
fn processes_that_exec_started_are_listed_and_killed() {
    let rhumb = Rhumb::with_base();
    rhumb.sh(&format!("run -d --name box {BASE} sleep 1000")).ok();
    assert_eq!(rhumb.sh("container execs -q box").ok(), "");
    assert_eq!(rhumb.inspect("box")["ExecIDs"], serde_json::Value::Null);
    rhumb.sh("exec -d -u 0:0 box sleep 777").ok();
    rhumb.sh("exec -d box sleep 888").ok();
    let listing = rhumb.sh("container execs box");
    assert!(listing.lines()[0].starts_with("EXEC ID        PID"), "{listing}");
    assert!(listing.stdout.contains("\"sleep 777\"") && listing.stdout.contains("Running"), "{listing}");
    let ids: Vec<String> =
        rhumb.sh("container execs -q --no-trunc box").lines().iter().map(|&line| line.to_owned()).collect();
    assert_eq!(ids.iter().map(String::len).collect::<Vec<_>>(), [64, 64]);
    assert_eq!(rhumb.inspect("box")["ExecIDs"], serde_json::json!(ids));
    // By a beginning, with a signal; the container itself is not meant.
    assert_eq!(rhumb.run(["container", "exec-kill", "-s", "TERM", "box", &ids[0][..12]]).ok(), ids[0][..12]);
    eventually("the end of the first", PATIENCE, || {
        rhumb.sh("container execs box").stdout.contains("Exited (143)").then_some(())
    });
    assert_eq!(rhumb.inspect("box")["ExecIDs"], serde_json::json!([ids[1]]));
    rhumb.run(["container", "exec-kill", "box", &ids[0]]).fails_with(5, "has ended");
    rhumb.run(["container", "exec-kill", "box", "feed"]).fails_with(3, "no such process \"feed\"");
    rhumb.run(["container", "exec-kill", "-s", "NOPE", "box", &ids[1]]).fails_with(2, "NOPE");
    rhumb.run(["container", "exec-kill", "box", &ids[1]]).ok();
    eventually("the end of both", PATIENCE, || (rhumb.inspect("box")["ExecIDs"].is_null()).then_some(()));
    assert_eq!(rhumb.states()["box"], "running");
    rhumb.sh("stop -t 0 box").ok();
    assert_eq!(rhumb.sh("container execs -q box").ok(), "");
    rhumb.sh("container execs nosuch").fails_with(3, "no such container \"nosuch\"");
}

#[test]
fn only_the_last_that_ended_are_remembered_and_long_command_lines_are_cut() {
    let rhumb = Rhumb::with_base();
    rhumb.sh(&format!("run -d --name box {BASE} sleep 1000")).ok();
    let long = "é".repeat(30_000);
    let script = format!(
        r#"let c = container::get("box");
        for n in 0..40 {{ c.exec(["true", `${{n}}`]); }}
        c.exec(["sh", "-c", "sleep 1000", "{long}"], #{{ detach: true }});
        let all = c.execs();
        assert(all.len == 17, `${{all.len}}`);
        assert(all[0].command == ["true", "24"] && all[0].exit_code == 0, `${{all[0]}}`);
        let last = all[16];
        assert(last.running && last.command.len == 5 && last.command[4] == "…" && last.command[3].len < 600);
        c.exec_kill(last.id);"#
    );
    rhumb.script(&script).ok();
}

#[test]
fn many_run_at_once() {
    let rhumb = Rhumb::with_base();
    rhumb.sh(&format!("run -d --name box {BASE} sleep 1000")).ok();
    let script = r#"
        let c = container::get("box");
        for n in 0..130 { c.exec(["sleep", "1000"], #{ detach: true }); }
        assert(c.execs().len == 130);
    "#;
    rhumb.script(script).ok();
    rhumb.sh("rm -f box").ok();
}

/// As many clients as it serves: those that would stay are refused or look from aside, and it is stopped all the same.
#[test]
fn a_crowd_of_clients_leaves_room_for_those_who_end_it() {
    let rhumb = Rhumb::with_base();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("ulimit -n 256; exec rhumb run -d --name box {BASE} sleep 1000")]);
    rhumb.environ(&mut command);
    run(&mut command, None, PATIENCE).ok();
    let mut waiting: Vec<_> = (0..70)
        .map(|_| {
            let mut command = rhumb.command(["wait", "box"]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    eventually("it is crowded", PATIENCE, || {
        let outcome = rhumb.run(["exec", "box", "true"]);
        (!outcome.success()).then(|| outcome.fails_with(125, "the container has 32 clients already").code)
    });
    let stopped = rhumb.sh("stop -t 0 box");
    assert!(stopped.success() && stopped.elapsed < Duration::from_secs(10), "{stopped}");
    for child in &mut waiting {
        let code = eventually("the end of a wait", PATIENCE, || child.try_wait().unwrap());
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((code.code(), said.trim()), (Some(0), "137"));
    }
    rhumb.sh("rm box").ok();
}
