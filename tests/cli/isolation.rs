//! What a container may do and see, end to end: rights, devices, masked paths, namespaces, ids of its own.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use crate::support::{BASE, Rhumb};

/// Runs `sh -c script` in a container with these flags.
#[track_caller]
fn sh(rhumb: &Rhumb, flags: &str, script: &str) -> String {
    let args = ["run", "--rm"].into_iter().chain(flags.split_whitespace()).chain([BASE, "sh", "-c", script]);
    rhumb.run(args).ok()
}

fn capabilities(status: &str) -> Vec<u64> {
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap().trim();
    sets.iter().map(|name| u64::from_str_radix(line(name), 16).unwrap()).collect()
}

const STATUS: &str = "cat /proc/self/status";
/// Docker's fourteen, as the kernel's bits.
const DEFAULT: u64 = 0xa804_25fb;

#[test]
fn rights_are_dockers_and_never_more_than_the_engines() {
    let rhumb = Rhumb::with_base();
    let own = capabilities(&std::fs::read_to_string("/proc/self/status").unwrap());
    let of = |flags: &str| capabilities(&sh(&rhumb, flags, STATUS));
    assert_eq!(of(""), [0, DEFAULT, DEFAULT, DEFAULT, 0]);
    assert_eq!(of("--cap-drop all"), [0; 5]);
    assert_eq!(of("--cap-drop ALL --cap-add net_raw"), [0, 1 << 13, 1 << 13, 1 << 13, 0]);
    assert_eq!(of("--cap-add ALL"), [0, own[3], own[3], own[3], 0]);
    assert_eq!(of("--privileged --cap-drop ALL"), [0, own[3], own[3], own[3], 0], "as with Docker");
    assert_eq!(of("--privileged --user 1234"), [0, 0, 0, own[3], 0]);
    let status = sh(&rhumb, "--security-opt no-new-privileges", STATUS);
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let status = sh(&rhumb, "--security-opt no-new-privileges=false", STATUS);
    assert!(status.contains("NoNewPrivs:\t0"), "{status}");
    let missing = (0..41).find(|bit| own[3] & (1 << bit) == 0);
    if missing == Some(24) {
        rhumb.run(["run", "--cap-add", "SYS_RESOURCE", BASE, "true"]).fails_with(125, "does not hold");
    }
    rhumb.run(["run", "--cap-add", "NET_ADMN", BASE, "true"]).fails_with(125, "CAP_NET_ADMIN");
}

#[test]
fn an_exec_has_the_containers_rights_or_all() {
    let rhumb = Rhumb::with_base();
    let own = capabilities(&std::fs::read_to_string("/proc/self/status").unwrap());
    let flags =
        ["run", "-d", "--name", "box", "--cap-drop", "ALL", "--group-add", "7", "-e", "A=1", BASE, "sleep", "300"];
    rhumb.run(flags).ok();
    let exec = |flags: &str, script: &str| {
        let args = ["exec"].into_iter().chain(flags.split_whitespace()).chain(["box", "sh", "-c", script]);
        rhumb.run(args).ok()
    };
    assert_eq!(capabilities(&exec("", STATUS)), [0; 5]);
    assert_eq!(capabilities(&exec("--privileged", STATUS)), [0, own[3], own[3], own[3], 0]);
    assert_eq!(capabilities(&exec("--privileged --user 33", STATUS)), [0, 0, 0, own[3], 0]);
    assert_eq!(exec("--user 33:44", "id -u; id -g; id -G"), "33\n44\n44 7");
    // The environment is the image's and what the flags say, never this process's (CVE-2021-21334).
    let mut command = rhumb.command(["exec", "-e", "B=2", "box", "env"]);
    let output = command.env("HOST_SECRET", "x").output().unwrap();
    let env = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(names, BTreeSet::from(["A", "B", "HOME", "HOSTNAME", "PATH"]), "{env}");
}

#[test]
fn system_calls_are_filtered_unless_that_was_said() {
    let rhumb = Rhumb::with_base();
    let mode = |flags: &str| sh(&rhumb, flags, "sed -n 's/^Seccomp:[[:space:]]*//p' /proc/self/status");
    assert_eq!((mode("").as_str(), mode("--privileged").as_str()), ("2", "0"));
    assert_eq!(mode("--security-opt seccomp=unconfined"), "0");
    assert_eq!(mode("--privileged --security-opt seccomp=builtin"), "2");
    let profile = rhumb.path("profile.json");
    let rules = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }],
    });
    std::fs::write(&profile, serde_json::to_string_pretty(&rules).unwrap()).unwrap();
    let option = format!("seccomp={}", profile.display());
    let run = ["run", "-d", "--name", "web", "--security-opt", &option, BASE, "sleep", "300"];
    rhumb.run(run).ok();
    // What is kept is the profile, not where it was.
    std::fs::remove_file(&profile).unwrap();
    let shown = rhumb.inspect("web")["HostConfig"]["SecurityOpt"][0].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(shown.strip_prefix("seccomp=").unwrap()).unwrap(), rules);
    rhumb.sh("restart -t 0 web").ok();
    for flags in ["", "--privileged"] {
        let exec = ["exec"].into_iter().chain(flags.split_whitespace()).chain(["web", "mkdir", "/x"]);
        let outcome = rhumb.run(exec);
        assert!(outcome.stderr.contains("No space left"), "an exec has the container's filter, too: {outcome}");
    }
    rhumb.run(["run", "--security-opt", "seccomp=/no/such", BASE, "true"]).fails_with(125, "/no/such");
    std::fs::write(&profile, "{\"defaultAction\": \"SCMP_ACT_MAYBE\"}").unwrap();
    rhumb.run(["run", "--security-opt", &option, BASE, "true"]).fails_with(125, "SCMP_ACT_MAYBE");
    assert_eq!(rhumb.sh("ps -q").ok().lines().count(), 1);
}

#[test]
fn devices_are_there_and_usable_as_far_as_was_said() {
    let rhumb = Rhumb::with_base();
    let seen =
        sh(&rhumb, "--device /dev/zero:/dev/nought:r", "stat -c '%t %T %a' /dev/nought; head -c1 /dev/nought | wc -c");
    assert_eq!(seen, "1 5 666\n1");
    let outcome =
        rhumb.run(["run", "--rm", "--device", "/dev/fuse:/dev/fuse:r", BASE, "sh", "-c", "exec 3<>/dev/fuse"]);
    if std::path::Path::new("/dev/fuse").exists() {
        assert!(!outcome.success(), "opened for writing too:\n{outcome}");
        sh(&rhumb, "--device /dev/fuse", "exec 3<>/dev/fuse");
    }
    // A folder of devices, as its place in the container says.
    let folder = sh(&rhumb, "--device /dev/net:/dev/nets", "ls /dev/nets");
    assert!(!folder.is_empty());
    rhumb.run(["run", "--device", "/dev/no-such", BASE, "true"]).fails_with(125, "/dev/no-such");
    rhumb.run(["run", "--device", "/etc/passwd", BASE, "true"]).fails_with(125, "is not a device");
    rhumb.run(["run", "--device-cgroup-rule", "c 1:3", BASE, "true"]).fails_with(125, "--device-cgroup-rule");
    assert_eq!(rhumb.sh("ps -aq").ok(), "");
}

#[test]
fn a_device_rule_opens_what_is_closed() {
    let rhumb = Rhumb::with_base();
    // A device that anybody may open once the cgroup allows it.
    let (path, rule) = [("/dev/net/tun", "c 10:200 r"), ("/dev/fuse", "c 10:229 r")]
        .into_iter()
        .find(|(path, _)| std::path::Path::new(path).exists())
        .expect("the kernel has tun or fuse");
    let with = |rule: &[&str]| {
        let device = format!("{path}:/dev/thing:m");
        let args = ["run", "--rm", "--device", &device];
        rhumb.run(args.iter().chain(rule).chain(&[BASE, "sh", "-c", "exec 3</dev/thing"]))
    };
    let closed = with(&[]);
    assert!(closed.stderr.contains("Operation not permitted"), "{closed}");
    with(&["--device-cgroup-rule", rule]).ok();
}

#[test]
fn privileged_sees_all_devices_and_nothing_is_masked() {
    let rhumb = Rhumb::with_base();
    let script = "ls /dev; echo; grep -c ' /proc/.* ro' /proc/self/mounts; grep ' /sys sysfs ' /proc/self/mounts | grep -c ' rw,'";
    let all = sh(&rhumb, "--privileged", script);
    let (devices, rest) = all.split_once("\n\n").unwrap();
    for name in ["kmsg", "null", "ptmx", "fd", "pts", "shm"] {
        assert!(devices.lines().any(|line| line == name) || !std::path::Path::new("/dev").join(name).exists(), "{all}");
    }
    assert_eq!(rest, "0\n1");
    let text = rhumb.run(["create", "--name", "priv", "--privileged", BASE, "true"]).ok();
    assert_eq!(text.len(), 64);
    let host = &rhumb.inspect("priv")["HostConfig"];
    assert_eq!((&host["MaskedPaths"], &host["ReadonlyPaths"]), (&Value::Null, &Value::Null));
    assert_eq!(host["SecurityOpt"], json!(["label=disable"]));
}

#[test]
fn paths_that_tell_of_the_host_are_masked() {
    let rhumb = Rhumb::with_base();
    let script = "cat /proc/kcore /proc/keys /proc/timer_list /proc/interrupts 2>/dev/null | wc -c; \
                  ls -A /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap 2>/dev/null | grep -v : | grep -c .; \
                  echo x 2>/dev/null >/proc/sysrq-trigger && echo written; echo 0 2>/dev/null >/proc/sys/kernel/printk && echo written; \
                  true";
    assert_eq!(sh(&rhumb, "", script), "0\n0");
    let open = sh(&rhumb, "--security-opt systempaths=unconfined", "cat /proc/interrupts | wc -l");
    assert_ne!(open, "0");
}

#[test]
fn automatic_user_namespaces_never_meet_and_stay_what_they_are() {
    let rhumb = Rhumb::with_base();
    let map = |name: &str| -> Vec<u32> {
        let text = rhumb.run(["exec", name, "cat", "/proc/self/uid_map"]).ok();
        text.split_whitespace().map(|word| word.parse().unwrap()).collect()
    };
    let mut children: Vec<_> = (0..4)
        .map(|n| rhumb.spawn(["run", "-d", "--name", &format!("c{n}"), "--userns", "auto", BASE, "sleep", "300"]))
        .collect();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    let mut bases: Vec<u32> = (0..4)
        .map(|n| map(&format!("c{n}")))
        .map(|map| {
            assert_eq!((map[0], map[2]), (0, 65_536));
            map[1]
        })
        .collect();
    let before = bases[0];
    bases.sort_unstable();
    assert!(bases.windows(2).all(|pair| pair[1] - pair[0] >= 65_536), "{bases:?}");
    // A file of the container's root belongs to the same id of the host before and after.
    rhumb.run(["exec", "c0", "touch", "/mine"]).ok();
    rhumb.sh("restart -t 0 c0").ok();
    assert_eq!(map("c0")[1], before);
    assert_eq!(rhumb.run(["exec", "c0", "stat", "-c", "%u", "/mine"]).ok(), "0");
    assert_eq!(rhumb.inspect("c0")["HostConfig"]["UsernsMode"], "auto");
    // What was asked for by number must not be what another one was promised.
    let numbers = format!("{}:10", before + 5);
    rhumb.run(["create", "--userns", &numbers, BASE, "true"]).fails_with(5, "belong to the container");
    // And comes back when the container goes.
    rhumb.sh("rm -f c0 c1 c2 c3").ok();
    let again = rhumb.run(["run", "--rm", "--userns", "auto:size=70000", BASE, "cat", "/proc/self/gid_map"]).ok();
    let again: Vec<u32> = again.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert_eq!((again[1], again[2]), (bases[0].min(again[1]), 70_000));
}

#[test]
fn an_automatic_user_namespace_is_confined_and_works() {
    let rhumb = Rhumb::with_base();
    let script = "id -u; stat -c %u /proc/self/ /bin/sh /dev/pts; echo x > /tmp-file && stat -c '%u:%g' /tmp-file";
    assert_eq!(sh(&rhumb, "--userns auto", script), "0\n0\n0\n0\n0:0");
    let small = sh(&rhumb, "--userns auto:size=2", "cat /proc/self/uid_map | wc -l; id -u");
    assert_eq!(small, "1\n0");
    // Another user, whom the user namespace knows and the makers of the streams do not.
    assert_eq!(sh(&rhumb, "--userns auto --user 33:34 --group-add 44", "id -u; id -g; id -G"), "33\n34\n34 44");
    // Programs open their streams anew by name, as servers do for their logs.
    for flags in ["--userns auto", "--userns auto --user 33", "--user 33"] {
        assert_eq!(sh(&rhumb, flags, "echo out > /dev/stdout; echo err > /dev/stderr"), "out", "{flags}");
    }
    // Not even a privileged one is root outside.
    let outside = rhumb.run(["run", "-d", "--privileged", "--userns", "auto", "--name", "priv", BASE, "sleep", "300"]);
    outside.ok();
    let pid = rhumb.inspect("priv")["State"]["Pid"].as_u64().unwrap();
    assert!(std::fs::metadata(format!("/proc/{pid}")).unwrap().uid() >= 1 << 16);
    let script = "id -u > /dev/stdout";
    assert_eq!(rhumb.run(["exec", "--user", "33", "priv", "sh", "-c", script]).ok(), "33");
    assert_eq!(rhumb.run(["exec", "priv", "sh", "-c", script]).ok(), "0");
}

#[test]
fn an_automatic_user_namespace_fits_the_users_of_the_image() {
    let rhumb = Rhumb::with_base();
    let more = "echo app:x:99999:100::/:/bin/sh >> /etc/passwd; echo team:x:123456:app >> /etc/group";
    rhumb.run(["run", "--name", "made", BASE, "sh", "-c", more]).ok();
    let tar = rhumb.path("made.tar");
    rhumb.run(["export", "-o", tar.to_str().unwrap(), "made"]).ok();
    rhumb.run(["import", tar.to_str().unwrap(), "big:1"]).ok();
    let script = "id -u; id -G; sed 's/.* //' /proc/self/uid_map";
    let seen = rhumb.run(["run", "--rm", "--userns", "auto", "--user", "app", "big:1", "sh", "-c", script]);
    assert!(seen.stdout.starts_with("99999\n100 123456\n") && seen.stdout.ends_with("123457\n"), "{seen}");
    // A number on the command line counts as well; one that does not fit is refused and never somebody else.
    let numbers = ["run", "--rm", "--userns", "auto", "--user", "70000", BASE, "id", "-u"];
    assert_eq!(rhumb.run(numbers).ok(), "70000");
    let small = rhumb.run(["run", "--rm", "--userns", "auto:size=100", "--user", "70000", BASE, "id", "-u"]);
    assert!(!small.success() && small.stdout.is_empty(), "{small}");
}

#[test]
fn a_volume_shows_the_same_owners_to_containers_with_other_ids() {
    let rhumb = Rhumb::with_base();
    let write = "echo x > /data/root; touch /data/app; chown 33:44 /data/app; stat -c '%u:%g' /data/root /data/app";
    assert_eq!(sh(&rhumb, "--userns auto -v data:/data", write), "0:0\n33:44");
    let read = "stat -c '%u:%g' /data/root /data/app; echo y >> /data/root && cat /data/root";
    assert_eq!(sh(&rhumb, "--userns 300000:1000 -v data:/data", read), "0:0\n33:44\nx\ny");
    assert_eq!(sh(&rhumb, "-v data:/data", read), "0:0\n33:44\nx\ny\ny");
    // The engine's own files are the container's root's, too.
    assert_eq!(
        sh(&rhumb, "--userns auto", "stat -c %u /etc/hosts; echo '1.2.3.4 x' >> /etc/hosts && echo ok"),
        "0\nok"
    );
    // A folder of the host is not: its files belong to nobody in the container, who cannot write them.
    let folder = rhumb.path("folder");
    std::fs::create_dir(&folder).unwrap();
    let bind = format!("--userns auto -v {}:/host", folder.display());
    assert_eq!(sh(&rhumb, &bind, "stat -c %u /host; touch /host/x 2>/dev/null || echo refused"), "65534\nrefused");
}

#[test]
fn kernel_parameters_of_others_are_refused_before_anything_is_made() {
    let rhumb = Rhumb::with_base();
    assert_eq!(sh(&rhumb, "--sysctl kernel.msgmax=4242", "cat /proc/sys/kernel/msgmax"), "4242");
    for (flags, word) in [
        ("--sysctl kernel.core_pattern=x", "whole machine"),
        ("--sysctl net.ipv4.ip_forward=1 --network host", "network namespace"),
        ("--sysctl kernel.msgmax=1 --ipc host", "ipc namespace"),
    ] {
        rhumb.run(["run"].into_iter().chain(flags.split(' ')).chain([BASE, "true"])).fails_with(125, word);
    }
    assert_eq!(rhumb.sh("ps -aq").ok(), "");
}

#[test]
fn ipc_namespaces_are_shared_only_when_that_was_said() {
    let rhumb = Rhumb::with_base();
    assert_eq!(sh(&rhumb, "--ipc none", "ls -d /dev/shm 2>/dev/null; grep -c /dev/shm /proc/self/mounts; true"), "0");
    rhumb.run(["run", "-d", "--name", "own", BASE, "sleep", "300"]).ok();
    rhumb.run(["run", "-d", "--name", "open", "--ipc", "shareable", BASE, "sleep", "300"]).ok();
    rhumb.run(["run", "--ipc", "container:own", BASE, "true"]).fails_with(125, "not shareable");
    let ipc = |flags: &str| sh(&rhumb, flags, "readlink /proc/self/ns/ipc");
    let theirs = rhumb.run(["exec", "open", "readlink", "/proc/self/ns/ipc"]).ok();
    assert_eq!(ipc("--ipc container:open"), theirs);
    // With its shared memory, as large as it was made, and as closed to programs and devices.
    rhumb.run(["exec", "open", "sh", "-c", "echo hello > /dev/shm/word"]).ok();
    let script = "cat /dev/shm/word; echo back > /dev/shm/answer; grep ' /dev/shm ' /proc/self/mounts | grep -c 'nosuid,nodev,noexec.*size=65536k'";
    assert_eq!(sh(&rhumb, "--ipc container:open", script), "hello\n1");
    assert_eq!(rhumb.run(["exec", "open", "cat", "/dev/shm/answer"]).ok(), "back");
    assert_eq!(sh(&rhumb, "--ipc host --userns auto", "id -u"), "0");
    assert_eq!(sh(&rhumb, "--ipc container:open --userns auto", "cat /dev/shm/word"), "hello");
    let network = "readlink /proc/self/ns/net";
    let shared = rhumb.run(["exec", "open", "sh", "-c", network]).ok();
    assert_eq!(sh(&rhumb, "--network container:open --userns auto", network), shared);
    // Whoever has something else there shares nothing of it.
    let volume = ["run", "-d", "--name", "odd", "--ipc", "shareable", "-v", "data:/dev/shm", BASE, "sleep", "300"];
    rhumb.run(volume).ok();
    rhumb.run(["run", "--rm", "--ipc", "container:odd", BASE, "true"]).fails_with(125, "shared memory");
    assert_ne!(ipc(""), theirs);
}

#[test]
fn a_cgroup_of_the_users_choice_holds_the_container_and_stays() {
    let rhumb = Rhumb::with_base();
    let parent = format!("batch-{}", rhumb.root_id());
    let id = rhumb
        .run(["run", "-d", "--name", "box", "--cgroup-parent", &format!("/{parent}/night"), BASE, "sleep", "300"])
        .ok();
    let pid = rhumb.inspect("box")["State"]["Pid"].as_u64().unwrap();
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroups.lines().any(|line| line.ends_with(&format!("/{parent}/night/{id}"))), "{cgroups}");
    assert_eq!(rhumb.inspect("box")["HostConfig"]["CgroupParent"], format!("/{parent}/night"));
    rhumb.sh("rm -f box").ok();
    let mut left = 0;
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    for dir in hierarchies.chain(["/sys/fs/cgroup".into()]).map(|dir| dir.join(&parent)).filter(|dir| dir.is_dir()) {
        assert!(!dir.join("night").join(&id).exists());
        // Ours to take away: this test made it.
        std::fs::remove_dir(dir.join("night")).unwrap();
        std::fs::remove_dir(dir).unwrap();
        left += 1;
    }
    assert!(left > 0);
    rhumb.run(["run", "--cgroup-parent", "../x", BASE, "true"]).fails_with(125, "--cgroup-parent");
}
