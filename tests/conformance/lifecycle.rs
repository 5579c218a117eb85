//! `runtime.md`: the state, the life cycle, its operations and their errors.

use std::fs;

use serde_json::json;

use crate::bundle::{Bundle, eventually};
use crate::case::{Case, acts, refuses};
use crate::runtime::Runtime::{Crun, Runc};
use crate::support::process;

const STATE: &str = "runtime.md#state";
const LIFECYCLE: &str = "runtime.md#lifecycle";
const QUERY: &str = "runtime.md#query-state";
const CREATE: &str = "runtime.md#create";
const START: &str = "runtime.md#start";
const KILL: &str = "runtime.md#kill";
const DELETE: &str = "runtime.md#delete";

/// A script that lives until it is killed and says when it is there.
const LIVES: &str = "trap 'echo got >>/signals' USR1; echo up >/up; while :; do sleep 0.02; done";

fn fails(bundle: &Bundle, args: &[&str]) {
    let outcome = bundle.call(args);
    assert!(!outcome.success(), "it should have failed:\n{outcome}");
    assert!(!outcome.stderr.trim().is_empty(), "no message:\n{outcome}");
}

/// A container in the caller's pid namespace whose process has ended, and a process of it that lives on.
fn survivor(b: &mut Bundle) -> u32 {
    let kinds = ["mount", "network", "ipc", "uts", "cgroup"];
    let namespaces: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    b.with(json!({"linux": {"namespaces": namespaces}}));
    b.script("sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >/outlived").up();
    let pid = b.until_written("outlived").trim().parse().unwrap();
    b.until("stopped");
    assert!(alive(pid));
    pid
}

/// The process is there and has not ended.
fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) const CASES: &[Case] = &[
    acts("state_has_what_is_required", STATE, "the state has version, id, status, pid and bundle", |b| {
        b.script(LIVES).create();
        let state = b.state();
        assert!(state["ociVersion"].as_str().is_some_and(|version| version.split('.').count() >= 3), "{state}");
        assert_eq!(state["id"], json!(b.id));
        assert_eq!(state["status"], json!("created"));
        assert!(state["pid"].as_u64().is_some_and(|pid| pid > 1), "{state}");
        assert_eq!(state["bundle"], json!(b.path("").display().to_string().trim_end_matches('/')));
    }),
    acts("state_has_the_configured_annotations", STATE, "the state has the container's annotations", |b| {
        b.patch(r#"{"annotations": {"org.example.one": "1", "org.example.empty": ""}}"#).create();
        let annotations = &b.state()["annotations"];
        assert_eq!((&annotations["org.example.one"], &annotations["org.example.empty"]), (&json!("1"), &json!("")));
    }),
    acts("state_bundle_is_absolute", STATE, "the bundle is an absolute path however it was given", |b| {
        b.write();
        let mut command = b.command(&["create", "--bundle", ".", &b.id]);
        command.current_dir(b.path("")).stdin(std::process::Stdio::null());
        let log = fs::File::create(b.path("log")).unwrap();
        assert!(command.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap().success());
        assert_eq!(b.state()["bundle"], json!(b.path("").display().to_string().trim_end_matches('/')));
    }),
    acts("state_pid_is_the_containers_process", STATE, "the pid is that of the process as the host sees it", |b| {
        b.script(LIVES).up().until_written("up");
        let command = fs::read_to_string(format!("/proc/{}/cmdline", b.pid())).unwrap();
        assert!(command.starts_with("/bin/sh\0-c\0trap"), "{command}");
    }),
    acts("status_is_created_after_create", CREATE, "after create the status is created", |b| {
        assert_eq!(b.script(LIVES).create().status(), "created");
    }),
    acts("status_is_running_after_start", START, "after start the status is running", |b| {
        assert_eq!(b.script(LIVES).up().status(), "running");
    }),
    acts("status_is_stopped_after_the_end", KILL, "when the process has ended, the status is stopped", |b| {
        b.script("exit 3").up().until("stopped");
    }),
    acts("state_of_nothing_is_an_error", QUERY, "the state of a container that does not exist is an error", |b| {
        fails(b, &["state", "no-such-container"]);
    }),
    acts("state_without_id_is_an_error", QUERY, "state without an id is an error", |b| fails(b, &["state"])),
    acts("create_makes_the_resources_at_once", CREATE, "create makes all that the configuration asks for", |b| {
        b.patch(r#"{"linux": {"resources": {"pids": {"limit": 77}}}}"#).script(LIVES).create();
        assert_eq!(b.cgroup_file("pids", "pids.max"), "77");
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        assert_ne!(fs::read_link(format!("/proc/{}/ns/net", b.pid())).unwrap(), own);
    }),
    acts("signal_zero_and_ps_find_nobody_in_what_has_stopped", KILL, "as engines ask whether it has ended", |b| {
        b.script(LIVES).up();
        assert!(b.call(&["kill", "--all", &b.id, "0"]).success());
        b.kill("KILL").until("stopped");
        assert!(b.call(&["kill", "--all", &b.id, "0"]).success());
        let outcome = b.call(&["ps", "--format", "json", &b.id]);
        assert!(outcome.success() && outcome.stdout.lines().count() == 1, "{}", outcome.stdout);
    })
    .but(&[(Crun, "finds nobody to signal in a container that has stopped")]),
    acts("create_does_not_run_the_program", CREATE, "create does not run the user's program", |b| {
        b.script("echo ran >/ran").create();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!b.in_root("ran").exists());
        b.start().until_written("ran");
    }),
    acts("create_writes_the_pid_file", CREATE, "the process of a created container is known to the caller", |b| {
        b.script(LIVES).create();
        assert_eq!(fs::read_to_string(b.path("pid")).unwrap(), b.pid().to_string());
    }),
    acts("changes_of_the_configuration_come_too_late", LIFECYCLE, "what is changed after create has no effect", |b| {
        b.script("echo first >/ran").create();
        b.script("echo second >/ran").patch(r#"{"hostname": "other"}"#).write();
        assert_eq!(b.start().until_written("ran"), "first\n");
    }),
    acts("create_with_an_id_in_use_is_an_error", CREATE, "an id that is in use is refused, and nothing changes", |b| {
        b.script(LIVES).create();
        let pid = b.pid();
        assert!(!b.try_create().success());
        assert_eq!((b.status().as_str(), b.pid()), ("created", pid));
        b.start().until_written("up");
    }),
    acts("create_with_an_invalid_id_is_an_error", CREATE, "an id that is not valid is refused", |b| {
        b.write();
        let bundle = b.path("").display().to_string();
        for id in ["", "a/b", "../up", ".."] {
            fails(b, &["create", "--bundle", &bundle, id]);
        }
    }),
    acts("create_without_id_is_an_error", CREATE, "create without an id is an error", |b| {
        b.write();
        fails(b, &["create", "--bundle", &b.path("").display().to_string()]);
    }),
    acts("create_without_a_bundle_is_an_error", "bundle.md#container-format", "a bundle has a config.json", |b| {
        fails(b, &["create", "--bundle", &b.path("nothing").display().to_string(), &b.id]);
        fails(b, &["create", "--bundle", &b.folder("empty").display().to_string(), &b.id]);
        fails(b, &["state", &b.id]);
    }),
    acts("a_configuration_that_is_no_json_is_an_error", "bundle.md#container-format", "config.json is JSON", |b| {
        let bundle = b.path("").display().to_string();
        for text in ["", "{", "[]", "7", "{\"ociVersion\": \"1.0.0\",}", "\0\0\0"] {
            fs::write(b.path("config.json"), text).unwrap();
            fails(b, &["create", "--bundle", &bundle, &b.id]);
        }
        fails(b, &["state", &b.id]);
    }),
    refuses(
        "an_environment_that_cannot_be_made_is_an_error",
        LIFECYCLE,
        "when the environment cannot be made, create fails",
        r#"{"mounts+": [{"destination": "/x", "type": "no-such-filesystem", "source": "none"}]}"#,
    ),
    acts("start_runs_the_program", START, "start runs the user's program", |b| {
        assert_eq!(b.script("echo ran >/ran").up().until_written("ran"), "ran\n");
    }),
    acts("start_of_nothing_is_an_error", START, "starting a container that does not exist is an error", |b| {
        fails(b, &["start", "no-such-container"]);
    }),
    acts("start_without_id_is_an_error", START, "start without an id is an error", |b| fails(b, &["start"])),
    acts("start_of_a_running_container_is_an_error", START, "starting what runs fails and changes nothing", |b| {
        b.script(LIVES).up().until_written("up");
        let pid = b.pid();
        fails(b, &["start", &b.id]);
        assert_eq!((b.status().as_str(), b.pid()), ("running", pid));
    }),
    acts("start_of_a_stopped_container_is_an_error", START, "starting what has ended is an error", |b| {
        b.script("echo ran >>/ran").up().until("stopped");
        fails(b, &["start", &b.id]);
        assert_eq!((b.status().as_str(), b.read("ran").as_str()), ("stopped", "ran\n"));
    }),
    acts("start_without_a_process_is_an_error", START, "start fails when the configuration has no process", |b| {
        b.patch(r#"{"process": null}"#);
        let created = b.try_create();
        assert!(!created.stderr.contains("panic"), "{created}");
        if created.success() {
            fails(b, &["start", &b.id]);
        }
    }),
    acts("kill_sends_the_signal_to_the_process", KILL, "kill sends the signal to the container's process", |b| {
        b.script(LIVES).up().until_written("up");
        b.kill("USR1");
        assert_eq!(b.until_written("signals"), "got\n");
        b.kill("SIGUSR1");
        eventually("the second signal", || b.read("signals") == "got\ngot\n");
        b.kill("10");
        eventually("the third signal", || b.read("signals") == "got\ngot\ngot\n");
        assert_eq!(b.status(), "running");
    }),
    acts("kill_ends_a_running_container", KILL, "after a fatal signal the status is stopped", |b| {
        b.script(LIVES).up().until_written("up");
        b.kill("KILL").until("stopped");
    }),
    acts("kill_ends_a_created_container", KILL, "a created container can be sent a signal", |b| {
        b.script("echo ran >/ran").create().kill("KILL").until("stopped");
        assert_eq!(b.read("ran"), "");
    }),
    acts("kill_of_nothing_is_an_error", KILL, "a signal to a container that does not exist is an error", |b| {
        fails(b, &["kill", "no-such-container", "KILL"]);
    }),
    acts("kill_without_id_is_an_error", KILL, "kill without an id is an error", |b| fails(b, &["kill"])),
    acts("kill_of_a_stopped_container_is_an_error", KILL, "a signal to what neither runs nor waits is an error", |b| {
        b.script("true").up().until("stopped");
        fails(b, &["kill", &b.id, "TERM"]);
        assert_eq!(b.status(), "stopped");
    }),
    acts("kill_with_an_unknown_signal_is_an_error", KILL, "a signal that there is not is an error", |b| {
        b.script(LIVES).up().until_written("up");
        for signal in ["SIGNOTHING", "999"] {
            fails(b, &["kill", &b.id, signal]);
        }
        assert_eq!(b.status(), "running");
    })
    .but(&[(Crun, "takes an unknown signal for none")]),
    acts(
        "kill_reaches_what_outlived_the_process",
        KILL,
        "without an own pid namespace the others are killed too",
        |b| {
            let outlived = survivor(b);
            fails(b, &["kill", &b.id, "TERM"]);
            assert!(alive(outlived), "a signal to what is stopped has an effect");
            b.kill("KILL");
            eventually("the end", || !alive(outlived));
            fails(b, &["kill", &b.id, "KILL"]);
        },
    )
    .but(&[(Runc, "new in 1.2"), (Crun, "takes what is stopped for gone")]),
    acts("delete_ends_what_outlived_the_process", DELETE, "what is left in the cgroup is ended first", |b| {
        let outlived = survivor(b);
        b.delete().assert_no_cgroup();
        assert!(!alive(outlived));
    }),
    acts("delete_destroys_the_container", DELETE, "delete removes what create made", |b| {
        b.script("true").up().until("stopped");
        b.delete().assert_no_cgroup();
        fails(b, &["state", &b.id]);
    }),
    acts("delete_of_nothing_is_an_error", DELETE, "deleting a container that does not exist is an error", |b| {
        fails(b, &["delete", "no-such-container"]);
    }),
    acts("delete_without_id_is_an_error", DELETE, "delete without an id is an error", |b| fails(b, &["delete"])),
    acts("delete_of_a_running_container_is_an_error", DELETE, "deleting what runs fails and changes nothing", |b| {
        b.script(LIVES).up().until_written("up");
        let pid = b.pid();
        fails(b, &["delete", &b.id]);
        assert_eq!((b.status().as_str(), b.pid()), ("running", pid));
        b.kill("USR1");
        assert_eq!(b.until_written("signals"), "got\n");
    }),
    acts("delete_of_a_created_container_is_an_error", DELETE, "deleting what waits for its start is an error", |b| {
        b.script(LIVES).create();
        fails(b, &["delete", &b.id]);
        assert_eq!(b.status(), "created");
        b.start().until_written("up");
    })
    .but(&[(Runc, "ends and deletes what waits for its start"), (Crun, "ends and deletes what waits for its start")]),
    acts("delete_leaves_what_create_did_not_make", DELETE, "what the container did not make is not deleted", |b| {
        let holder = b.sibling("holder");
        let mut holder = holder;
        holder.script(LIVES).up();
        let shared = b.folder("shared");
        fs::write(shared.join("file"), "kept").unwrap();
        b.mount("/shared", "none", &shared.display().to_string(), &["rbind", "rw"]);
        let path = format!("/proc/{}/ns/ipc", holder.pid());
        b.config["linux"]["namespaces"][2]["path"] = json!(path);
        b.script("true").up().until("stopped");
        b.delete();
        assert_eq!(fs::read_to_string(shared.join("file")).unwrap(), "kept");
        assert!(b.path("config.json").exists() && b.in_root("bin/sh").exists());
        assert_eq!(holder.status(), "running");
        holder.clean_up();
    }),
    acts("an_id_can_be_used_again_after_delete", DELETE, "after delete the id may be used again", |b| {
        for _ in 0..2 {
            b.script("true").up().until("stopped").delete();
        }
    }),
    acts("the_end_of_the_process_ends_the_others", LIFECYCLE, "nothing of a container outlives its process", |b| {
        b.script("sleep 1000 & echo $! >/child; sleep 0.1").up().until("stopped");
        b.delete().assert_no_cgroup();
    }),
    acts(
        "a_list_of_nothing_is_null",
        "runc list",
        "without containers the list is empty, or null as runc has it",
        |b| {
            let mut command = b.runtime.command(&b.folder("empty"));
            let listed = process::run(command.args(["list", "--format", "json"]), None, process::PATIENCE).ok();
            assert_eq!(listed, "null");
            let mut command = b.runtime.command(&b.folder("empty"));
            assert_eq!(process::run(command.args(["list", "--quiet"]), None, process::PATIENCE).ok(), "");
        },
    )
    .but(&[(Crun, "prints an empty array")]),
    acts("run_gives_the_status_of_the_process", "runc run", "run ends with the status of the process", |b| {
        b.script("exit 42").run().fails(42);
        b.script("kill -TERM $$; sleep 5").patch(r#"{"hostname": null, "linux": {"namespaces": [{"type": "mount"}]}}"#);
        b.run().fails(128 + 15);
    }),
];
