//! What a specification's `process` can ask for: rights, limits, scheduling, masks, labels, and how programs are found.

use std::fs;

use rhumb::base::Kind;
use rhumb::runtime::state::Life;
use serde_json::{Value, json};

use crate::support::Box_;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("the_five_sets_of_rights_are_what_was_asked_for", rights),
    ("rights_that_are_not_held_are_left_out", rights_not_held),
    ("the_scheduler_and_priorities_are_set", scheduling),
    ("the_mask_and_the_execution_domain_are_set", mask_and_domain),
    ("limits_that_make_no_sense_are_refused_before_anything", bad_limits),
    ("every_limit_is_set", every_limit),
    ("a_label_of_an_absent_module_is_refused", labels),
    ("a_further_process_has_its_own_cpus", affinity),
    ("row_13_nothing_is_inheritable_in_further_processes", inheritable),
    ("row_2_a_working_folder_cannot_lead_outside", working_folder_outside),
    ("programs_are_found_as_docker_finds_them", programs),
];

const SETS: &str = "grep -E '^Cap' /proc/self/status | tr -s '\\t\\n' '  '";

fn out(container: &Box_) -> String {
    let (code, out, err) = container.run().unwrap();
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

fn process(container: Box_, change: impl FnOnce(&mut Value)) -> Box_ {
    container.edit(|spec| change(&mut spec["process"]))
}

fn refused(change: impl FnOnce(&mut Value)) -> rhumb::base::Error {
    let container = process(Box_::new(&["true"]), change);
    let error = container.run().unwrap_err();
    assert!(!matches!(container.life(), Life::Alive(_)), "nothing was made");
    error
}

fn rights() {
    let sets = |user: u32, sets: Value| {
        let container = process(Box_::sh(SETS), |process| {
            process["user"] = json!({"uid": user, "gid": 0});
            process["capabilities"] = sets;
        });
        out(&container)
    };
    let kill = json!(["CAP_KILL"]);
    // Kill is the fifth bit. For a user only what is ambient stays, for root what is bounded.
    let all = json!({"bounding": kill, "effective": kill, "permitted": kill, "inheritable": kill, "ambient": kill});
    let twenty = "0000000000000020";
    assert_eq!(
        sets(33, all),
        format!("CapInh: {twenty} CapPrm: {twenty} CapEff: {twenty} CapBnd: {twenty} CapAmb: {twenty} ")
    );
    let zero = "0000000000000000";
    let bounded = json!({"bounding": kill, "effective": kill, "permitted": kill});
    assert_eq!(
        sets(33, bounded.clone()),
        format!("CapInh: {zero} CapPrm: {zero} CapEff: {zero} CapBnd: {twenty} CapAmb: {zero} ")
    );
    assert_eq!(
        sets(0, bounded),
        format!("CapInh: {zero} CapPrm: {twenty} CapEff: {twenty} CapBnd: {twenty} CapAmb: {zero} ")
    );
    // Ambient without inheritable is nothing.
    let ambient = json!({"bounding": kill, "permitted": kill, "ambient": kill});
    assert!(sets(33, ambient).ends_with(&format!("CapAmb: {zero} ")));
    assert!(sets(0, json!({})).contains(&format!("CapBnd: {zero}")));
}

fn rights_not_held() {
    let held = rhumb::sys::capability::held().unwrap();
    let all = rhumb::sys::capability::known();
    let container = process(Box_::sh("grep CapBnd /proc/self/status"), |process| {
        process["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
    });
    let text = out(&container);
    let bits = u64::from_str_radix(text.split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_eq!(bits.count_ones() as usize, held.len(), "{text}");
}

fn scheduling() {
    let container = process(Box_::new(&["perl", "-e", SHOW]), |process| {
        process["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
        process["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
    });
    assert_eq!(out(&container), "7 3 3\n");
    // With users of its own, too.
    let users = process(Box_::new(&["perl", "-e", SHOW]), |process| {
        process["scheduler"] = json!({"policy": "SCHED_IDLE"});
        process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    });
    let users = users.edit(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 300_000, "size": 65_536}]);
        (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (map.clone(), map);
    });
    assert_eq!(out(&users), "0 5 2\n");
    for scheduler in [
        json!({"policy": "SCHED_OTHER", "nice": -21}),
        json!({"policy": "SCHED_OTHER", "priority": 3}),
        json!({"policy": "SCHED_FIFO"}),
        json!({"policy": "SCHED_BATCH", "deadline": 3}),
    ] {
        assert_eq!(refused(|process| process["scheduler"] = scheduler).kind(), Kind::InvalidArgument);
    }
    let bad = json!({"class": "IOPRIO_CLASS_RT", "priority": 8});
    assert_eq!(refused(|process| process["ioPriority"] = bad).kind(), Kind::InvalidArgument);
}

/// Nice, policy, and the class of input and output. proc(5): nice is the 19th field, the policy the 41st; ioprio_get(2) is
/// 252 on x86_64, 31 on aarch64.
const SHOW: &str = if cfg!(target_arch = "x86_64") {
    r#"open F, "/proc/self/stat"; $_ = <F>; s/.*\) //; @f = split; print "$f[16] $f[38] ", syscall(252, 1, 0) >> 13, "\n";"#
} else {
    r#"open F, "/proc/self/stat"; $_ = <F>; s/.*\) //; @f = split; print "$f[16] $f[38] ", syscall(31, 1, 0) >> 13, "\n";"#
};

fn mask_and_domain() {
    assert_eq!(out(&Box_::sh("umask")), "0022\n");
    let container = process(Box_::sh("umask"), |process| process["user"]["umask"] = json!(0o137));
    assert_eq!(out(&container), "0137\n");
    let domain =
        |domain: Value| Box_::sh("cat /proc/self/personality").edit(|spec| spec["linux"]["personality"] = domain);
    assert_eq!(out(&domain(json!({"domain": "LINUX32"}))), "00000008\n");
    assert_eq!(out(&domain(json!({"domain": "LINUX"}))), "00000000\n");
    let flags = domain(json!({"domain": "LINUX", "flags": ["SHORT_INODE"]})).run().unwrap_err();
    assert_eq!(flags.kind(), Kind::Unsupported);
    assert_eq!(refused(|process| process["user"]["umask"] = json!(0o7777)).kind(), Kind::InvalidArgument);
}

fn bad_limits() {
    let twice =
        json!([{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 5}, {"type": "RLIMIT_NOFILE", "soft": 6, "hard": 6}]);
    assert!(refused(|process| process["rlimits"] = twice).to_string().contains("RLIMIT_NOFILE"));
    let inverted = json!([{"type": "RLIMIT_NOFILE", "soft": 6, "hard": 5}]);
    assert_eq!(refused(|process| process["rlimits"] = inverted).kind(), Kind::InvalidArgument);
}

fn every_limit() {
    // What every kernel lets anybody lower: name in a specification, line of /proc/self/limits.
    let limits = [
        ("RLIMIT_CPU", "Max cpu time"),
        ("RLIMIT_FSIZE", "Max file size"),
        ("RLIMIT_CORE", "Max core file size"),
        ("RLIMIT_RSS", "Max resident set"),
        ("RLIMIT_NPROC", "Max processes"),
        ("RLIMIT_LOCKS", "Max file locks"),
        ("RLIMIT_SIGPENDING", "Max pending signals"),
        ("RLIMIT_RTTIME", "Max realtime timeout"),
    ];
    let wanted: Vec<Value> = limits.iter().map(|(typ, _)| json!({"type": typ, "soft": 1000, "hard": 1001})).collect();
    let text = out(&process(Box_::new(&["cat", "/proc/self/limits"]), |process| process["rlimits"] = json!(wanted)));
    for (_, line) in limits {
        let line = text.lines().find(|text| text.starts_with(line)).unwrap();
        assert!(line.contains("1000 ") && line.contains("1001 "), "{line}");
    }
    // Absurd numbers are what the kernel makes of them, or its refusal.
    let huge = json!([{"type": "RLIMIT_NOFILE", "soft": u64::MAX, "hard": u64::MAX}]);
    let error = process(Box_::new(&["true"]), |process| process["rlimits"] = huge).run().unwrap_err();
    assert!(error.to_string().contains("setting the limit nofile to unlimited:unlimited"), "{error}");
}

fn labels() {
    if !std::path::Path::new("/sys/module/apparmor").exists() {
        assert_eq!(refused(|process| process["apparmorProfile"] = json!("x")).kind(), Kind::Unsupported);
    }
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        assert_eq!(refused(|process| process["selinuxLabel"] = json!("x")).kind(), Kind::Unsupported);
    }
}

fn affinity() {
    let container = process(Box_::new(&["sleep", "60"]), |process| {
        process["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    });
    let _monitor = container.start();
    let (_, text, err) = container.exec(&["grep", "Cpus_allowed_list", "/proc/1/status", "/proc/self/status"]).unwrap();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap();
    let expected = format!("/proc/1/status:Cpus_allowed_list:\t{own}\n/proc/self/status:Cpus_allowed_list:\t0\n");
    assert_eq!(text, expected, "{err}");
    let bad = refused(|process| process["execCPUAffinity"] = json!({"initial": "0-99999999"}));
    assert_eq!(bad.kind(), Kind::InvalidArgument);
}

fn inheritable() {
    let container = Box_::new(&["sleep", "60"]);
    let _monitor = container.start();
    let (_, text, _) = container.exec(&["sh", "-c", SETS]).unwrap();
    assert!(text.contains("CapInh: 0000000000000000") && text.contains("CapAmb: 0000000000000000"), "{text}");
}

fn working_folder_outside() {
    for cwd in ["/proc/self/fd/7", "/proc/self/fd/5/../../..", "/proc/self/cwd/../../.."] {
        let container = process(Box_::sh("pwd; ls /bin/sh"), |process| process["cwd"] = json!(cwd));
        match container.run() {
            Ok((_, text, _)) => assert!(text.starts_with('/') && !text.contains("unreachable"), "{cwd}: {text}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert_eq!(refused_later("relative").kind(), Kind::InvalidArgument);
}

fn refused_later(cwd: &str) -> rhumb::base::Error {
    process(Box_::new(&["true"]), |process| process["cwd"] = json!(cwd)).run().unwrap_err()
}

fn programs() {
    for (args, code, text) in [
        (["no-such-program"], 127, "exec: \"no-such-program\": executable file not found in $PATH"),
        (["/no/such"], 127, "exec: \"/no/such\": stat /no/such: no such file or directory"),
        (["/bin"], 126, "exec: \"/bin\": is a directory"),
        (["not-executable"], 126, "exec: \"not-executable\": permission denied"),
        (["nonsense"], 126, "exec: \"nonsense\": exec format error"),
    ] {
        let error = Box_::new(&args).run().unwrap_err();
        assert_eq!((error.failure().unwrap().exit_code, error.message()), (code, text));
    }
    let path = process(Box_::new(&["true"]), |process| process["env"] = json!(["PATH=:/nowhere:/bin"]));
    assert_eq!(path.run().unwrap().0, 0);
}
