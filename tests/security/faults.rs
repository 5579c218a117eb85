//! Faults of `rhumb oci`: kills at each stage of each verb, a bundle that changes underneath, a namespace that vanishes, a
//! hook that hangs, full limits. Each ends with one clear error or is done, and `delete --force` leaves nothing.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bundles::Bundles;
use crate::support::process::{self, PATIENCE, eventually};

/// Hooks of every kind that do nothing, so that each hand-over takes place.
fn with_hooks(config: &mut serde_json::Value) {
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        config["hooks"][kind] = json!([{"path": "/bin/true"}]);
    }
}

/// The points that a verb passes.
fn points(bundles: &Bundles, args: &[&str]) -> Vec<String> {
    let trace = bundles.rhumb.path("trace");
    fs::write(&trace, "").unwrap();
    process::run(bundles.command(args).env("RHUMB_FAILPOINT_TRACE", &trace), None, PATIENCE).ok();
    let text = fs::read_to_string(&trace).unwrap();
    let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
    names.dedup();
    names
}

#[test]
fn a_verb_killed_or_failing_at_any_point_leaves_nothing_after_a_forced_deletion() {
    let bundles = Bundles::new();
    let folder = bundles.bundle("box", "exec sleep 1000", with_hooks);
    let bundle = folder.to_str().unwrap().to_owned();
    let create = ["create", "-b", &bundle, "box"];
    // Each verb after those that it needs.
    let verbs: [(&[&[&str]], &[&str]); 5] = [
        (&[], &create),
        (&[&create], &["start", "box"]),
        (&[&create, &["start", "box"]], &["exec", "box", "true"]),
        (&[&create, &["start", "box"]], &["delete", "--force", "box"]),
        (&[], &["run", "-d", "-b", &bundle, "box"]),
    ];
    let mut strikes = 0;
    for (before, verb) in verbs {
        before.iter().for_each(|args| drop(bundles.oci(args).ok()));
        let points = points(&bundles, verb);
        bundles.delete("box");
        assert!(!points.is_empty(), "{verb:?} passes no point");
        for point in points {
            for action in ["kill", "error", "enospc"] {
                before.iter().for_each(|args| drop(bundles.oci(args).ok()));
                let outcome = bundles.oci_failing(verb, &format!("{point}={action}"));
                assert!(!outcome.stderr.contains("panicked"), "{point}={action}: {outcome}");
                if action != "kill" && !outcome.success() {
                    assert!((1..=3).contains(&outcome.stderr.lines().count()), "{point}={action}: {outcome}");
                    if verb[0] == "create" || verb[0] == "run" {
                        let state = bundles.oci(&["state", "box"]);
                        assert!(!state.success(), "{point}={action}: a failure undoes itself: {state}");
                    }
                }
                // Whatever is there can be told of, and the same name can be used again.
                bundles.oci(&["list"]).ok();
                bundles.delete("box");
                strikes += 1;
            }
        }
    }
    assert!(strikes >= 30, "{strikes}");
}

#[test]
fn a_verb_killed_at_any_time_leaves_nothing_after_a_forced_deletion() {
    let bundles = Bundles::new();
    let folder = bundles.bundle("box", "exec sleep 1000", with_hooks);
    let bundle = folder.to_str().unwrap().to_owned();
    for number in 0..40u64 {
        let mut child = bundles.spawn(&["run", "-d", "-b", &bundle, "box"]);
        std::thread::sleep(Duration::from_micros(number * 2_500));
        child.kill().unwrap();
        child.wait().unwrap();
        bundles.oci(&["list"]).ok();
        bundles.delete("box");
    }
    bundles.run(&bundles.bundle("box", "true", with_hooks)).ok();
}

#[test]
fn a_killed_first_process_is_one_error_or_a_stopped_container() {
    let bundles = Bundles::new();
    // Held while the runtime's hooks run, and killed there.
    let folder = bundles.bundle("box", "exec sleep 1000", |config| {
        config["hooks"]["createRuntime"] =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); kill -9 $pid"], "env": ["PATH=/usr/bin:/bin"]}]);
    });
    bundles.refused(&bundles.create(&folder));
    bundles.delete("box");
    // Killed while it waits for its start, and while it runs.
    for start in [false, true] {
        let folder = bundles.bundle("box", "exec sleep 1000", |_| {});
        bundles.create(&folder).ok();
        if start {
            bundles.oci(&["start", "box"]).ok();
        }
        let state: serde_json::Value = serde_json::from_str(&bundles.oci(&["state", "box"]).ok()).unwrap();
        process::run(Command::new("/bin/kill").args(["-9", &state["pid"].to_string()]), None, PATIENCE).ok();
        eventually("it is stopped", PATIENCE, || {
            bundles.oci(&["state", "box"]).ok().contains("\"stopped\"").then_some(())
        });
        for verb in [&["start", "box"][..], &["exec", "box", "true"], &["pause", "box"], &["kill", "box"]] {
            let outcome = bundles.oci(verb);
            assert!(!outcome.success() && !outcome.stderr.contains("panicked"), "{outcome}");
        }
        bundles.oci(&["delete", "box"]).ok();
        bundles.delete("box");
    }
}

#[test]
fn a_bundle_that_changes_underneath_is_of_no_concern_after_create() {
    let bundles = Bundles::new();
    let folder = bundles.bundle("box", "echo as it was > /said; exec sleep 1000", |_| {});
    bundles.create(&folder).ok();
    fs::write(folder.join("config.json"), "{ not JSON any more").unwrap();
    bundles.oci(&["start", "box"]).ok();
    eventually("it ran what it was created with", PATIENCE, || {
        fs::read_to_string(folder.join("rootfs/said")).ok().filter(|said| said == "as it was\n")
    });
    bundles.oci(&["exec", "box", "true"]).ok();
    fs::rename(&folder, bundles.rhumb.path("moved")).unwrap();
    assert!(bundles.oci(&["state", "box"]).ok().contains("running"));
    bundles.oci(&["exec", "box", "true"]).ok();
    bundles.delete("box");
    fs::rename(bundles.rhumb.path("moved"), &folder).unwrap();
    // Gone between create and start: the root is held by the container.
    let folder = bundles.bundle("box", "exec sleep 1000", |_| {});
    bundles.create(&folder).ok();
    fs::remove_dir_all(&folder).unwrap();
    let started = bundles.oci(&["start", "box"]);
    assert!(!started.success() && started.stderr.lines().count() <= 3, "its program is gone: {started}");
    bundles.delete("box");
}

#[test]
fn a_namespace_that_vanishes_is_one_error() {
    let bundles = Bundles::new();
    let mut holder = Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/net", holder.id());
    let join = |path: &str| {
        let path = path.to_owned();
        bundles.bundle("box", "readlink /proc/self/ns/net", move |config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.iter_mut().find(|one| one["type"] == "network").unwrap()["path"] = json!(path);
        })
    };
    eventually("the holder is in its namespace", PATIENCE, || {
        (fs::read_link(&path).ok() != fs::read_link("/proc/self/ns/net").ok()).then_some(())
    });
    let folder = join(&path);
    assert_eq!(bundles.run(&folder).ok(), fs::read_link(&path).unwrap().display().to_string());
    bundles.create(&folder).ok();
    holder.kill().unwrap();
    holder.wait().unwrap();
    bundles.oci(&["start", "box"]).ok();
    bundles.delete("box");
    let said = bundles.refused(&bundles.create(&folder));
    assert!(said.contains("/ns/net"), "{said}");
    bundles.delete("box");
    for wrong in ["/proc/self/ns/pid", "/etc/passwd", "/proc/self/ns", "/nowhere", "/dev/null"] {
        bundles.refused(&bundles.create(&join(wrong)));
        bundles.delete("box");
    }
}

#[test]
fn a_hook_that_hangs_is_ended_at_its_time_out_or_with_its_container() {
    let bundles = Bundles::new();
    let hanging = |kind: &'static str, timeout: Option<u32>| {
        bundles.bundle("box", "exec sleep 1000", move |config| {
            let mut hook = json!({"path": "/bin/sleep", "args": ["sleep", "987"]});
            if let Some(timeout) = timeout {
                hook["timeout"] = json!(timeout);
            }
            config["hooks"][kind] = json!([hook]);
        })
    };
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let begin = Instant::now();
        let said = bundles.refused(&bundles.create(&hanging(kind, Some(1))));
        assert!(said.contains("hook") || said.contains("tim"), "{said}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{kind}: {:?}", begin.elapsed());
        bundles.delete("box");
    }
    for kind in ["startContainer", "poststart"] {
        bundles.create(&hanging(kind, Some(1))).ok();
        let begin = Instant::now();
        bundles.refused(&bundles.oci(&["start", "box"]));
        assert!(begin.elapsed() < Duration::from_secs(10), "{kind}: {:?}", begin.elapsed());
        bundles.delete("box");
    }
    // Without a time-out: whoever waits can be killed, and the container be deleted.
    let folder = hanging("createRuntime", None);
    let mut child = bundles.spawn(&["create", "-b", folder.to_str().unwrap(), "box"]);
    std::thread::sleep(Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    let mut end = Command::new("sh");
    // The hook itself is the host's, and nobody's but whoever started it: it is found by its arguments.
    end.args(["-c", "for p in /proc/[0-9]*; do [ \"$(tr '\\0' ' ' < $p/cmdline 2>/dev/null)\" = 'sleep 987 ' ] && kill -9 ${p#/proc/}; done; true"]);
    process::run(&mut end, None, PATIENCE).ok();
    bundles.delete("box");
}

#[test]
fn a_full_limit_is_one_error() {
    let bundles = Bundles::new();
    // Too few processes for a container's own: the kernel refuses the fork of what runs inside.
    let folder = bundles.bundle("box", "sleep 1000 & sleep 1000 & sleep 1000 & wait", |config| {
        config["linux"]["resources"]["pids"] = json!({"limit": 2});
    });
    let outcome = bundles.run(&folder);
    assert!(!outcome.success() && !outcome.stderr.contains("panicked"), "{outcome}");
    bundles.delete("box");
    let folder = bundles.bundle("box", "exec sleep 1000", |config| {
        config["linux"]["resources"]["pids"] = json!({"limit": 1});
    });
    bundles.create(&folder).ok();
    bundles.oci(&["start", "box"]).ok();
    let outcome = bundles.oci(&["exec", "box", "/bin/sh", "-c", "sleep 1 & wait"]);
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    bundles.delete("box");
    // A limit around the runtime itself: it may not fork, and says so.
    let folder = bundles.bundle("box", "true", |_| {});
    let pids = std::path::Path::new("/sys/fs/cgroup/pids").join(format!("rhumb-faults-{}", std::process::id()));
    fs::create_dir(&pids).unwrap();
    for limit in ["1", "2"] {
        fs::write(pids.join("pids.max"), limit).unwrap();
        let mut command = Command::new("/bin/sh");
        let line = format!(
            "echo $$ > {}/cgroup.procs; exec rhumb oci --root {} create -b {} box",
            pids.display(),
            bundles.state().display(),
            folder.display()
        );
        bundles.rhumb.environ(command.args(["-c", &line]));
        let outcome = process::run(&mut command, None, PATIENCE);
        if limit == "1" {
            bundles.refused(&outcome);
        }
        bundles.delete("box");
    }
    eventually("the cgroup is empty", PATIENCE, || fs::remove_dir(&pids).is_ok().then_some(()));
    // A limit that nothing fits into.
    for resources in
        [json!({"memory": {"limit": 4096}}), json!({"pids": {"limit": 0}}), json!({"cpu": {"cpus": "4000"}})]
    {
        let folder = bundles.bundle("box", "true", |config| {
            config["linux"]["resources"] = resources;
        });
        let outcome = bundles.oci(&["run", "-b", folder.to_str().unwrap(), "box"]);
        assert!(!outcome.stderr.contains("panicked") && outcome.stderr.lines().count() <= 3, "{outcome}");
        bundles.delete("box");
    }
}
