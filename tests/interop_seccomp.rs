//! Compiled filters against libseccomp's, which every other runtime uses: crun leaves its program beside the container's
//! state, and both programs are asked about the same calls.

#[allow(dead_code, reason = "each test crate uses another part of it")]
#[path = "support/peers.rs"]
mod peers;
#[allow(dead_code, reason = "each test crate uses another part of it")]
#[path = "support/process.rs"]
mod process;

use std::fs;
use std::path::Path;
use std::process::Command;

use rhumb::runtime::seccomp::ask::{Call, answer};
use rhumb::runtime::seccomp::{Machine, compile_for};
use rhumb::sys::seccomp::Instruction;
use serde_json::{Value, json};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const X32: u32 = 0x4000_0000;
/// `ERRNO(ENOSYS)`, which we give for numbers above all of the profile's and crun does not; runc does.
const NOT_IMPLEMENTED: u32 = 0x0005_0026;

/// crun takes a unified hierarchy beside those of version 1 for a mistake, so it is run where there is none.
const CRUN: &str = r#"umount /sys/fs/cgroup/unified 2>/dev/null; exec crun --cgroup-manager=disabled "$@""#;

fn crun(root: &Path, args: &[&str]) {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", CRUN, "crun", "--root"]).arg(root).args(args);
    process::run(&mut command, None, process::PATIENCE).ok();
}

/// libseccomp's program for a profile.
fn theirs(folder: &Path, profile: &Value) -> Vec<Instruction> {
    let (bundle, root) = (folder.join("bundle"), folder.join("state"));
    for name in ["proc", "dev", "sys", "bin"] {
        fs::create_dir_all(bundle.join("rootfs").join(name)).unwrap();
    }
    fs::copy("/bin/true", bundle.join("rootfs/bin/true")).unwrap();
    let capabilities = ["CAP_CHOWN"];
    let namespaces: Vec<Value> = ["mount", "pid", "ipc", "uts", "network"].map(|kind| json!({"type": kind})).to_vec();
    let config = json!({
        "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "mounts": [], "hostname": "box",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/", "env": [], "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "linux": {"namespaces": namespaces, "seccomp": profile},
    });
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    let id = format!("rhumb-seccomp-{}", std::process::id());
    crun(&root, &["create", "--bundle", bundle.to_str().unwrap(), &id]);
    let bytes = fs::read(root.join(&id).join("seccomp.bpf")).unwrap();
    crun(&root, &["delete", "--force", &id]);
    let instruction = |bytes: &[u8]| Instruction {
        operation: u16::from_ne_bytes([bytes[0], bytes[1]]),
        if_true: bytes[2],
        if_false: bytes[3],
        value: u32::from_ne_bytes(bytes[4..8].try_into().unwrap()),
    };
    bytes.chunks_exact(8).map(instruction).collect()
}

/// Every number of every way into the kernel, with arguments at which rules change their minds.
fn calls(arguments: &[u64]) -> impl Iterator<Item = Call> {
    let ways = [(X86_64, 0), (X86, 0), (X86_64, X32)];
    let numbers = ways.into_iter().flat_map(|(audit, bit)| (0..600).map(move |number| (audit, number | bit)));
    let odd = [(X86_64, u32::MAX), (X86_64, 0x3fff_ffff), (0xc000_00b7, 1), (0, 0)];
    let arguments = arguments.to_vec();
    numbers.chain(odd).flat_map(move |(audit, number)| {
        let arguments = arguments.clone();
        (0..arguments.len()).map(move |first| {
            let mut call = Call { audit, number, ..Call::default() };
            for (index, argument) in call.arguments.iter_mut().enumerate() {
                *argument = arguments[(first + index * 3) % arguments.len()];
            }
            call
        })
    })
}

fn compare(folder: &Path, profile: &Value, arguments: &[u64]) {
    let ours = compile_for(Machine::X86_64, &serde_json::from_value(profile.clone()).unwrap()).unwrap();
    let theirs = theirs(folder, profile);
    let errno = 0x0005_0000 | profile["defaultErrnoRet"].as_u64().unwrap_or(1) as u32;
    let mut compared = 0;
    for call in calls(arguments) {
        // How a call hidden behind another one is treated differs on purpose: see `runtime::seccomp::rules`.
        if call.audit == X86 && matches!(call.number, 102 | 117) {
            continue;
        }
        let (mine, other) = (answer(ours.program(), &call), answer(&theirs, &call));
        let unknown = mine == Some(NOT_IMPLEMENTED) && other == Some(errno);
        assert!(mine == other || unknown, "{call:x?}: {mine:x?}, libseccomp {other:x?}\n{profile}");
        compared += 1;
    }
    assert!(compared > 1000);
}

/// Numbers in no order, the same ones each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.throw(from.len())].clone()
    }
}

const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
const EDGES: [u64; 9] = [0, 1, 7, 40, 0xffff_fffe, 0xffff_ffff, 1 << 32, (1 << 32) | 7, u64::MAX];

/// A profile in which no two rules about one call contradict each other, since what libseccomp makes of those depends on
/// the order of its tree.
fn profile(dice: &mut Dice) -> Value {
    let actions = [
        json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 7}),
        json!({"action": "SCMP_ACT_ERRNO"}),
        json!({"action": "SCMP_ACT_TRAP"}),
        json!({"action": "SCMP_ACT_KILL"}),
        json!({"action": "SCMP_ACT_KILL_PROCESS"}),
        json!({"action": "SCMP_ACT_LOG"}),
        json!({"action": "SCMP_ACT_TRACE", "errnoRet": 3}),
    ];
    let mut names = vec![
        "read",
        "write",
        "open",
        "ioctl",
        "clone",
        "clone3",
        "personality",
        "rt_sigaction",
        "umount2",
        "statx",
        "nonsense",
        "openat2",
        "waitpid",
        "mmap2",
        "arch_prctl",
        "execveat",
        "uselib",
        "futex_time64",
        "getpid",
        "memfd_secret",
    ];
    let mut rules = Vec::new();
    for _ in 0..1 + dice.throw(12) {
        if names.is_empty() {
            break;
        }
        let about: Vec<&str> = (0..1 + dice.throw(3)).filter_map(|_| names.pop()).collect();
        let swap = dice.throw(names.len().max(1));
        let swap = swap.min(names.len());
        names.rotate_left(swap);
        let action = dice.pick(&actions);
        // Several rules with conditions of one argument each, or one with several.
        for _ in 0..1 + dice.throw(3) {
            let mut rule = json!({"names": about});
            rule.as_object_mut().unwrap().extend(action.as_object().unwrap().clone());
            let mut indices: Vec<usize> = (0..6).collect();
            let count = dice.throw(3);
            let args: Vec<Value> = (0..count)
                .map(|_| {
                    let index = indices.remove(dice.throw(indices.len()));
                    let (value, two) = (dice.pick(&EDGES), dice.pick(&EDGES));
                    json!({"index": index, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{}", dice.pick(&OPERATORS))})
                })
                .collect();
            rule["args"] = json!(args);
            rules.push(rule);
            if count != 1 {
                break;
            }
        }
    }
    let architectures = [vec![], vec!["SCMP_ARCH_X86"], vec!["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_X86_64"]];
    json!({
        "defaultAction": dice.pick(&["SCMP_ACT_ALLOW", "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"]),
        "architectures": dice.pick(&architectures), "syscalls": rules,
    })
}

#[test]
fn our_filters_decide_as_libseccomps_do() {
    if cfg!(not(target_arch = "x86_64")) {
        return peers::skip("this compares filters of x86_64");
    }
    if peers::peer("crun").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(2);
    for _ in 0..40 {
        // crun executes its own next steps and the program under the filter only at the start, which never comes.
        compare(folder.path(), &profile(&mut dice), &EDGES);
    }
}

/// Podman's own profile, as it is installed beside crun.
#[test]
fn podmans_profile_is_what_libseccomp_makes_of_it() {
    let path = Path::new("/usr/share/containers/seccomp.json");
    if cfg!(not(target_arch = "x86_64")) || !path.exists() {
        return peers::skip("this is Podman's profile for x86_64");
    }
    if peers::peer("crun").is_none() {
        return;
    }
    let installed: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let plain = |rule: &&Value| rule["includes"] == json!({}) && rule["excludes"] == json!({});
    let rules = installed["syscalls"].as_array().unwrap().iter().filter(plain).map(|rule| {
        let mut rule = rule.clone();
        let fields = rule.as_object_mut().unwrap();
        fields.retain(|key, value| ["names", "action", "args", "errnoRet"].contains(&key.as_str()) && !value.is_null());
        rule
    });
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": rules.collect::<Vec<_>>(),
    });
    let folder = tempfile::tempdir().unwrap();
    compare(folder.path(), &profile, &[0, 8, 9, 16, 40, 0x20000, 0x20008, 0xffff_ffff, u64::MAX]);
}
