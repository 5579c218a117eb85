//! What this runtime supports, as the specification's features document has it (features.md, features-linux.md).
//!
//! It speaks of the runtime and not of this machine, but for the flags of filters that are supported: a caller learns from
//! it what a config.json may say.

use serde_json::{Value, json};

use crate::runtime::mounts;
use crate::runtime::oci::SPEC_VERSION;
use crate::runtime::seccomp;
use crate::sys::capability;

/// The features.
pub fn features() -> Value {
    let prefixed =
        |prefix: &str, names: &[&str]| -> Vec<String> { names.iter().map(|name| format!("{prefix}{name}")).collect() };
    let actions = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP"];
    let operators = ["EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE"];
    // Those of other machines are known as well: a profile may list them, and they are passed over.
    let archs = [
        "AARCH64",
        "ARM",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PARISC",
        "PARISC64",
        "PPC",
        "PPC64",
        "PPC64LE",
        "RISCV64",
        "S390",
        "S390X",
        "X32",
        "X86",
        "X86_64",
    ];
    let flags = ["LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV"];
    let flags = prefixed("SECCOMP_FILTER_FLAG_", &flags);
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mounts::known_options(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capability::known(),
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true},
            "seccomp": {
                "enabled": cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")),
                "actions": prefixed("SCMP_ACT_", &actions),
                "operators": prefixed("SCMP_CMP_", &operators),
                "archs": prefixed("SCMP_ARCH_", &archs),
                "knownFlags": flags,
                "supportedFlags": seccomp::supported_flags(),
            },
            // Of what this runtime does, whatever this kernel has; of SELinux that is the label of the process alone.
            "apparmor": {"enabled": true},
            "selinux": {"enabled": false},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": true}},
        },
        "annotations": {
            "io.github.rhumb.version": env!("CARGO_PKG_VERSION"),
        },
    })
}
