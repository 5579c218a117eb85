//! `features.md` and `features-linux.md`: what the runtime says of itself is true.

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::case::{Case, acts};
use crate::runtime::Runtime::{Crun, Runc};

const VERSION: &str = "features.md#featuresSpecificationVersion";
const LINUX: &str = "features-linux.md#linuxFeatures";
const NONE: &str = "has no features document";

fn features(bundle: &Bundle) -> Value {
    let text = bundle.call(&["features"]).ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn texts<'a>(features: &'a Value, pointer: &str) -> Vec<&'a str> {
    let array = features.pointer(pointer).and_then(Value::as_array);
    array.unwrap_or_else(|| panic!("no {pointer} in {features}")).iter().map(|text| text.as_str().unwrap()).collect()
}

fn numbers(version: &str) -> Vec<u32> {
    version.split(['.', '-', '+']).take(3).map(|number| number.parse().unwrap()).collect()
}

pub(crate) const CASES: &[Case] = &[
    acts("features_have_versions_that_are_accepted", VERSION, "the runtime accepts both versions", |b| {
        let features = features(b);
        let (min, max) = (features["ociVersionMin"].as_str().unwrap(), features["ociVersionMax"].as_str().unwrap());
        assert!(numbers(min) <= numbers(max), "{min} {max}");
        for version in [min, max] {
            b.with(json!({"ociVersion": version}));
            assert_eq!(b.prints("echo ok"), "ok");
        }
    }).but(&[(Crun, NONE)]),
    acts("features_have_null_for_nothing", "features.md#features", "null is not a value", |b| {
        let features = features(b);
        for pointer in ["/hooks", "/mountOptions", "/linux/namespaces", "/linux/capabilities", "/linux/seccomp/actions"] {
            assert!(!texts(&features, pointer).is_empty());
        }
    }).but(&[(Crun, NONE)]),
    acts("features_of_hooks_are_true", "features.md#featuresHooks", "the hooks that are listed are supported", |b| {
        let features = features(b);
        let hooks = texts(&features, "/hooks");
        assert_eq!(hooks.len(), 6, "{hooks:?}");
        for hook in hooks {
            b.with(json!({"hooks": {hook: [{"path": "/bin/true", "args": ["true"]}]}}));
        }
        b.script("true").up().until("stopped").delete();
    }).but(&[(Crun, NONE)]),
    acts("features_of_mounts_are_true", "features.md#featuresMountOptions", "the options that are listed are known", |b| {
        let features = features(b);
        let folder = b.folder("source").display().to_string();
        for (number, option) in texts(&features, "/mountOptions").into_iter().enumerate() {
            // These two are errors by themselves, and the first has nothing to mount again.
            if matches!(option, "remount" | "idmap" | "ridmap" | "acl" | "noacl") {
                continue;
            }
            b.mount(&format!("/mnt{number}"), "none", &folder, &["rbind", option]);
        }
        assert_eq!(b.prints("echo ok"), "ok");
    }).but(&[(Runc, "lists ratime, which it cannot set"), (Crun, NONE)]),
    acts("features_of_namespaces_are_true", "features-linux.md#linuxFeaturesNamespaces", "the types that are listed are known", |b| {
        let features = features(b);
        let names = texts(&features, "/linux/namespaces");
        let all: Vec<Value> = names.iter().map(|name| json!({"type": name})).collect();
        b.with(json!({"linux": {"namespaces": all, "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 100}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 100}]}}));
        assert_eq!(b.prints("echo ok"), "ok");
        for name in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts", "time"] {
            assert!(names.contains(&name), "{name} is missing");
        }
    }).but(&[(Runc, "the time namespace is new in 1.1 of the specification"), (Crun, NONE)]),
    acts("features_of_capabilities_are_true", "features-linux.md#linuxFeaturesCapabilities", "the names are known", |b| {
        let features = features(b);
        let names = texts(&features, "/linux/capabilities");
        assert!(names.len() >= 41 && names.iter().all(|name| name.starts_with("CAP_")), "{names:?}");
        b.with(json!({"process": {"capabilities": {"bounding": names}}}));
        let outcome = b.script("grep CapBnd /proc/self/status").run();
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let own = own.lines().find(|line| line.starts_with("CapBnd")).unwrap().to_owned();
        assert_eq!(outcome.stdout.trim(), own, "{outcome}");
    }).but(&[(Crun, NONE)]),
    acts("features_of_seccomp_are_true", "features-linux.md#linuxFeaturesSeccomp", "actions, operators, architectures and flags are known", |b| {
        let features = features(b);
        assert_eq!(features["linux"]["seccomp"]["enabled"], json!(true));
        let mut rules = Vec::new();
        // Calls that no program here makes.
        let mut names = ["acct", "swapon", "swapoff", "reboot", "sethostname", "settimeofday", "quotactl", "syslog", "kexec_load"].iter();
        for action in texts(&features, "/linux/seccomp/actions") {
            if !matches!(action, "SCMP_ACT_ALLOW" | "SCMP_ACT_NOTIFY") {
                rules.push(json!({"names": [names.next().unwrap()], "action": action}));
            }
        }
        for operator in texts(&features, "/linux/seccomp/operators") {
            rules.push(json!({"names": ["vhangup"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 5, "value": 9, "valueTwo": 9, "op": operator}]}));
        }
        let archs = texts(&features, "/linux/seccomp/archs");
        assert!(archs.contains(&"SCMP_ARCH_X86_64") && archs.contains(&"SCMP_ARCH_AARCH64"), "{archs:?}");
        let flags = features["linux"]["seccomp"]["supportedFlags"].as_array().cloned().unwrap_or_default();
        let flags: Vec<Value> = flags.into_iter().filter(|flag| flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV").collect();
        b.with(json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "flags": flags, "architectures": archs}}}));
        assert_eq!(b.prints("echo ok"), "ok");
    }).but(&[(Runc, "lists architectures of another byte order, which it cannot filter"), (Crun, NONE)]),
    acts("features_of_cgroups_are_said", "features-linux.md#linuxFeaturesCgroup", "what is supported is said", |b| {
        let features = features(b);
        let cgroup = &features["linux"]["cgroup"];
        assert_eq!((&cgroup["v1"], &cgroup["v2"]), (&json!(true), &json!(true)));
    }).but(&[(Crun, NONE)]),
    acts("features_are_those_of_this_version", LINUX, "apparmor, selinux, rdt and mapped mounts are told", |b| {
        let features = features(b);
        for pointer in ["/linux/apparmor/enabled", "/linux/selinux/enabled", "/linux/intelRdt/enabled", "/linux/mountExtensions/idmap/enabled"] {
            assert!(features.pointer(pointer).is_some_and(Value::is_boolean), "no {pointer} in {features}");
        }
    }).but(&[(Runc, "parts are new in 1.1 and 1.2"), (Crun, NONE)]),
];
