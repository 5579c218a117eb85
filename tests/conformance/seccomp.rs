//! `config-linux.md`, seccomp: actions, errors, conditions, flags, architectures, and the listener.

use std::os::unix::net::UnixListener;

use rhumb::sys::socket;
use serde_json::{Value, json};

use crate::bundle::{Bundle, accept};
use crate::case::{Case, acts, prints, refuses};
use crate::runtime::Runtime::{Crun, Runc};

const SECCOMP: &str = "config-linux.md#configLinuxSeccomp";
const STATE: &str = "config-linux.md#containerprocessstate";

/// What happens to the system call that makes a folder.
const MKDIR: &str = "mkdir /made 2>&1 | grep -oE 'not permitted|not implemented|No such device|Bad address'; ls -d /made 2>/dev/null; echo .";

/// A filter that allows everything but this.
fn filter(bundle: &mut Bundle, syscall: Value) -> &mut Bundle {
    bundle.with(json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [syscall]}}}))
}

/// What `chmod` of each mode does when the mode is filtered by `args`: a letter each, r for refused.
fn modes(bundle: &mut Bundle, args: Value) -> String {
    filter(bundle, json!({"names": ["fchmodat"], "action": "SCMP_ACT_ERRNO", "args": args}));
    bundle
        .prints("touch /f; for m in 0100 0200 0300 0400 0700; do chmod $m /f 2>/dev/null && printf o || printf r; done")
}

fn mode(op: &str, value: u64, two: u64) -> Value {
    json!({"index": 2, "value": value, "valueTwo": two, "op": op})
}

/// What the listener at `path` is sent: the text and the number of descriptors.
fn listen(listener: &UnixListener) -> (Value, usize) {
    let stream = accept(listener);
    let (mut text, mut buffer, mut fds) = (Vec::new(), [0; 65536], Vec::new());
    while let Ok(count @ 1..) = socket::receive(&stream, &mut buffer, &mut fds) {
        text.extend_from_slice(&buffer[..count]);
    }
    (serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}: {text:?}")), fds.len())
}

pub(crate) const CASES: &[Case] = &[
    prints("a_filter_is_set", SECCOMP, "with seccomp there is a filter",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]}}}"#,
        "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status", "NoNewPrivs:\t0\nSeccomp:\t2"),
    prints("no_filter_is_set", SECCOMP, "without seccomp there is none", "{}", "grep ^Seccomp: /proc/self/status", "Seccomp:\t0"),
    prints("a_filter_with_no_new_privileges", SECCOMP, "both go together",
        r#"{"process": {"noNewPrivileges": true}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#,
        MKDIR, "not permitted\n."),
    prints("a_filter_for_another_user", SECCOMP, "a filter does not depend on the user's rights",
        r#"{"process": {"user": {"uid": 1000, "gid": 1000}}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO"}]}}}"#,
        "grep -E '^(Seccomp|CapEff|CapPrm):' /proc/self/status; kill -0 $$ 2>/dev/null || echo refused", "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nSeccomp:\t2\nrefused"),
    prints("action_errno", SECCOMP, "ERRNO: fails with EPERM unless told otherwise",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}}}"#, MKDIR, "not permitted\n."),
    prints("action_errno_with_a_number", SECCOMP, "errnoRet: the number",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 19}]}}}"#, MKDIR, "No such device\n."),
    prints("action_trace", SECCOMP, "TRACE: without a tracer it is not implemented",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_TRACE"}]}}}"#, MKDIR, "not implemented\n."),
    prints("action_log", SECCOMP, "LOG: allowed, and noted",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_LOG"}]}}}"#, MKDIR, "/made\n."),
    prints("action_log_as_default", SECCOMP, "LOG may be the default",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#, MKDIR, "not permitted\n."),
    prints("action_allow", SECCOMP, "ALLOW: allowed",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ALLOW"}]}}}"#, MKDIR, "/made\n.")
        ,
    prints("action_kill", SECCOMP, "KILL: the thread dies of SIGSYS",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL"}]}}}"#, "mkdir /made 2>/dev/null; echo $?", "159"),
    prints("action_kill_thread", SECCOMP, "KILL_THREAD: the thread dies of SIGSYS",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL_THREAD"}]}}}"#, "mkdir /made 2>/dev/null; echo $?", "159"),
    prints("action_kill_process", SECCOMP, "KILL_PROCESS: the process dies of SIGSYS",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}]}}}"#, "mkdir /made 2>/dev/null; echo $?", "159"),
    prints("action_trap", SECCOMP, "TRAP: a SIGSYS that can be caught",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_TRAP"}]}}}"#,
        r#"perl -e '$SIG{SYS} = sub { print "caught\n" }; mkdir "/made"'"#, "caught"),
    refuses("an_unknown_action_is_an_error", SECCOMP, "the actions are listed",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_DREAM"}}}"#),
    refuses("a_missing_default_is_an_error", SECCOMP, "the default action is required",
        r#"{"linux": {"seccomp": {"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#),
    refuses("a_rule_without_action_is_an_error", SECCOMP, "its action is required",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"]}]}}}"#),
    refuses("a_rule_without_names_is_an_error", SECCOMP, "there is at least one name",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_ERRNO"}]}}}"#)
        .but(&[(Runc, "takes it for no rule"), (Crun, "takes it for no rule")]),
    refuses("a_number_for_an_action_without_is_an_error", SECCOMP, "only ERRNO and TRACE take a number",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 5}]}}}"#)
        .but(&[(Runc, "ignores it")]),
    refuses("a_number_for_a_default_without_is_an_error", SECCOMP, "only ERRNO and TRACE take a number",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 5, "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#)
        .but(&[(Runc, "ignores it")]),
    prints("unknown_system_calls_are_passed_over", SECCOMP, "a profile may name what a kernel has not",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["no_such_call", "mkdir", "sys_dream"], "action": "SCMP_ACT_ERRNO"}]}}}"#, MKDIR, "not permitted\n."),
    acts("default_errno_ret", SECCOMP, "defaultErrnoRet: the number of the default", |b| {
        let text = include_str!("allowed.txt");
        let allowed: Vec<&str> = text.split_whitespace().collect();
        b.with(json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 19,
            "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}]}}}));
        assert_eq!(b.prints(MKDIR), "No such device\n.");
    }),
    acts("condition_eq", SECCOMP, "EQ", |b| assert_eq!(modes(b, json!([mode("SCMP_CMP_EQ", 0o300, 0)])), "ooroo")),
    acts("condition_ne", SECCOMP, "NE", |b| assert_eq!(modes(b, json!([mode("SCMP_CMP_NE", 0o300, 0)])), "rrorr")),
    acts("condition_lt", SECCOMP, "LT", |b| assert_eq!(modes(b, json!([mode("SCMP_CMP_LT", 0o300, 0)])), "rrooo")),
    acts("condition_le", SECCOMP, "LE", |b| assert_eq!(modes(b, json!([mode("SCMP_CMP_LE", 0o300, 0)])), "rrroo")),
    acts("condition_gt", SECCOMP, "GT", |b| assert_eq!(modes(b, json!([mode("SCMP_CMP_GT", 0o300, 0)])), "ooorr")),
    acts("condition_ge", SECCOMP, "GE", |b| assert_eq!(modes(b, json!([mode("SCMP_CMP_GE", 0o300, 0)])), "oorrr")),
    acts("condition_masked_eq", SECCOMP, "MASKED_EQ: value is the mask, valueTwo what is left", |b| {
        assert_eq!(modes(b, json!([mode("SCMP_CMP_MASKED_EQ", 0o100, 0o100)])), "roror");
    }),
    acts("conditions_of_64_bits", SECCOMP, "values have 64 bits", |b| {
        assert_eq!(modes(b, json!([mode("SCMP_CMP_GE", 0x1_0000_0000, 0)])), "ooooo");
        assert_eq!(modes(b, json!([mode("SCMP_CMP_LT", 0x1_0000_0000, 0)])), "rrrrr");
    }),
    acts("conditions_of_several_arguments_all_hold", SECCOMP, "all conditions of a rule have to hold", |b| {
        let first = json!({"index": 0, "value": 4_294_967_196_u64, "op": "SCMP_CMP_EQ"});
        let never = json!({"index": 0, "value": 7, "op": "SCMP_CMP_EQ"});
        assert_eq!(modes(b, json!([mode("SCMP_CMP_EQ", 0o300, 0), never])), "ooooo");
        // AT_FDCWD is -100, of which the kernel's entry keeps 32 bits or 64, as the caller has them.
        let all = json!({"index": 0, "value": 0xffff_ffff_u64, "valueTwo": first["value"], "op": "SCMP_CMP_MASKED_EQ"});
        assert_eq!(modes(b, json!([mode("SCMP_CMP_EQ", 0o300, 0), all])), "ooroo");
    }),
    acts("rules_for_one_call_are_alternatives", SECCOMP, "several rules for a call each count", |b| {
        let rule = |value: u64| json!({"names": ["fchmodat"], "action": "SCMP_ACT_ERRNO", "args": [mode("SCMP_CMP_EQ", value, 0)]});
        b.with(json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(0o100), rule(0o700)]}}}));
        let script = "touch /f; for m in 0100 0200 0300 0400 0700; do chmod $m /f 2>/dev/null && printf o || printf r; done";
        assert_eq!(b.prints(script), "rooor");
    }),
    refuses("an_unknown_condition_is_an_error", SECCOMP, "the operators are listed",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_DREAM"}]}]}}}"#),
    refuses("a_seventh_argument_is_an_error", SECCOMP, "a system call has six",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}}}"#),
    prints("several_architectures", SECCOMP, "all architectures that are listed are filtered",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#, MKDIR, "not permitted\n."),
    prints("foreign_architectures_are_taken", SECCOMP, "a profile may list architectures of other machines",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#, MKDIR, "not permitted\n."),
    refuses("an_unknown_architecture_is_an_error", SECCOMP, "the architectures are listed",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#),
    prints("flags_are_taken", SECCOMP, "LOG, SPEC_ALLOW and TSYNC are flags",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#, MKDIR, "not permitted\n.").but(&[(Runc, "refuses all flags")]),
    refuses("an_unknown_flag_is_an_error", SECCOMP, "the flags are listed",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_DREAM"], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#),
    acts("further_processes_are_filtered", "runc exec", "the filter is for further processes too", |b| {
        filter(b, json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"})).script("sleep 1000").up();
        let made = b.exec(&["/bin/sh", "-c", MKDIR]).ok();
        assert_eq!(made, "not permitted\n.");
    }),
    acts("the_listener_gets_the_state", STATE, "NOTIFY: the state and the descriptor are sent to listenerPath", |b| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("listener");
        let listener = UnixListener::bind(&path).unwrap();
        filter(b, json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}));
        b.with(json!({"annotations": {"key": "value"}, "linux": {"seccomp": {"listenerPath": path, "listenerMetadata": "some=data"}}}));
        b.script(MKDIR);
        let receiver = std::thread::spawn(move || listen(&listener));
        b.up();
        let (state, fds) = receiver.join().unwrap();
        assert_eq!((fds, &state["fds"]), (1, &json!(["seccompFd"])), "{state}");
        assert_eq!(state["metadata"], json!("some=data"));
        assert!(state["ociVersion"].is_string() && state["pid"].as_u64().is_some_and(|pid| pid > 0), "{state}");
        assert_eq!((&state["state"]["id"], &state["state"]["annotations"]["key"]), (&json!(b.id), &json!("value")));
        assert_eq!(state["state"]["bundle"], json!(b.path("").display().to_string().trim_end_matches('/')));
        assert!(["creating", "created"].contains(&state["state"]["status"].as_str().unwrap()), "{state}");
        // Nobody answers any more: the call is not implemented.
        crate::bundle::eventually("the end", || std::fs::read_to_string(b.path("output")).unwrap().ends_with(".\n"));
        assert_eq!(std::fs::read_to_string(b.path("output")).unwrap(), "not implemented\n.\n");
    }),
    refuses("a_listener_that_is_not_there_is_an_error", SECCOMP, "when it cannot be sent, that is an error",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such/socket", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}}}"#),
    refuses("notify_without_listener_is_an_error", SECCOMP, "NOTIFY takes a listener",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}}}"#).but(&[(Crun, "drops the descriptor")]),
    prints("a_listener_without_notify_is_ignored", SECCOMP, "without NOTIFY listenerPath means nothing",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such/socket", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#, MKDIR, "not permitted\n.").but(&[(Crun, "connects to it")]),
    refuses("metadata_without_listener_is_an_error", SECCOMP, "listenerMetadata needs listenerPath",
        r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}}}"#).but(&[(Runc, "ignores it"), (Crun, "ignores it")]),
];
