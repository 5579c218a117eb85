//! The engine itself: names, streams that grow, memory that is shared, secrets, scripts.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::stage::{Stage, pids, proc, status_field};
use crate::support::process::{self, PATIENCE, eventually};

/// Row 26: a name was a path, and what it led to was executed or removed.
#[test]
fn cve_2021_20206() {
    let stage = Stage::new();
    for name in ["../../bin/sh", "..", ".", "/etc", "a/b", "-x", "", "a b", "a\nb", "a;b", "$(x)", "\u{202e}x"] {
        for args in [
            &["create", "--name", name, "base:1"][..],
            &["volume", "create", name],
            &["volume", "create", "-d", name, "fine"],
            &["run", "--rm", "-v", &format!("{name}:/data:nonsense"), "base:1"],
            &["run", "--rm", "--net", name, "base:1", "true"],
            &["run", "--rm", "--log-driver", name, "base:1", "true"],
            &["rename", "nobody", name],
            &["rm", name],
            &["volume", "rm", name],
        ] {
            let outcome = stage.rhumb.run(args);
            if outcome.success() {
                // An empty name is none, and the engine makes one up.
                assert!(name.is_empty(), "{name:?} was taken: {outcome}");
                stage.rhumb.remove_all();
                continue;
            }
            assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        }
    }
    stage.quiet();
    stage.rhumb.run(["volume", "create", "a-fine_name.1"]).ok();
    stage.rhumb.run(["create", "--name", "a-fine_name.1", "base:1", "true"]).ok();
}

fn memory_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(proc(pid).join("status")).unwrap();
    status_field(&status, "VmRSS").trim_end_matches(" kB").trim().parse().unwrap()
}

/// Row 64: output that nobody took grew in memory for ever, and a process that keeps its streams kept an exec.
#[test]
fn cve_2022_31030() {
    let stage = Stage::new();
    stage
        .rhumb
        .run([
            "run",
            "-d",
            "--log-opt",
            "max-size=1m",
            "--name",
            "box",
            "base:1",
            "sh",
            "-c",
            "while :; do echo 0123456789012345678901234567890123456789; done",
        ])
        .ok();
    let (_, monitor) = pids(&stage.rhumb);
    // Clients that take nothing: one attached, one with a process of its own, one with a terminal.
    let spawn = |args: &[&str]| {
        let mut command = stage.rhumb.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut clients = vec![
        spawn(&["attach", "--no-stdin", "box"]),
        spawn(&["exec", "box", "cat", "/dev/zero"]),
        spawn(&["logs", "-f", "box"]),
    ];
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        for pid in clients.iter().map(|client| client.id() as i32).chain([monitor]) {
            assert!(memory_kib(pid) < 96 * 1024, "{pid} holds {} KiB", memory_kib(pid));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    for client in &mut clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    let begin = Instant::now();
    assert_eq!(stage.exec("sleep 1000 & echo done").ok(), "done", "its end is its process's, not that of its streams");
    assert!(begin.elapsed() < Duration::from_secs(10));
    eventually("what nobody waits for any more does not keep the monitor busy", PATIENCE, || {
        (memory_kib(monitor) < 96 * 1024).then_some(())
    });
}

/// Row 69: shared memory outlived its container and was counted nowhere.
#[test]
fn cve_2024_3056() {
    let stage = Stage::new();
    let before = fs::read_dir("/dev/shm").unwrap().count();
    let fill = "dd if=/dev/zero of=/dev/shm/fill bs=1048576 count=200 2>/dev/null; stat -c %s /dev/shm/fill; dd if=/dev/zero of=/dev/fill bs=1048576 count=200 2>/dev/null; stat -c %s /dev/fill";
    assert_eq!(stage.run(&["--shm-size", "8m", "base:1", "sh", "-c", fill]).ok(), "8388608\n67108864");
    assert_eq!(stage.run(&["base:1", "sh", "-c", fill]).ok().lines().next(), Some("67108864"));
    let outcome = stage.run(&["-m", "32m", "--shm-size", "512m", "base:1", "sh", "-c", fill]);
    assert!(!outcome.stdout.starts_with("536870912"), "it is counted as the container's: {outcome}");
    assert_eq!(fs::read_dir("/dev/shm").unwrap().count(), before, "nothing of it is the host's");
    stage.rhumb.leaks().assert_clean();
}

/// Row 30: listing a container's processes executed a program of the container; so does nothing that looks at it.
#[test]
fn cve_2022_1227() {
    let stage = Stage::empty();
    let marker = "#!/bin/sh\necho ran >> /marker\n";
    let programs = ["ps", "nsenter", "top", "sh.distrib", "runc", "rhumb"]
        .map(|name| crate::raw::file(&format!("usr/bin/{name}"), marker));
    stage.image("base:1", &programs, &["ENV PATH=/usr/bin"]);
    stage.sleeper(&["base:1"]);
    for args in [
        &["ps", "-a"][..],
        &["inspect", "box"],
        &["logs", "box"],
        &["system", "df"],
        &["system", "check"],
        &["ps", "--format", "json"],
    ] {
        stage.rhumb.run(args).ok();
    }
    let tar = stage.rhumb.path("export.tar");
    stage.rhumb.run(["export".as_ref(), "-o".as_ref(), tar.as_os_str(), "box".as_ref()]).ok();
    assert_eq!(stage.exec("cat /marker 2>/dev/null; true").ok(), "");
    assert_eq!(stage.exec("ps; cat /marker").ok(), "ran", "the twin: it runs when it is asked for");
}

/// Row 70: secrets were in logs, records and errors.
#[test]
fn cve_2019_13509() {
    let stage = Stage::new();
    let secret = stage.rhumb.path("secret");
    fs::write(&secret, "hunter2hunter2\n").unwrap();
    let script = |text: &str| stage.rhumb.script(&text.replace("SECRET", secret.to_str().unwrap()));
    for text in [
        "let s = secret::file(\"SECRET\"); print(s); print(`${s}`); print(#{ a: [s] });",
        "let s = secret::file(\"SECRET\"); throw s;",
        "let s = secret::file(\"SECRET\"); container::run(\"base:1\", #{ env: #{ A: s } });",
        "let s = secret::file(\"SECRET\"); image::get(s);",
        "let s = secret::file(\"SECRET\"); assert(false, `x ${s}`);",
    ] {
        let outcome = script(text);
        assert!(!outcome.stdout.contains("hunter2") && !outcome.stderr.contains("hunter2"), "{outcome}");
    }
    for (name, text) in
        [("ps", stage.rhumb.run(["ps", "-a", "--no-trunc"]).ok()), ("df", stage.rhumb.run(["system", "df"]).ok())]
    {
        assert!(!text.contains("hunter2"), "{name}: {text}");
    }
    let mut grep = Command::new("grep");
    grep.args(["-rl", "hunter2hunter2"]).arg(stage.rhumb.root());
    assert_eq!(process::run(&mut grep, None, PATIENCE).stdout, "", "a secret is on the disk");
    let given = "let s = secret::file(\"SECRET\"); let c = container::run(\"base:1\", #{ command: [\"sleep\", \"100\"] }); print(c.exec([\"wc\", \"-c\"], #{ stdin: s }).stdout); c.remove(#{ force: true });";
    let outcome = script(given);
    assert!(outcome.success() && outcome.stdout.contains("14"), "the twin: it reaches the program: {outcome}");
}

/// Row 71: a script could do what its API does not offer, or never end.
#[test]
fn rhai_scripts() {
    let stage = Stage::new();
    for text in [
        "eval(\"1 + 1\")",
        "import \"/etc/passwd\" as p; p::x",
        "import \"../../../../etc/hosts\" as p; p::x",
        "open(\"/etc/passwd\")",
        "system(\"true\")",
        "fn f(n) { f(n + 1) } f(0)",
        "let a = []; loop { a.push(\"x\".pad(1000000)); }",
        "let s = \"x\"; loop { s += s; }",
        "let m = #{}; let n = 0; loop { m[`${n}`] = \"x\".pad(100000); n += 1; }",
        "((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((1",
        "container::run(\"base:1\", #{ name: \"../../x\" })",
        "volume::create(\"../../x\")",
    ] {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -v 4194304 -t 20; exec rhumb -e \"$1\"", "sh", text]);
        stage.rhumb.environ(&mut command);
        let outcome = process::run(&mut command, None, PATIENCE);
        assert!(outcome.code != 0 && outcome.code < 126, "{text}: {outcome}");
        assert!(!outcome.stderr.contains("panicked") && !outcome.stderr.is_empty(), "{outcome}");
    }
    stage.quiet();
    assert_eq!(stage.rhumb.run(["-e", "let n = 0; for i in 0..100000 { n += i; } print(n);"]).ok(), "4999950000");
}
