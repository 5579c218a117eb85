//! `config-linux.md`: propagation of the root, masked and read-only paths, kernel parameters, personality, labels.

use crate::case::{Case, acts, prints, refuses};
use crate::runtime::Runtime::{Crun, Runc};

const PROPAGATION: &str = "config-linux.md#configLinuxRootfsMountPropagation";
const MASKED: &str = "config-linux.md#configLinuxMaskedPaths";
const READ_ONLY: &str = "config-linux.md#configLinuxReadonlyPaths";
const SYSCTL: &str = "config-linux.md#configLinuxSysctl";
const PERSONALITY: &str = "config-linux.md#configLinuxPersonality";
const LABEL: &str = "config-linux.md#configLinuxMountLabel";
const FILESYSTEMS: &str = "config-linux.md#configLinuxDefaultFilesystems";

/// The propagation of the root, as the kernel says it: nothing for private.
const OF_ROOT: &str =
    "while read id parent dev root at rest; do test $at = / && echo ${rest%% - *}; done </proc/self/mountinfo |
    tr ' :' '\\n\\n' | grep -E 'shared|master|unbindable' | tr '\\n' ' '; echo .";

pub(crate) const CASES: &[Case] = &[
    prints(
        "the_root_is_private",
        PROPAGATION,
        "private: nothing spreads",
        r#"{"linux": {"rootfsPropagation": "private"}}"#,
        OF_ROOT,
        ".",
    ),
    prints(
        "the_root_is_shared",
        PROPAGATION,
        "shared: a new peer group",
        r#"{"linux": {"rootfsPropagation": "shared"}}"#,
        OF_ROOT,
        "shared .",
    )
    .but(&[(Runc, "makes it private")]),
    prints(
        "the_root_is_unbindable",
        PROPAGATION,
        "unbindable: private and not to be bound",
        r#"{"linux": {"rootfsPropagation": "unbindable"}}"#,
        OF_ROOT,
        "unbindable .",
    )
    .but(&[(Runc, "tries to bind it afterwards")]),
    acts("the_root_is_a_slave", PROPAGATION, "slave: what the host mounts arrives, and not the other way", |b| {
        b.patch(r#"{"linux": {"rootfsPropagation": "slave"}}"#);
        b.before("mount --make-rshared /");
        assert_eq!(b.prints(OF_ROOT), "master .");
    })
    .but(&[(Crun, "makes it private")]),
    prints("the_root_is_not_shared_by_default", PROPAGATION, "nothing reaches the host", "{}", OF_ROOT, "."),
    prints(
        "what_is_mounted_inside_stays_inside",
        PROPAGATION,
        "a shared root is not the host's peer",
        r#"{"linux": {"rootfsPropagation": "shared"}, "process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"], "permitted": ["CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"]}}}"#,
        "mount -t tmpfs tmpfs /tmp && grep -c ' /tmp ' /proc/self/mountinfo",
        "1",
    ),
    acts("a_masked_file_is_empty", MASKED, "a masked path cannot be read", |b| {
        std::fs::write(b.in_root("etc/secret"), "secret").unwrap();
        b.patch(r#"{"linux": {"maskedPaths": ["/etc/secret", "/proc/kcore"]}}"#);
        assert_eq!(b.prints("cat /etc/secret; head -c 10 /proc/kcore | wc -c"), "0");
    }),
    acts("a_masked_folder_is_empty", MASKED, "a masked path cannot be read", |b| {
        std::fs::create_dir_all(b.in_root("etc/secrets")).unwrap();
        std::fs::write(b.in_root("etc/secrets/one"), "secret").unwrap();
        b.patch(r#"{"linux": {"maskedPaths": ["/etc/secrets", "/sys/firmware"]}}"#);
        assert_eq!(b.prints("ls /etc/secrets /sys/firmware | grep -v ':$' | tr -d '\\n'; touch /etc/secrets/x 2>/dev/null || echo refused"), "refused");
    }),
    prints(
        "a_masked_path_may_be_missing",
        MASKED,
        "what is not there need not be masked",
        r#"{"linux": {"maskedPaths": ["/no/such/path", "/proc/nothing"]}}"#,
        "echo ok",
        "ok",
    ),
    acts("a_masked_link_is_not_followed_out", MASKED, "the paths are those of the container", |b| {
        std::os::unix::fs::symlink("/proc/kcore", b.in_root("link")).unwrap();
        b.patch(r#"{"linux": {"maskedPaths": ["/proc/kcore"]}}"#);
        assert_eq!(b.prints("head -c 10 /link | wc -c"), "0");
    }),
    prints(
        "a_read_only_path_cannot_be_written",
        READ_ONLY,
        "the paths are read-only",
        r#"{"linux": {"readonlyPaths": ["/proc/sys", "/var", "/etc/passwd"]}}"#,
        "for f in /proc/sys/kernel/domainname /var/x /etc/passwd; do (echo x >$f) 2>&1 | grep -o 'Read-only file system'; done; touch /etc/new && echo ok",
        "Read-only file system\nRead-only file system\nRead-only file system\nok",
    ),
    prints(
        "a_read_only_path_may_be_missing",
        READ_ONLY,
        "what is not there need not be read-only",
        r#"{"linux": {"readonlyPaths": ["/no/such/path"]}}"#,
        "echo ok",
        "ok",
    ),
    prints(
        "parameters_of_the_network_are_set",
        SYSCTL,
        "the parameters are set for the container",
        r#"{"linux": {"sysctl": {"net.ipv4.ip_forward": "1", "net.core.somaxconn": "256", "net/ipv4/conf/all/forwarding": "1"}}}"#,
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/core/somaxconn",
        "1\n256",
    ),
    prints(
        "parameters_of_ipc_are_set",
        SYSCTL,
        "the parameters are set for the container",
        r#"{"linux": {"sysctl": {"kernel.shmmax": "12345678", "fs.mqueue.msg_max": "20", "kernel.msgmax": "9000", "kernel.sem": "250\t32000\t32\t200"}}}"#,
        "cat /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max /proc/sys/kernel/msgmax /proc/sys/kernel/sem",
        "12345678\n20\n9000\n250\t32000\t32\t200",
    ),
    acts("parameters_of_the_host_stay", SYSCTL, "the host's are not changed", |b| {
        let before = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        let other = if before.trim() == "1" { "0" } else { "1" };
        b.with(serde_json::json!({"linux": {"sysctl": {"net.ipv4.ip_forward": other}}}));
        assert_eq!(b.prints("cat /proc/sys/net/ipv4/ip_forward"), other);
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), before);
    }),
    refuses(
        "a_parameter_of_the_host_is_an_error",
        SYSCTL,
        "only what is the container's own can be set",
        r#"{"linux": {"sysctl": {"kernel.core_pattern": "core"}}}"#,
    ),
    refuses(
        "a_parameter_without_its_namespace_is_an_error",
        SYSCTL,
        "only what is the container's own can be set",
        r#"{"linux": {"sysctl": {"net.ipv4.ip_forward": "0"}, "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]}}"#,
    ),
    refuses(
        "a_parameter_that_is_not_there_is_an_error",
        SYSCTL,
        "what cannot be set is an error",
        r#"{"linux": {"sysctl": {"net.no.such.parameter": "1"}}}"#,
    ),
    prints(
        "personality_of_32_bits",
        PERSONALITY,
        "LINUX32: uname shows 32 bits",
        r#"{"linux": {"personality": {"domain": "LINUX32"}}}"#,
        "uname -m",
        "i686",
    )
    .but(&[(Runc, "new in 1.1 for this runtime")]),
    prints(
        "personality_of_linux",
        PERSONALITY,
        "LINUX: as usual",
        r#"{"linux": {"personality": {"domain": "LINUX"}}}"#,
        "cat /proc/self/personality",
        "00000000",
    ),
    refuses(
        "an_unknown_personality_is_an_error",
        PERSONALITY,
        "LINUX and LINUX32 are all",
        r#"{"linux": {"personality": {"domain": "SOLARIS"}}}"#,
    )
    .but(&[(Runc, "new in 1.1 for this runtime")]),
    refuses(
        "flags_of_a_personality_are_an_error",
        PERSONALITY,
        "no flags are supported",
        r#"{"linux": {"personality": {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}}}"#,
    )
    .but(&[(Runc, "new in 1.1 for this runtime"), (Crun, "ignores it")]),
    refuses(
        "a_mount_label_needs_selinux",
        LABEL,
        "what the kernel has not is an error",
        r#"{"linux": {"mountLabel": "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811"}}"#,
    )
    .but(&[(Crun, "ignores it")]),
    prints(
        "the_usual_file_systems_are_there",
        FILESYSTEMS,
        "/proc, /sys, /dev/pts and /dev/shm",
        "{}",
        "for f in /proc /sys /dev/pts /dev/shm; do grep \" $f \" /proc/self/mounts | head -1 | cut -d' ' -f3; done",
        "proc\nsysfs\ndevpts\ntmpfs",
    ),
];
