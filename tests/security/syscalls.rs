//! System calls: what the default filter keeps from containers, what capabilities open again, and profiles of the user's.

use std::fs;

use crate::stage::Stage;

/// The number of a system call on this machine.
fn number(name: &str) -> i32 {
    name.parse::<syscalls::Sysno>().unwrap_or_else(|()| panic!("{name}")).id()
}

/// Perl that makes each of these calls with numbers for arguments and prints its name and the error's number, 0 for none.
/// Only for calls that lead to nothing when they are allowed.
fn attempts(calls: &[(&str, &str)]) -> String {
    let attempt = |(name, arguments): &(&str, &str)| {
        let number = number(name);
        format!("$! = 0; my $r = syscall({number}, {arguments}); print qq({name} ), $r < 0 ? $! + 0 : 0, qq(\\n);")
    };
    calls.iter().map(attempt).collect()
}

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
/// CLONE_NEWUSER.
const NEW_USERS: &str = "0x10000000";

/// Row 17: with a user namespace of its own a process could mount cgroups and set their `release_agent`, which the host
/// runs; and what else leads to the kernel's rarer parts.
#[test]
fn cve_2022_0492() {
    let stage = Stage::new();
    let forbidden = [
        ("unshare", NEW_USERS),
        ("unshare", "0x20000"),
        ("clone", "0x10000011, 0, 0, 0, 0"),
        ("setns", "-1, 0"),
        ("mount", "0, 0, 0, 0, 0"),
        ("umount2", "0, 0"),
        ("fsopen", "0, 0"),
        ("open_tree", "-1, 0, 0"),
        ("move_mount", "-1, 0, -1, 0, 0"),
        ("keyctl", "0, -3, 0, 0, 0"),
        ("add_key", "0, 0, 0, 0, 0"),
        ("request_key", "0, 0, 0, 0"),
        ("bpf", "0, 0, 0"),
        ("perf_event_open", "0, 0, -1, -1, 0"),
        ("userfaultfd", "-1"),
        ("io_uring_setup", "0, 0"),
        ("open_by_handle_at", "-1, 0, 0"),
        ("init_module", "0, 0, 0"),
        ("finit_module", "-1, 0, 0"),
        ("kexec_load", "0, 0, 0, 0"),
        ("reboot", "0, 0, 0, 0"),
        ("syslog", "3, 0, 0"),
        ("settimeofday", "0, 0"),
        ("swapon", "0, 0"),
        ("acct", "-1"),
        ("pivot_root", "0, 0"),
        ("quotactl", "0, 0, 0, 0"),
        ("fanotify_init", "-1, 0"),
        ("mbind", "0, 0, 0, 0, 0, 0"),
        // The kernel's cryptography, and virtual machines past all network namespaces.
        ("socket", "38, 5, 0"),
        ("socket", "40, 1, 0"),
        // READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE.
        ("personality", "0x400000"),
        ("personality", "0x40000"),
    ];
    let expected: String = forbidden.iter().map(|(name, _)| format!("{name} {EPERM}\n")).collect();
    let outcome = stage.run(&["base:1", "perl", "-e", &attempts(&forbidden)]);
    assert_eq!(outcome.ok() + "\n", expected);
    // For every user and for processes that come later alike; a call whose flags no filter sees does not exist.
    let some = [("unshare", NEW_USERS), ("bpf", "0, 0, 0"), ("clone3", "0, 0")];
    let expected = format!("unshare {EPERM}\nbpf {EPERM}\nclone3 {ENOSYS}");
    assert_eq!(stage.run(&["--init", "--user", "1000", "base:1", "perl", "-e", &attempts(&some)]).ok(), expected);
    stage.sleeper(&["base:1"]);
    assert_eq!(stage.rhumb.run(["exec", "box", "perl", "-e", &attempts(&some)]).ok(), expected);
    assert_eq!(stage.rhumb.run(["exec", "--privileged", "box", "perl", "-e", &attempts(&some)]).ok(), expected);
    stage.rhumb.run(["rm", "-f", "box"]).ok();
    // The benign twins: what programs live on.
    let fine = [
        ("getpid", "0"),
        ("socket", "1, 1, 0"),
        ("socket", "2, 1, 0"),
        ("socket", "16, 3, 0"),
        ("personality", "0xffffffff"),
        ("memfd_create", "$ARGV[0], 0"),
        ("chroot", "$ARGV[1]"),
        ("sched_yield", "0"),
    ];
    let expected: String = fine.iter().map(|(name, _)| format!("{name} 0\n")).collect();
    assert_eq!(stage.run(&["base:1", "perl", "-e", &attempts(&fine), "x", "/"]).ok() + "\n", expected);
    stage.quiet();
}

#[test]
fn capabilities_and_options_open_the_filter() {
    let stage = Stage::new();
    let calls = [("unshare", "0x4000000"), ("keyctl", "0, -3, 0, 0, 0"), ("personality", "0x40000")];
    let script = attempts(&calls);
    let says = |options: &[&str]| stage.run(&[options, &["base:1", "perl", "-e", &script]].concat()).ok();
    // A new uts namespace is an administrator's; keys are nobody's.
    assert_eq!(says(&["--cap-add", "SYS_ADMIN"]), "unshare 0\nkeyctl 1\npersonality 1");
    assert_eq!(
        says(&["--cap-add", "SYS_ADMIN", "--security-opt", "no-new-privileges"]),
        "unshare 0\nkeyctl 1\npersonality 1"
    );
    assert_eq!(says(&["--cap-drop", "ALL"]), "unshare 1\nkeyctl 1\npersonality 1");
    let without = says(&["--security-opt", "seccomp=unconfined"]);
    assert!(without.starts_with("unshare 1\n") && without.ends_with("\npersonality 0"), "{without}");
    assert!(says(&["--privileged"]).starts_with("unshare 0\n"));
    let status =
        |options: &[&str]| stage.run(&[options, &["base:1", "grep", "^Seccomp:", "/proc/1/status"]].concat()).ok();
    assert_eq!(status(&[]), "Seccomp:\t2");
    assert_eq!(status(&["--init"]), "Seccomp:\t2");
    assert_eq!(status(&["--privileged"]), "Seccomp:\t0");
    assert_eq!(status(&["--security-opt", "seccomp=unconfined"]), "Seccomp:\t0");
}

#[test]
fn a_profile_of_the_users_takes_the_place_of_the_default() {
    let stage = Stage::new();
    let path = stage.rhumb.path("profile.json");
    let option = format!("seccomp={}", path.display());
    let with = |profile: &str| {
        fs::write(&path, profile).unwrap();
        stage.run(&[
            "--security-opt",
            &option,
            "base:1",
            "sh",
            "-c",
            "mkdir /x 2>/dev/null && echo made || echo refused",
        ])
    };
    let conditional = r#"{
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [{
            "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "comment": "a test",
            "includes": {"minKernel": "4.8", "caps": ["CAP_CHOWN"]}, "excludes": {"caps": ["CAP_SYS_ADMIN"]}
        }]
    }"#;
    assert_eq!(with(conditional).ok(), "refused");
    assert_eq!(with(&conditional.replace("CAP_CHOWN", "CAP_SYS_MODULE")).ok(), "made");
    assert_eq!(with(&conditional.replace("4.8", "99.0")).ok(), "made");
    // Never a container with a filter other than the one that was asked for.
    for wrong in ["", "{", "[]", r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#, &conditional.replace("4.8", "old")] {
        stage.refused(&with(wrong));
    }
    let many: Vec<String> = (0..5000)
        .map(|value| {
            let arg = format!(r#"{{"index": 1, "op": "SCMP_CMP_EQ", "value": {value}}}"#);
            format!(r#"{{"names": ["write"], "action": "SCMP_ACT_ERRNO", "args": [{arg}]}}"#)
        })
        .collect();
    let many = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{}]}}"#, many.join(","));
    let refusal = stage.refused(&with(&many));
    assert!(refusal.contains("4096 instructions"), "{refusal}");
}
