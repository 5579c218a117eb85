//! Ctrl-C: the script ends at once, its defers run, containers live on and are named.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Rhumb;
use crate::support::process::eventually;

/// How a script ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a script until it says "ready", sends it SIGINT, and returns how it ended.
fn interrupted(rhumb: &Rhumb, text: &str) -> Ended {
    let file = rhumb.path("interrupted.rhai");
    std::fs::write(&file, text).unwrap();
    let mut command = rhumb.command([&file]);
    let marker = rhumb.path("ready");
    command.env("READY", &marker).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the script to be ready", Duration::from_secs(30), || marker.exists().then_some(()));
    let start = Instant::now();
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?} to end", start.elapsed());
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_loop_ends_its_defers_run_and_containers_live_on() {
    let rhumb = Rhumb::with_base();
    let outcome = interrupted(
        &rhumb,
        r#"
        let c = container::run("base:1", #{ name: "survivor", command: ["sleep", "300"] });
        defer(|| print(`deferred: ${c.status}`));
        scope(|| {
            defer(|| print("inner"));
            host::write(env_var("READY"), "");
            loop {}
        });
        "#,
    );
    assert_eq!(outcome.code, Some(130), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "inner\ndeferred: running\n");
    assert!(outcome.stderr.contains("still running: survivor ("), "{}", outcome.stderr);
    assert_eq!(rhumb.states().get("survivor").map(String::as_str), Some("running"));
}

#[test]
fn waits_of_every_kind_end_at_once() {
    for wait in [
        "sleep(5.min)",
        "host::run(\"sleep 300\")",
        "c.wait(5.min)",
        "c.exec([\"sleep\", \"300\"])",
        "c.wait_log(\"never\", 5.min)",
        "parallel([1, 2, 3], |n| sleep(5.min))",
        "retry(1000000, 5.ms, || assert(false))",
        "try { c.wait(5.min) } catch { loop {} }",
    ] {
        let rhumb = Rhumb::with_base();
        let outcome = interrupted(
            &rhumb,
            &format!(
                "let c = container::run(\"base:1\", #{{ command: [\"sleep\", \"300\"] }});\n\
                 defer(|| c.remove(#{{ force: true }}));\nhost::write(env_var(\"READY\"), \"\");\n{wait};\n"
            ),
        );
        assert_eq!(outcome.code, Some(130), "{wait}: {}", outcome.stderr);
        assert!(rhumb.states().is_empty(), "{wait}: {:?}", rhumb.states());
    }
}

#[test]
fn a_closed_output_ends_a_script_quietly() {
    let rhumb = Rhumb::new();
    let file = rhumb.path("endless.rhai");
    std::fs::write(&file, "defer(|| host::write(env_var(\"DONE\"), \"\")); loop { print(\"y\"); }").unwrap();
    let done = rhumb.path("done");
    let mut shell = Command::new("sh");
    shell.args(["-c", "rhumb \"$1\" | head -n 1", "sh"]).arg(&file).env("DONE", &done);
    rhumb.environ(&mut shell);
    let outcome = crate::support::process::run(&mut shell, None, Duration::from_secs(30));
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("y\n", ""));
    eventually("the defer to run", Duration::from_secs(10), || done.exists().then_some(()));
}
