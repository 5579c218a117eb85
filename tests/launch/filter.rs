//! Filters of system calls, enforced by the kernel: every action, further processes, the small init, and an agent that
//! answers notifications.

#![expect(unsafe_code, reason = "an agent talks to the kernel with ioctl")]

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use rhumb::base::Kind;
use rhumb::sys::socket;
use serde_json::{Value, json};

use crate::support::Box_;

/// The tests of this file.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("a_filter_does_what_each_action_says", actions),
    ("a_filter_holds_for_everybody_and_gives_no_rights", everybody),
    ("a_filter_may_forbid_what_its_own_loading_takes", forbids_its_loading),
    ("a_filter_that_makes_no_sense_starts_nothing", nonsense),
    ("an_agent_answers_notifications", agent),
    ("an_agent_may_answer_what_the_runtime_itself_needs", agent_of_everything),
    ("without_its_agent_nothing_starts", no_agent),
    #[cfg(target_arch = "x86_64")]
    ("other_ways_into_the_kernel_are_closed", other_ways),
];

/// A filter that has one rule for making folders.
fn rule(action: Value) -> Value {
    let mut rule = json!({"names": ["mkdir", "mkdirat"]});
    rule.as_object_mut().unwrap().extend(action.as_object().unwrap().clone());
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
}

fn confined(script: &str, filter: Value) -> Box_ {
    Box_::sh(script).edit(|spec| spec["linux"]["seccomp"] = filter)
}

fn actions() {
    let outcome = |action: Value| {
        let script = "mkdir /made 2>/tmp/said; echo $?; cat /tmp/said; ls -d /made 2>/dev/null";
        confined(script, rule(action)).run().unwrap().1
    };
    // 128 and the number of SIGSYS.
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        assert!(outcome(json!({"action": action})).starts_with("159\n"), "{action}");
    }
    assert!(outcome(json!({"action": "SCMP_ACT_ERRNO"})).contains("Operation not permitted"));
    assert!(outcome(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 19})).contains("No such device"));
    assert!(outcome(json!({"action": "SCMP_ACT_TRACE"})).contains("Function not implemented"), "there is no tracer");
    for action in ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"] {
        assert_eq!(outcome(json!({"action": action})), "0\n/made\n");
    }
    let flags = json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    let mut filter = rule(json!({"action": "SCMP_ACT_ERRNO"}));
    filter["flags"] = flags;
    assert_eq!(confined("mkdir /x 2>/dev/null || echo no", filter).run().unwrap().1, "no\n");
}

fn everybody() {
    let status = "grep -E '^(Cap(Inh|Prm|Eff|Amb)|Seccomp)' /proc/self/status; mkdir /x 2>/dev/null || echo no";
    let filter = || rule(json!({"action": "SCMP_ACT_ERRNO"}));
    let plain = Box_::sh(status).run().unwrap().1;
    let (rights, _) = plain.split_once("Seccomp").unwrap();
    let root = confined(status, filter()).run().unwrap().1;
    assert!(root.starts_with(rights) && root.contains("Seccomp:\t2") && root.ends_with("no\n"), "{root}");
    // A user without rights, with and without the promise to gain none.
    for promise in [false, true] {
        let user = confined(status, filter()).with(|plan| plan.user = "www".into());
        let user = user.edit(|spec| spec["process"]["noNewPrivileges"] = json!(promise)).run().unwrap().1;
        assert_eq!(user.matches(":\t0000000000000000").count(), 4, "{user}");
        assert!(user.contains("Seccomp:\t2") && user.ends_with("no\n"), "{user}");
    }
    // The small init, and a further process.
    let held = "sleep 60";
    let held = confined(held, filter()).with(|plan| plan.init = true);
    let _monitor = held.start();
    let (_, said, _) = held.exec(&["sh", "-c", &status.replace("self", "1")]).unwrap();
    assert!(said.starts_with(rights) && said.contains("Seccomp:\t2") && said.ends_with("no\n"), "{said}");
}

fn forbids_its_loading() {
    let names = ["capget", "capset", "prctl", "seccomp", "sendmsg"];
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": names, "action": "SCMP_ACT_KILL_PROCESS"}],
    });
    let script = "grep -E '^(CapPrm|Seccomp):' /proc/self/status";
    let said = confined(script, filter).run().unwrap().1;
    assert_eq!(said, "CapPrm:\t00000000a80425fb\nSeccomp:\t2\n", "execve took the right of loading away");
}

fn nonsense() {
    let refused = |filter: Value| confined("true", filter).run().unwrap_err();
    let arg = json!([{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}]);
    let error = refused(rule(json!({"action": "SCMP_ACT_ERRNO", "args": arg})));
    assert!(error.kind() == Kind::InvalidArgument && error.to_string().contains("argument 6"), "{error}");
    let many: Vec<Value> = (0..10_000u64)
        .map(|value| {
            let args = json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": value}]);
            json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": args})
        })
        .collect();
    let error = refused(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many}));
    assert!(error.to_string().contains("4096 instructions"), "{error}");
}

/// The kernel's `struct seccomp_notif` as words: id; pid and flags; number and audit number; instruction pointer; arguments.
type Notification = [u64; 10];
/// `struct seccomp_notif_resp`: id; value; error and flags.
type Response = [u64; 3];

fn control<T>(fd: &OwnedFd, request: u64, data: &mut T) -> bool {
    // SAFETY: each request below goes with the structure of the size that is part of its number.
    unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(data)) == 0 }
}

/// Accepts `connections` and answers their notifications until nobody is left who could make any: it lets the calls be
/// carried out, but for making folders, which fails with ENODEV. Returns what it was told.
fn serve(listener: UnixListener, connections: usize) -> JoinHandle<Vec<Value>> {
    std::thread::spawn(move || {
        let answering = (0..connections).map(|_| {
            let (stream, _) = listener.accept().unwrap();
            let (mut text, mut buffer, mut fds) = (Vec::new(), [0; 65536], Vec::new());
            while let Ok(count @ 1..) = socket::receive(&stream, &mut buffer, &mut fds) {
                text.extend_from_slice(&buffer[..count]);
            }
            let told: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(fds.len(), 1, "{told}");
            let fd = fds.pop().unwrap();
            std::thread::spawn(move || {
                answer(&fd);
                told
            })
        });
        answering.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn answer(fd: &OwnedFd) {
    const RECEIVE: u64 = 0xc050_2100;
    const SEND: u64 = 0xc018_2101;
    const CONTINUE: u64 = 1;
    const ENODEV: i32 = 19;
    loop {
        let mut interests = [socket::Interest::new(std::os::fd::AsFd::as_fd(fd), true, false)];
        socket::wait(&mut interests, None).unwrap();
        let mut notification: Notification = [0; 10];
        if !control(fd, RECEIVE, &mut notification) {
            if interests[0].hung_up() {
                return; // nobody is left
            }
            continue; // the caller was interrupted
        }
        let number = notification[2] as u32;
        let makes_folder = ["mkdir", "mkdirat"].iter().any(|name| number_of(name) == Some(number));
        let verdict = if makes_folder { u64::from((-ENODEV) as u32) } else { CONTINUE << 32 };
        // The caller may be gone already.
        control(fd, SEND, &mut ([notification[0], 0, verdict] as Response));
    }
}

fn number_of(name: &str) -> Option<u32> {
    name.parse::<syscalls::Sysno>().ok().map(|call| call.id() as u32)
}

fn watched(script: &str, names: Value, more: Value) -> (Box_, UnixListener) {
    let mut container = Box_::sh(script);
    let path = container.path("agent");
    let mut filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "for the agent",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    });
    filter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    container = container.edit(|spec| spec["linux"]["seccomp"] = filter);
    (container, UnixListener::bind(path).unwrap())
}

fn agent() {
    let (container, listener) = watched("mkdir /x 2>&1; sleep 60", json!(["mkdir", "mkdirat"]), json!({}));
    let agent = serve(listener, 2);
    let mut monitor = container.start();
    let (_, said, _) = container.exec(&["sh", "-c", "mkdir /y 2>&1; ls -l /proc/self/fd | wc -l"]).unwrap();
    assert!(said.contains("No such device"), "{said}");
    crate::support::eventually("its first process has its answer", || container.log().contains("No such device"));
    monitor.signal(9).unwrap();
    monitor.join().unwrap();
    let told = agent.join().unwrap();
    for one in &told {
        assert_eq!((&one["fds"], &one["metadata"]), (&json!(["seccompFd"]), &json!("for the agent")), "{one}");
        assert_eq!((&one["state"]["id"], &one["ociVersion"]), (&json!(container.plan.id), &json!("1.2.0")), "{one}");
    }
    assert_eq!((&told[0]["state"]["status"], &told[1]["state"]["status"]), (&json!("creating"), &json!("running")));
    assert_eq!((&told[0]["pid"], &told[0]["pid"]), (&told[0]["state"]["pid"], &told[1]["state"]["pid"]));
    assert_ne!(told[1]["pid"], told[0]["pid"]);
}

fn agent_of_everything() {
    let names = [
        "sendmsg", "recvmsg", "recvfrom", "read", "close", "ppoll", "poll", "execve", "openat", "mmap", "prctl",
        "capset",
    ];
    let flags = json!({"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"]});
    let (container, listener) = watched("echo done; grep CapPrm /proc/self/status", json!(names), flags);
    let agent = serve(listener, 1);
    let (code, said, error) = container.run().unwrap();
    assert_eq!((code, said.as_str()), (0, "done\nCapPrm:\t00000000a80425fb\n"), "{error}");
    agent.join().unwrap();
}

fn no_agent() {
    let (container, listener) = watched("touch /ran", json!(["mkdir"]), json!({}));
    drop(listener);
    let error = container.run().unwrap_err();
    assert!(error.to_string().contains("agent at"), "{error}");
    assert!(!container.path("upper/ran").exists());
    let (nowhere, listener) = watched("true", json!(["mkdir"]), json!({}));
    drop(listener);
    fs::remove_file(nowhere.path("agent")).unwrap();
    assert_eq!(nowhere.run().unwrap_err().kind(), Kind::NotFound);
}

/// On x86_64 a program can use the numbers of x32 at any time, so a filter that forgets them is none.
#[cfg(target_arch = "x86_64")]
fn other_ways() {
    let script = "perl -e 'my $p = \"/x\"; syscall(0x40000000 | 83, $p, 0755)'; echo $?; perl -e 'print syscall(39) > 0 ? 1 : 0'";
    let filter = rule(json!({"action": "SCMP_ACT_ERRNO"}));
    assert_eq!(confined(script, filter.clone()).run().unwrap().1, "159\n1");
    let mut named = filter;
    named["architectures"] = json!(["SCMP_ARCH_X32", "SCMP_ARCH_X86"]);
    let container = confined(&script.replace("0755)", "0755); print $!+0"), named);
    assert_eq!(container.run().unwrap().1, "10\n1");
}
