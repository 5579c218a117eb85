//! Programs asked without the kernel, against a plain reading of the profile.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::ask::{Call, answer};
use super::*;
use crate::base::Kind;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn profile(json: Value) -> LinuxSeccomp {
    serde_json::from_value(json).unwrap()
}

fn filter(json: Value) -> Filter {
    compile_for(Machine::X86_64, &profile(json)).unwrap()
}

fn refusal(json: Value) -> String {
    let error = compile_for(Machine::X86_64, &profile(json)).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    error.to_string()
}

fn ask(filter: &Filter, audit: u32, number: u32, arguments: &[u64]) -> u32 {
    let mut call = Call { audit, number, ..Call::default() };
    call.arguments[..arguments.len()].copy_from_slice(arguments);
    answer(filter.program(), &call).expect("a program of ours")
}

#[test]
fn actions_are_the_kernels() {
    let of = |action: &str, number: Option<u32>| {
        let mut rule = json!({"names": ["getpid"], "action": action});
        if let Some(number) = number {
            rule["errnoRet"] = json!(number);
        }
        let json = json!({"defaultAction": "SCMP_ACT_LOG", "listenerPath": "/agent", "syscalls": [rule]});
        ask(&filter(json), X86_64, 39, &[])
    };
    assert_eq!(of("SCMP_ACT_KILL", None), 0);
    assert_eq!(of("SCMP_ACT_KILL_THREAD", None), 0);
    assert_eq!(of("SCMP_ACT_KILL_PROCESS", None), 0x8000_0000);
    assert_eq!(of("SCMP_ACT_TRAP", None), 0x0003_0000);
    assert_eq!(of("SCMP_ACT_ERRNO", None), EPERM);
    assert_eq!(of("SCMP_ACT_ERRNO", Some(0)), 0x0005_0000);
    assert_eq!(of("SCMP_ACT_ERRNO", Some(4095)), 0x0005_0fff);
    assert_eq!(of("SCMP_ACT_TRACE", None), 0x7ff0_0001);
    assert_eq!(of("SCMP_ACT_TRACE", Some(65535)), 0x7ff0_ffff);
    assert_eq!(of("SCMP_ACT_NOTIFY", None), 0x7fc0_0000);
    assert_eq!(of("SCMP_ACT_ALLOW", None), 0x7fff_0000);
    assert_eq!(of("SCMP_ACT_LOG", None), 0x7ffc_0000);
}

#[test]
fn each_way_into_the_kernel_has_its_own_numbers() {
    let json = json!({
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_S390X"],
        "syscalls": [{"names": ["ioctl", "read", "clone3", "uselib", "no_such_call"], "action": "SCMP_ACT_ALLOW"}],
    });
    let both = filter(json);
    let ask = |audit, number| ask(&both, audit, number, &[]) == seccomp::ALLOW;
    // x86_64 is in although the profile does not name it.
    assert!(ask(X86_64, 16) && ask(X86_64, 0) && ask(X86_64, 435) && ask(X86_64, 134) && !ask(X86_64, 514));
    assert!(ask(X86, 54) && ask(X86, 3) && ask(X86, 435) && !ask(X86, 16) && ask(X86, 86));
    assert!(ask(X86_64, X32_BIT | 514) && ask(X86_64, X32_BIT) && !ask(X86_64, X32_BIT | 16));
    assert!(!ask(X86_64, X32_BIT | 134), "x32 has no uselib");
    assert!(!ask(0x8000_0016, 3), "the machine is none of these");
    let alone = filter(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    let ask = |audit, number| super::tests::ask(&alone, audit, number, &[]);
    assert_eq!((ask(X86_64, 39), ask(X86, 20), ask(X86_64, X32_BIT | 39)), (seccomp::ALLOW, 0, 0));
    assert_eq!(ask(X86_64, u32::MAX), seccomp::ALLOW, "a call that a tracer took away");
    let arm = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_NATIVE", "SCMP_ARCH_ARM"],
        "syscalls": [{"names": ["newfstatat", "fstatat64", "set_tls", "sync_file_range2"], "action": "SCMP_ACT_ALLOW"}],
    });
    let arm = compile_for(Machine::Aarch64, &profile(arm)).unwrap();
    let ask = |audit, number| super::tests::ask(&arm, audit, number, &[]);
    assert_eq!((ask(AARCH64, 79), ask(ARM, 327)), (seccomp::ALLOW, seccomp::ALLOW));
    assert_eq!((ask(ARM, 0x0f_0005), ask(ARM, 341), ask(ARM, 340)), (seccomp::ALLOW, seccomp::ALLOW, EPERM));
    assert_eq!((ask(ARM, 342), ask(ARM, 0x0f_0006)), (ENOSYS, ENOSYS));
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let of = |default: Value| {
        let mut json = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X32"],
            "syscalls": [
                {"names": ["read", "close_range"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["openat2"], "action": "SCMP_ACT_ERRNO"},
            ],
        });
        json.as_object_mut().unwrap().extend(default.as_object().unwrap().clone());
        filter(json)
    };
    let one = of(json!({}));
    assert_eq!(ask(&one, X86_64, 436, &[]), seccomp::ALLOW);
    // openat2 is named, so the profile is as new as that.
    assert_eq!((ask(&one, X86_64, 435, &[]), ask(&one, X86_64, 437, &[])), (EPERM, EPERM));
    assert_eq!((ask(&one, X86_64, 438, &[]), ask(&one, X86_64, 0x3fff_ffff, &[])), (ENOSYS, ENOSYS));
    assert_eq!((ask(&one, X86_64, X32_BIT | 437, &[]), ask(&one, X86_64, X32_BIT | 438, &[])), (EPERM, ENOSYS));
    let other = of(json!({"defaultErrnoRet": 13}));
    assert_eq!((ask(&other, X86_64, 437, &[]), ask(&other, X86_64, 438, &[])), (EPERM, ENOSYS));
    assert_eq!(ask(&of(json!({"defaultAction": "SCMP_ACT_KILL"})), X86_64, 438, &[]), seccomp::KILL_THREAD);
    assert_eq!(ask(&of(json!({"defaultAction": "SCMP_ACT_TRAP"})), X86_64, 999, &[]), seccomp::TRAP);
}

#[test]
fn arguments_are_compared_in_64_bits() {
    let with = |op: &str, value: u64, two: u64| {
        let arg = json!({"index": 2, "op": op, "value": value, "valueTwo": two});
        let rule = json!({"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [arg]});
        filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [rule]}))
    };
    let edges = [0, 1, 0xffff_ffff, 1 << 32, (1 << 32) + 1, u64::MAX - 1, u64::MAX, 0x5_0000_0003];
    for (op, holds) in OPERATORS {
        for value in edges {
            for two in [0, 1, u64::MAX] {
                let filter = with(op, value, two);
                for argument in edges {
                    let hit = ask(&filter, X86_64, 16, &[7, 7, argument]) == EPERM;
                    assert_eq!(hit, holds(argument, value, two), "{argument:#x} {op} {value:#x} {two:#x}");
                    // 32-bit programs have no upper halves, nor has what they are compared with.
                    let (low, value, two) = (argument & 0xffff_ffff, value & 0xffff_ffff, two & 0xffff_ffff);
                    let hit = ask(&filter, X86, 54, &[7, 7, argument]) == EPERM;
                    assert_eq!(hit, holds(low, value, two), "x86: {argument:#x} {op} {value:#x} {two:#x}");
                }
            }
        }
    }
}

type Holds = fn(u64, u64, u64) -> bool;
const OPERATORS: [(&str, Holds); 7] = [
    ("SCMP_CMP_NE", |argument, value, _| argument != value),
    ("SCMP_CMP_LT", |argument, value, _| argument < value),
    ("SCMP_CMP_LE", |argument, value, _| argument <= value),
    ("SCMP_CMP_EQ", |argument, value, _| argument == value),
    ("SCMP_CMP_GE", |argument, value, _| argument >= value),
    ("SCMP_CMP_GT", |argument, value, _| argument > value),
    ("SCMP_CMP_MASKED_EQ", |argument, value, two| argument & value == two & value),
];

#[test]
fn rules_of_one_call_have_an_order() {
    let arg = |index: u32, value: u64| json!({"index": index, "op": "SCMP_CMP_EQ", "value": value});
    let rule = |errno: u32, args: &[Value]| json!({"names": ["dup2"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args});
    let of = |rules: &[Value]| filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    let ask = |filter: &Filter, arguments: &[u64]| match ask(filter, X86_64, 33, arguments) {
        seccomp::ALLOW => 0,
        other => other & 0xffff,
    };
    let both = of(&[rule(10, &[arg(0, 1), arg(1, 2)]), rule(11, &[arg(0, 1)])]);
    assert_eq!([ask(&both, &[1, 2]), ask(&both, &[1, 3]), ask(&both, &[0, 2])], [10, 11, 0]);
    let same_index = of(&[rule(10, &[arg(0, 1), arg(0, 2), arg(1, 5)])]);
    assert_eq!([ask(&same_index, &[1, 0]), ask(&same_index, &[2, 0]), ask(&same_index, &[9, 5])], [10, 10, 10]);
    assert_eq!(ask(&same_index, &[9, 9]), 0);
    let unconditional = of(&[rule(10, &[arg(0, 1)]), rule(11, &[]), rule(12, &[])]);
    assert_eq!([ask(&unconditional, &[1]), ask(&unconditional, &[2])], [11, 11]);
    let as_default = json!({"names": ["dup2"], "action": "SCMP_ACT_ALLOW"});
    let dropped = of(&[as_default, rule(10, &[arg(0, 1)])]);
    assert_eq!([ask(&dropped, &[1]), ask(&dropped, &[2])], [10, 0]);
}

#[test]
fn calls_behind_another_call_are_covered() {
    let of = |default: &str, action: &str, args: Value| {
        let rule = json!({"names": ["socket", "semop"], "action": action, "args": args});
        filter(json!({"defaultAction": default, "architectures": ["SCMP_ARCH_X86"], "syscalls": [rule]}))
    };
    let vsock = json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": 40}]);
    let (allow, errno) = ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO");
    let denied = of(allow, errno, json!([]));
    assert_eq!(
        (ask(&denied, X86, 359, &[]), ask(&denied, X86, 102, &[1]), ask(&denied, X86, 102, &[2])),
        (EPERM, EPERM, seccomp::ALLOW)
    );
    // The kernel ignores the upper half of the call's number.
    assert_eq!((ask(&denied, X86, 117, &[1]), ask(&denied, X86, 117, &[0x7_0001])), (EPERM, EPERM));
    assert_eq!(ask(&denied, X86, 117, &[2]), seccomp::ALLOW);
    let partly_denied = of(allow, errno, vsock.clone());
    assert_eq!((ask(&partly_denied, X86, 359, &[2]), ask(&partly_denied, X86, 102, &[1])), (seccomp::ALLOW, EPERM));
    let partly_allowed = of(errno, allow, vsock);
    assert_eq!((ask(&partly_allowed, X86, 359, &[40]), ask(&partly_allowed, X86, 102, &[1])), (seccomp::ALLOW, EPERM));
    let allowed = of(errno, allow, json!([]));
    assert_eq!((ask(&allowed, X86, 102, &[1]), ask(&allowed, X86, 102, &[3])), (seccomp::ALLOW, EPERM));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let of = |rule: Value| refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    assert!(of(json!({"names": [], "action": "SCMP_ACT_KILL"})).contains("names no system call"));
    assert!(of(json!({"names": [""], "action": "SCMP_ACT_KILL"})).contains("empty string"));
    let arg = |index: u64| json!({"index": index, "op": "SCMP_CMP_EQ", "value": 1});
    let index = |index| of(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [arg(index)]}));
    assert!(index(6).contains("argument 6") && index(u64::MAX).contains("argument 18446744073709551615"));
    let errno = |action: &str, errno: u64| of(json!({"names": ["read"], "action": action, "errnoRet": errno}));
    assert!(errno("SCMP_ACT_KILL", 1).contains("has no errnoRet") && errno("SCMP_ACT_ALLOW", 0).contains("errnoRet"));
    // Would be ALLOW in the upper half.
    assert!(
        errno("SCMP_ACT_ERRNO", 0x7fff_0000).contains("above 4095") && errno("SCMP_ACT_TRACE", 65536).contains("65535")
    );
    let notify = |rule: Value, path: Value| {
        refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "syscalls": [rule]}))
    };
    let mkdir = json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"});
    assert!(notify(mkdir, json!(null)).contains("listenerPath is not set"));
    let write = json!({"names": ["write"], "action": "SCMP_ACT_NOTIFY"});
    assert!(notify(write, json!("/agent")).contains("SCMP_ACT_NOTIFY cannot be used for the write syscall"));
    let default = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/agent"});
    assert!(refusal(default).contains("SCMP_ACT_NOTIFY cannot be used as default action"));
    let metadata = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"});
    assert!(refusal(metadata).contains("listenerPath is not"));
}

#[test]
fn too_many_rules_are_an_error_and_not_a_smaller_filter() {
    let rule = |value: u64| {
        let arg = json!({"index": 0, "op": "SCMP_CMP_EQ", "value": value});
        json!({"names": ["read", "write", "ioctl"], "action": "SCMP_ACT_ERRNO", "args": [arg]})
    };
    let with =
        |count: u64| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": (0..count).map(rule).collect::<Vec<_>>()});
    assert!(refusal(with(10_000)).contains("4096 instructions"));
    let large = filter(with(300));
    assert!(large.program().len() > 2000 && large.program().len() <= MAX_INSTRUCTIONS);
    for number in [0, 1, 16] {
        assert_eq!((ask(&large, X86_64, number, &[0]), ask(&large, X86_64, number, &[299])), (EPERM, EPERM));
        assert_eq!(ask(&large, X86_64, number, &[300]), seccomp::ALLOW);
    }
    // Many rules that say the same are few instructions.
    let name = |number: usize| json!({"names": ["read", format!("call{number}")], "action": "SCMP_ACT_KILL"});
    let same =
        filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": (0..10_000).map(name).collect::<Vec<_>>()}));
    assert!(same.program().len() < 16);
}

#[test]
fn flags_are_the_kernels() {
    let of = |flags: Value, action: &str| {
        let rule = json!({"names": ["mkdir"], "action": action});
        let mut json = json!({"defaultAction": "SCMP_ACT_LOG", "listenerPath": "/agent", "syscalls": [rule]});
        if !flags.is_null() {
            json["flags"] = flags;
        }
        let filter = filter(json);
        (filter.flags(), filter.listener().is_some())
    };
    let all = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ]);
    assert_eq!(of(json!(null), "SCMP_ACT_ALLOW"), (4, false));
    assert_eq!(of(json!([]), "SCMP_ACT_ALLOW"), (0, false));
    assert_eq!(of(all.clone(), "SCMP_ACT_ALLOW"), (7, false));
    assert_eq!(of(all, "SCMP_ACT_NOTIFY"), (7 | 8 | 32, true));
    let unknown = json!({"defaultAction": "SCMP_ACT_LOG", "flags": ["SECCOMP_FILTER_FLAG_NEW"]});
    assert!(serde_json::from_value::<LinuxSeccomp>(unknown).is_err());
}

#[test]
fn a_filter_can_be_asked_what_it_does_to_a_call() {
    let rules = json!([
        {"names": ["capset"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]},
    ]);
    let filter = filter(json!({"defaultAction": "SCMP_ACT_KILL", "syscalls": rules}));
    assert!(filter.allows("capset") && !filter.allows("read") && !filter.allows("clone") && !filter.allows("none"));
    assert_eq!((filter.action("read"), filter.action("clone"), filter.action("none")), (Some(0), None, None));
}

/// The profile read plainly: rule by rule, in the words of `rules`.
fn expected(json: &Value, arch: u32, number: u32, arguments: &[u64; 6]) -> u32 {
    let named = |name: &str| json["architectures"].as_array().is_some_and(|all| all.contains(&json!(name)));
    let x32 = arch == X86_64 && number & X32_BIT != 0;
    let abi = match arch {
        X86_64 if number == u32::MAX && !named("SCMP_ARCH_X32") => {
            return number_of(&json["defaultAction"], &json["defaultErrnoRet"]);
        }
        X86_64 if !x32 => Abi::X86_64,
        X86_64 if named("SCMP_ARCH_X32") => Abi::X32,
        X86 if named("SCMP_ARCH_X86") => Abi::X86,
        _ => return 0,
    };
    let default = number_of(&json["defaultAction"], &json["defaultErrnoRet"]);
    let mut names = Vec::new();
    let mut newest = None;
    let rules = json["syscalls"].as_array().cloned().unwrap_or_default();
    let about = |rule: &Value, name: &str| rule["names"].as_array().unwrap().iter().any(|one| one == name);
    abi.each(|known, name| {
        if NAMES.contains(&name) && rules.iter().any(|rule| about(rule, name)) {
            newest = newest.max(Some(known));
        }
        if known == number {
            names.push(name);
        }
    });
    if default >> 16 == 5 && newest.is_some_and(|newest| number > newest) {
        return ENOSYS;
    }
    let mut conditional = None;
    for rule in &rules {
        let action = number_of(&rule["action"], &rule["errnoRet"]);
        if action == default || !names.iter().any(|name| about(rule, name)) {
            continue;
        }
        let args = rule["args"].as_array().cloned().unwrap_or_default();
        let narrow = |value: u64| if abi.is_wide() { value } else { value & 0xffff_ffff };
        let holds: Vec<bool> = args
            .iter()
            .map(|arg| {
                let holds = OPERATORS.iter().find(|(op, _)| *op == arg["op"]).unwrap().1;
                let argument = arguments[arg["index"].as_u64().unwrap() as usize];
                let two = arg["valueTwo"].as_u64().unwrap_or(0);
                holds(narrow(argument), narrow(arg["value"].as_u64().unwrap()), narrow(two))
            })
            .collect();
        let mut indices: Vec<&Value> = args.iter().map(|arg| &arg["index"]).collect();
        indices.sort_by_key(|index| index.as_u64());
        indices.dedup();
        let fits = if indices.len() < args.len() { holds.contains(&true) } else { !holds.contains(&false) };
        match (args.is_empty(), fits) {
            (true, _) => return action,
            (false, true) => conditional = conditional.or(Some(action)),
            (false, false) => {}
        }
    }
    conditional.unwrap_or(default)
}

fn number_of(action: &Value, errno: &Value) -> u32 {
    let data = errno.as_u64().unwrap_or(1) as u32;
    match action.as_str().unwrap() {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | data,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | data,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        _ => 0x7fff_0000,
    }
}

/// Values at which comparisons change their minds.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4u64,
        Just(0xffff_fffe),
        Just(0xffff_ffff),
        (1u64 << 32)..(1 << 32) + 3,
        Just(u64::MAX),
        any::<u64>()
    ]
}

fn actions() -> impl Strategy<Value = (&'static str, Option<u32>)> {
    prop_oneof![
        Just(("SCMP_ACT_ALLOW", None)),
        Just(("SCMP_ACT_LOG", None)),
        Just(("SCMP_ACT_TRAP", None)),
        Just(("SCMP_ACT_KILL", None)),
        Just(("SCMP_ACT_KILL_PROCESS", None)),
        (0..40u32).prop_map(|errno| ("SCMP_ACT_ERRNO", Some(errno))),
        Just(("SCMP_ACT_ERRNO", None)),
        (0..9u32).prop_map(|data| ("SCMP_ACT_TRACE", Some(data))),
    ]
}

/// Few enough that rules meet, but no socket or System V calls, which x86 has twice.
const NAMES: [&str; 12] = [
    "read",
    "write",
    "open",
    "ioctl",
    "clone",
    "clone3",
    "personality",
    "rt_sigaction",
    "mseal",
    "umount2",
    "statx",
    "nonsense",
];

fn a_rule() -> impl Strategy<Value = Value> {
    let arg = (0..6u32, 0..OPERATORS.len(), value(), value()).prop_map(
        |(index, op, one, two)| json!({"index": index, "op": OPERATORS[op].0, "value": one, "valueTwo": two}),
    );
    let names = proptest::collection::vec(0..NAMES.len(), 1..4);
    (names, actions(), proptest::collection::vec(arg, 0..4)).prop_map(|(names, (action, errno), args)| {
        let names: Vec<&str> = names.into_iter().map(|name| NAMES[name]).collect();
        json!({"names": names, "action": action, "errnoRet": errno, "args": args})
    })
}

fn a_profile() -> impl Strategy<Value = LinuxSeccomp> {
    let architectures = proptest::sample::subsequence(
        vec!["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"],
        0..4,
    );
    (actions(), architectures, proptest::collection::vec(a_rule(), 0..60)).prop_map(|((default, errno), architectures, rules)| {
        profile(json!({"defaultAction": default, "defaultErrnoRet": errno, "architectures": architectures, "syscalls": rules}))
    })
}

/// Whatever the specification's types can hold.
fn an_absurd_profile() -> impl Strategy<Value = LinuxSeccomp> {
    let actions = || proptest::sample::select(vec!["ALLOW", "ERRNO", "KILL", "LOG", "NOTIFY", "TRACE", "TRAP"]);
    let text = || proptest::option::of("[a-z/\\x00é ]{0,12}");
    let arg = (any::<u64>(), 0..OPERATORS.len(), any::<u64>(), any::<Option<u64>>()).prop_map(
        |(index, op, one, two)| json!({"index": index % 9, "op": OPERATORS[op].0, "value": one, "valueTwo": two}),
    );
    let name = prop_oneof![proptest::sample::select(NAMES.to_vec()).prop_map(str::to_owned), "\\PC{0,40}"];
    let names = proptest::collection::vec(name, 0..8);
    let rule = (names, actions(), any::<Option<u32>>(), proptest::collection::vec(arg, 0..12)).prop_map(
        |(names, action, errno, args)| {
            // Mostly without a number, so that a profile is not mostly refused for that.
            let errno = errno.filter(|errno| errno % 7 == 0);
            json!({"names": names, "action": format!("SCMP_ACT_{action}"), "errnoRet": errno, "args": args})
        },
    );
    let rules = proptest::collection::vec(rule, 0..20);
    (actions(), any::<Option<u32>>(), text(), text(), rules).prop_map(|(default, errno, path, metadata, rules)| {
        let errno = errno.filter(|errno| errno % 5 == 0);
        profile(json!({
            "defaultAction": format!("SCMP_ACT_{default}"), "defaultErrnoRet": errno, "listenerPath": path,
            "listenerMetadata": metadata, "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_ARM"], "syscalls": rules,
        }))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn absurd_profiles_are_refused_or_fit_the_kernel(profile in an_absurd_profile()) {
        for machine in [Machine::X86_64, Machine::Aarch64, Machine::Riscv64] {
            match compile_for(machine, &profile) {
                Ok(filter) => {
                    prop_assert!((1..=MAX_INSTRUCTIONS).contains(&filter.program().len()));
                    let call = Call { audit: u32::MAX, number: u32::MAX, ..Call::default() };
                    prop_assert_eq!(answer(filter.program(), &call), Some(seccomp::KILL_THREAD));
                }
                Err(error) => prop_assert_eq!(error.kind(), Kind::InvalidArgument),
            }
        }
    }

    #[test]
    fn programs_say_what_the_profile_says(
        profile in a_profile(),
        calls in proptest::collection::vec((0..3u8, 0..480u32, proptest::array::uniform6(value())), 16),
        names in proptest::collection::vec((0..NAMES.len(), proptest::array::uniform6(value())), 16),
    ) {
        let filter = compile_for(Machine::X86_64, &profile).unwrap();
        let json = serde_json::to_value(&profile).unwrap();
        let named = names.into_iter().flat_map(|(name, arguments)| {
            let mut found = Vec::new();
            for (abi, audit) in [(Abi::X86_64, X86_64), (Abi::X86, X86), (Abi::X32, X86_64)] {
                abi.each(|number, known| if known == NAMES[name] { found.push((audit, number, arguments)) });
            }
            found
        });
        let any = calls.into_iter().map(|(way, number, arguments)| match way {
            0 => (X86_64, number, arguments),
            1 => (X86, number, arguments),
            _ => (X86_64, number | X32_BIT, arguments),
        });
        let odd = [(X86_64, u32::MAX, [0; 6]), (AARCH64, 5, [0; 6]), (0, 0, [0; 6])];
        for (audit, number, arguments) in named.chain(any).chain(odd) {
            let call = Call { audit, number, arguments, ..Call::default() };
            let answer = answer(filter.program(), &call).unwrap();
            prop_assert_eq!(answer, expected(&json, audit, number, &arguments), "{:?}", call);
        }
    }
}
