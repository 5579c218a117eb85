//! `config.md`, hooks: when they run, where, with what, and what their failures mean.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::{Bundle, eventually};
use crate::case::{Case, acts, refuses};
use crate::runtime::Runtime::{Crun, Runc};

const HOOKS: &str = "config.md#posix-platform-hooks";
const LIFECYCLE: &str = "runtime.md#lifecycle";

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook of a shell script that reads its state first. `@log@` in it is a file that all hooks and the container can write to, wherever they are.
fn hook(bundle: &mut Bundle, kind: &str, script: &str) {
    let log = match kind {
        "startContainer" => "/log".to_owned(),
        _ => bundle.in_root("log").display().to_string(),
    };
    let read = if script.contains("cat") || script.contains("sed") { "" } else { "cat >/dev/null; " };
    let script = format!("{read}{}", script.replace("@log@", &log));
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]});
    bundle.with(json!({"hooks": {format!("{kind}+"): [hook]}}));
}

/// The lines that were logged.
fn logged(bundle: &Bundle) -> Vec<String> {
    bundle.read("log").lines().map(str::to_owned).collect()
}

/// A failing hook of creation: create fails, later hooks and the program do not run, nothing is left.
fn fails_creation(bundle: &mut Bundle, kind: &str) {
    hook(bundle, kind, "echo failing >>@log@; exit 7");
    hook(bundle, kind, "echo next >>@log@");
    hook(bundle, "startContainer", "echo later >>@log@");
    bundle.script("echo ran >>/log");
    bundle.refused();
    assert_eq!(logged(bundle), ["failing"]);
}

/// The state that a hook of this kind was given.
fn given(bundle: &mut Bundle, kind: &str) -> Value {
    hook(bundle, kind, "cat >@log@");
    bundle.patch(r#"{"annotations": {"key": "value"}}"#).script("true").up().until("stopped").delete();
    eventually("the hook's state", || bundle.read("log").contains('}'));
    serde_json::from_str(&bundle.read("log")).unwrap()
}

fn check_given(bundle: &mut Bundle, kind: &str, status: &str) {
    let state = given(bundle, kind);
    assert!(state["ociVersion"].is_string(), "{state}");
    assert_eq!(state["id"], json!(bundle.id), "{state}");
    assert_eq!(state["status"], json!(status), "{state}");
    assert_eq!(state["bundle"], json!(bundle.path("").display().to_string().trim_end_matches('/')), "{state}");
    assert_eq!(state["annotations"]["key"], json!("value"), "{state}");
    assert!(status == "stopped" || state["pid"].as_u64().is_some_and(|pid| pid > 0), "{state}");
}

/// Where a hook ran: the links of its namespaces, in the order asked for.
fn namespaces_of(bundle: &mut Bundle, kind: &str, which: &[&str]) -> Vec<String> {
    let paths: Vec<String> = which.iter().map(|name| format!("/proc/self/ns/{name}")).collect();
    hook(bundle, kind, &format!("readlink {} >@log@", paths.join(" ")));
    bundle.script("true").up().until("stopped").delete();
    eventually("the hook's namespaces", || logged(bundle).len() == which.len());
    logged(bundle)
}

fn own(name: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string()
}

pub(crate) const CASES: &[Case] = &[
    acts("hooks_run_in_the_order_of_the_life_cycle", LIFECYCLE, "each kind has its place in the life cycle", |b| {
        for kind in KINDS {
            let late = if kind == "startContainer" { "sleep 0.1; " } else { "" };
            hook(b, kind, &format!("{late}echo {kind} >>@log@"));
        }
        b.script("echo program >>/log; sleep 1000").create();
        assert_eq!(logged(b), KINDS[..3]);
        b.start();
        eventually("the program", || b.read("log").contains("program"));
        let mut started = logged(b);
        assert_eq!(started[..4], KINDS[..4]);
        started.sort();
        assert_eq!(started, ["createContainer", "createRuntime", "poststart", "prestart", "program", "startContainer"]);
        b.kill("KILL").until("stopped");
        assert!(!b.read("log").contains("poststop"));
        b.delete();
        assert_eq!(logged(b).last().unwrap(), "poststop");
    })
    .but(&[
        (Runc, "runs poststart hooks at the end of create"),
        (Crun, "does not wait for startContainer hooks before those of poststart"),
    ]),
    acts("hooks_of_a_kind_run_in_listed_order", HOOKS, "hooks are called in the listed order", |b| {
        for kind in KINDS {
            for number in 1..4 {
                hook(b, kind, &format!("echo {kind}-{number} >>@log@"));
            }
        }
        b.script("true").up().until("stopped").delete();
        for kind in KINDS {
            let lines: Vec<String> =
                logged(b).into_iter().filter(|line| line.starts_with(&format!("{kind}-"))).collect();
            assert_eq!(lines, [1, 2, 3].map(|number| format!("{kind}-{number}")));
        }
    }),
    acts("create_container_hooks_stand_in_the_root", HOOKS, "where callers of runc expect to be", |b| {
        hook(b, "createContainer", "echo made >./by-hook; pwd >@log@");
        assert_eq!(b.prints("cat /by-hook").trim(), "made");
        assert_eq!(logged(b), [b.in_root("").display().to_string().trim_end_matches('/')]);
    })
    .but(&[(Crun, "runs createContainer hooks in another folder")]),
    acts("start_container_hooks_are_behind_the_filter", HOOKS, "they run in the container as its command would", |b| {
        hook(b, "startContainer", "mkdir /made; echo after >>@log@");
        let filter = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
        b.with(json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [filter]}}}));
        b.script("true").up().until("stopped");
        assert!(!b.in_root("made").exists());
        assert_eq!(logged(b), ["after"]);
    }),
    acts("prestart_hooks_get_the_state", HOOKS, "the state is on their standard input", |b| {
        check_given(b, "prestart", "creating");
    })
    .but(&[(Crun, "says created where the specification has creating")]),
    acts("create_runtime_hooks_get_the_state", HOOKS, "the state is on their standard input", |b| {
        check_given(b, "createRuntime", "creating");
    })
    .but(&[(Crun, "says created where the specification has creating")]),
    acts("create_container_hooks_get_the_state", HOOKS, "the state is on their standard input", |b| {
        check_given(b, "createContainer", "creating");
    })
    .but(&[(Crun, "says created where the specification has creating")]),
    acts("start_container_hooks_get_the_state", HOOKS, "the state is on their standard input", |b| {
        check_given(b, "startContainer", "created");
    })
    .but(&[(Crun, "says starting where the specification has created")]),
    acts("poststart_hooks_get_the_state", HOOKS, "the state is on their standard input", |b| {
        check_given(b, "poststart", "running");
    })
    .but(&[(Runc, "runs poststart hooks at the end of create")]),
    acts("poststop_hooks_get_the_state", HOOKS, "the state is on their standard input", |b| {
        check_given(b, "poststop", "stopped");
    }),
    acts("hooks_have_their_own_arguments", HOOKS, "args are those of execv, the first included", |b| {
        let log = b.in_root("log").display().to_string();
        let script = format!("cat >/dev/null; printf '%s|' \"$0\" \"$@\" >{log}");
        let hook = json!({"path": "/bin/sh", "args": ["odd name", "-c", script, "zero", "a b", "", "c"]});
        b.with(json!({"hooks": {"createRuntime": [hook]}})).create();
        assert_eq!(b.read("log"), "zero|a b||c|");
    }),
    acts("hooks_have_only_their_own_environment", HOOKS, "env is the whole environment", |b| {
        let log = b.in_root("log").display().to_string();
        let read = format!("cat >/dev/null; tr '\\0' '\\n' </proc/self/environ >>{log}; echo . >>{log}");
        let path = "PATH=/usr/bin:/bin";
        b.with(json!({"hooks": {
            "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", &read], "env": [path, "ONE=1"]}],
            "createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", &read], "env": [path, "TWO=2"]}],
            "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", &read], "env": [path, "THREE=3"]}],
        }}));
        b.script("true").up().until("stopped").delete();
        let lines = logged(b);
        let texts: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(texts, [path, "ONE=1", ".", path, "TWO=2", ".", path, "THREE=3", "."]);
    }),
    acts("hooks_without_env_have_an_empty_environment", HOOKS, "nothing is inherited from the runtime", |b| {
        let log = b.in_root("log").display().to_string();
        let script = format!("/bin/cat >/dev/null; /usr/bin/wc -c </proc/self/environ >{log}");
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        b.with(json!({"hooks": {"createRuntime": [hook]}})).create();
        let bytes: u32 = b.read("log").trim().parse().unwrap();
        // The shell itself exports PWD, and nothing else.
        assert!(bytes < 64, "{bytes} bytes of environment");
    })
    .but(&[
        (Runc, "a hook without env inherits the environment of the runtime"),
        (Crun, "a hook without env inherits the environment of the runtime"),
    ]),
    acts("a_hook_need_not_read_its_state", HOOKS, "what a hook does with its standard input is its own matter", |b| {
        let hook = json!({"path": "/bin/true", "args": ["true"]});
        let long = "x".repeat(200_000);
        b.with(json!({"annotations": {"long": long}, "hooks": {"createRuntime": [hook], "poststop": [hook]}}));
        b.script("true").up().until("stopped").delete();
    })
    .but(&[(Crun, "dies of the broken pipe")]),
    acts("prestart_hooks_run_in_the_runtime_namespaces", HOOKS, "they are called in the runtime namespace", |b| {
        assert_eq!(namespaces_of(b, "prestart", &["net", "uts", "pid"]), ["net", "uts", "pid"].map(own));
    }),
    acts(
        "create_runtime_hooks_run_in_the_runtime_namespaces",
        HOOKS,
        "they are called in the runtime namespace",
        |b| {
            assert_eq!(namespaces_of(b, "createRuntime", &["net", "uts", "pid"]), ["net", "uts", "pid"].map(own));
        },
    ),
    acts("create_container_hooks_run_in_the_container_namespaces", HOOKS, "they are called in the container", |b| {
        let all = ["net", "uts", "mnt", "ipc"];
        for (seen, name) in namespaces_of(b, "createContainer", &all).into_iter().zip(all) {
            assert_ne!(seen, own(name));
        }
    }),
    acts("create_container_hooks_run_before_the_root_changes", HOOKS, "their path is one of the runtime", |b| {
        let program = b.path("only-on-the-host");
        fs::write(&program, "#!/bin/sh\n/usr/bin/readlink /proc/self/root >\"$1\"\n").unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let log = b.in_root("log");
        b.with(json!({"hooks": {"createContainer": [{"path": program, "args": ["hook", log]}]}})).create();
        assert_eq!(b.read("log"), "/\n");
    }),
    acts("start_container_hooks_run_in_the_container_namespaces", HOOKS, "they are called in the container", |b| {
        let all = ["net", "uts", "mnt", "pid"];
        for (seen, name) in namespaces_of(b, "startContainer", &all).into_iter().zip(all) {
            assert_ne!(seen, own(name));
        }
    }),
    acts("start_container_hooks_have_a_path_of_the_container", HOOKS, "their path is one of the container", |b| {
        let program = b.in_root("only-inside");
        fs::write(&program, "#!/bin/sh\necho inside >/log\n").unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        b.with(json!({"hooks": {"startContainer": [{"path": "/only-inside"}]}})).script("true").up();
        b.until("stopped");
        assert_eq!(b.read("log"), "inside\n");
    }),
    acts("poststart_and_poststop_hooks_run_in_the_runtime_namespaces", HOOKS, "both are called outside", |b| {
        assert_eq!(namespaces_of(b, "poststart", &["net", "uts", "pid"]), ["net", "uts", "pid"].map(own));
        fs::remove_file(b.in_root("log")).unwrap();
        b.patch(r#"{"hooks": null}"#);
        assert_eq!(namespaces_of(b, "poststop", &["net", "uts", "pid"]), ["net", "uts", "pid"].map(own));
    }),
    acts("hooks_of_creation_find_the_namespaces_made", HOOKS, "the namespaces are there when they are called", |b| {
        let script = r#"pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/'); readlink /proc/$pid/ns/net >@log@"#;
        hook(b, "createRuntime", script);
        b.script("sleep 1000").create();
        let seen = b.until_written("log");
        assert_ne!(seen.trim(), own("net"));
        assert_eq!(seen.trim(), fs::read_link(format!("/proc/{}/ns/net", b.pid())).unwrap().display().to_string());
    }),
    acts("a_failing_prestart_hook_fails_creation", LIFECYCLE, "an error, and the container is no more", |b| {
        fails_creation(b, "prestart");
    }),
    acts("a_failing_create_runtime_hook_fails_creation", LIFECYCLE, "an error, and the container is no more", |b| {
        fails_creation(b, "createRuntime");
    }),
    acts("a_failing_create_container_hook_fails_creation", LIFECYCLE, "an error, and the container is no more", |b| {
        fails_creation(b, "createContainer");
    }),
    acts("a_failing_creation_runs_the_poststop_hooks", LIFECYCLE, "after a failure the life goes on at its end", |b| {
        hook(b, "createRuntime", "exit 1");
        hook(b, "poststop", "echo poststop >>@log@");
        b.refused();
        assert_eq!(logged(b), ["poststop"]);
    })
    .but(&[(Crun, "does not run them")]),
    acts("a_failing_start_container_hook_fails_the_start", LIFECYCLE, "an error, and the program does not run", |b| {
        hook(b, "startContainer", "echo failing >>@log@; exit 7");
        hook(b, "startContainer", "echo next >>@log@");
        b.script("echo ran >>/log").create();
        let started = b.call(&["start", &b.id]);
        assert!(!started.success(), "{started}");
        assert_eq!(logged(b), ["failing"]);
        let state = b.call(&["state", &b.id]);
        assert!(!state.success() || state.stdout.contains("stopped"), "{state}");
    })
    .but(&[(Runc, "start has already said that all is well"), (Crun, "start has already said that all is well")]),
    acts("a_failing_poststart_hook_fails_the_start", LIFECYCLE, "an error, and the container is stopped", |b| {
        hook(b, "poststart", "exit 7");
        b.script("sleep 1000").create();
        let started = b.call(&["start", &b.id]);
        assert!(!started.success(), "{started}");
        let state = b.call(&["state", &b.id]);
        assert!(!state.success() || state.stdout.contains("stopped"), "{state}");
    })
    .but(&[(Runc, "runs poststart hooks at the end of create"), (Crun, "ignores it, as version 1.0 has it")]),
    acts("a_failing_poststop_hook_is_only_a_warning", LIFECYCLE, "the others run and delete succeeds", |b| {
        hook(b, "poststop", "echo failing >>@log@; exit 7");
        hook(b, "poststop", "echo next >>@log@");
        b.script("true").up().until("stopped").delete();
        assert_eq!(logged(b), ["failing", "next"]);
        assert!(!b.call(&["state", &b.id]).success());
    })
    .but(&[(Runc, "a failure ends the list")]),
    acts("a_hook_that_takes_too_long_is_ended", HOOKS, "timeout is the number of seconds until it is aborted", |b| {
        let hook =
            json!({"path": "/bin/sh", "args": ["sh", "-c", "exec sleep 1000"], "env": ["PATH=/bin"], "timeout": 1});
        b.with(json!({"hooks": {"createRuntime": [hook]}}));
        b.refused();
    }),
    refuses(
        "a_hook_whose_program_is_missing_is_an_error",
        HOOKS,
        "the path is that of a program",
        r#"{"hooks": {"createRuntime": [{"path": "/no/such/program"}]}}"#,
    ),
    refuses(
        "a_relative_hook_is_an_error",
        HOOKS,
        "the path is absolute",
        r#"{"hooks": {"prestart": [{"path": "bin/true", "args": ["true"]}]}}"#,
    ),
    refuses(
        "a_hook_without_time_is_an_error",
        HOOKS,
        "a timeout is greater than zero",
        r#"{"hooks": {"createRuntime": [{"path": "/bin/true", "timeout": 0}]}}"#,
    )
    .but(&[(Crun, "takes no time for no limit")]),
];
