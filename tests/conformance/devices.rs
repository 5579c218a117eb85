//! `config-linux.md`, devices, the default ones, and the list of those that may be used; `runtime-linux.md`, links.

use std::fs;

use serde_json::json;

use crate::case::{Case, acts, prints, refuses};
use crate::runtime::Runtime::{Crun, Runc};

const DEVICES: &str = "config-linux.md#configLinuxDevices";
const DEFAULT: &str = "config-linux.md#configLinuxDefaultDevices";
const ALLOWED: &str = "config-linux.md#configLinuxDeviceAllowedlist";
const LINKS: &str = "runtime-linux.md#runtimeLinuxDevSymbolicLinks";

pub(crate) const CASES: &[Case] = &[
    prints(
        "default_devices_are_there",
        DEFAULT,
        "null, zero, full, random, urandom and tty are supplied",
        "{}",
        "cd /dev; stat -c '%n %F %t:%T %a' null zero full random urandom tty",
        "null character special file 1:3 666\nzero character special file 1:5 666\nfull character special file 1:7 666\nrandom character special file 1:8 666\nurandom character special file 1:9 666\ntty character special file 5:0 666",
    ),
    prints(
        "default_devices_can_be_used",
        DEFAULT,
        "they work although everything is denied",
        "{}",
        "echo x >/dev/null && head -c 3 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; head -c 4 /dev/random | wc -c; cat /etc/group 2>&1 >/dev/full | grep -o 'No space'",
        "3\n4\n4\nNo space",
    ),
    prints(
        "ptmx_is_the_containers",
        DEFAULT,
        "/dev/ptmx is the one of /dev/pts",
        "{}",
        "stat -L -c %t:%T /dev/ptmx; readlink /dev/ptmx | grep -o 'pts/ptmx' || grep -o '/dev/ptmx' /proc/self/mounts",
        "5:2\npts/ptmx",
    ),
    prints(
        "links_are_made",
        LINKS,
        "fd, stdin, stdout and stderr are links",
        "{}",
        "cd /dev; readlink fd stdin stdout stderr",
        "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2",
    ),
    prints(
        "a_character_device_is_made",
        DEVICES,
        "type, numbers, mode and owner are as configured",
        r#"{"linux": {"devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 432, "uid": 12, "gid": 34}]}}"#,
        "stat -c '%F %t:%T %a %u:%g' /dev/fuse",
        "character special file a:e5 660 12:34",
    ),
    prints(
        "an_unbuffered_device_is_one_of_characters",
        DEVICES,
        "u is another name of c",
        r#"{"linux": {"devices": [{"path": "/dev/odd", "type": "u", "major": 10, "minor": 200}]}}"#,
        "stat -c '%F %t:%T' /dev/odd",
        "character special file a:c8",
    ),
    prints(
        "a_block_device_is_made",
        DEVICES,
        "type, numbers, mode and owner are as configured",
        r#"{"linux": {"devices": [{"path": "/dev/disk", "type": "b", "major": 7, "minor": 77, "fileMode": 384, "uid": 0, "gid": 6}]}}"#,
        "stat -c '%F %t:%T %a %u:%g' /dev/disk",
        "block special file 7:4d 600 0:6",
    ),
    prints(
        "a_pipe_is_made",
        DEVICES,
        "p is a pipe with a name, without numbers",
        r#"{"linux": {"devices": [{"path": "/dev/pipe", "type": "p", "fileMode": 420}]}}"#,
        "stat -c '%F %a' /dev/pipe",
        "fifo 644",
    ),
    prints(
        "a_device_below_a_folder_is_made",
        DEVICES,
        "the path is a full one",
        r#"{"linux": {"devices": [{"path": "/dev/net/deep/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 438}]}}"#,
        "stat -c '%t:%T %a' /dev/net/deep/tun",
        "a:c8 666",
    ),
    prints(
        "a_device_outside_of_dev_is_made",
        DEVICES,
        "the path may be anywhere",
        r#"{"linux": {"devices": [{"path": "/var/odd/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438}]}}"#,
        "stat -c '%t:%T %a' /var/odd/null; echo x >/var/odd/null && echo written",
        "1:3 666\nwritten",
    ),
    acts("the_mask_does_not_matter", DEVICES, "the mode is as configured whatever the runtime's mask", |b| {
        b.patch(r#"{"linux": {"devices": [{"path": "/dev/odd", "type": "c", "major": 10, "minor": 200, "fileMode": 511}]}}"#);
        b.before("umask 077");
        assert_eq!(b.prints("stat -c %a /dev/odd /dev/null"), "777\n666");
    }),
    acts("a_device_that_is_there_already_is_taken", DEVICES, "a file that matches is no error", |b| {
        fs::create_dir_all(b.in_root("odd")).unwrap();
        let made =
            std::process::Command::new("mknod").arg(b.in_root("odd/null")).args(["c", "1", "3"]).status().unwrap();
        assert!(made.success());
        b.with(json!({"linux": {"devices": [{"path": "/odd/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]}}));
        assert_eq!(b.prints("stat -c %t:%T /odd/null"), "1:3");
    }),
    acts("a_file_in_the_place_of_a_device_is_an_error", DEVICES, "a file that does not match is an error", |b| {
        fs::create_dir_all(b.in_root("odd")).unwrap();
        fs::write(b.in_root("odd/null"), "not a device").unwrap();
        b.with(json!({"linux": {"devices": [{"path": "/odd/null", "type": "c", "major": 1, "minor": 3}]}}));
        b.refused();
        assert_eq!(b.read("odd/null"), "not a device");
    })
    .but(&[(Runc, "takes the file for the device"), (Crun, "takes the file for the device")]),
    refuses(
        "a_device_of_no_type_is_an_error",
        DEVICES,
        "the types are c, b, u and p",
        r#"{"linux": {"devices": [{"path": "/dev/odd", "type": "x", "major": 1, "minor": 1}]}}"#,
    )
    .but(&[(Crun, "makes a file of it")]),
    prints(
        "what_is_denied_cannot_be_used",
        ALLOWED,
        "a device that is not allowed cannot be opened",
        r#"{"linux": {"resources": {"devices": [{"allow": false, "access": "rwm"}]}}}"#,
        "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg 2>&1 | grep -o 'not permitted' | head -1",
        "not permitted",
    ),
    prints(
        "what_is_allowed_can_be_used",
        ALLOWED,
        "a device that is allowed can be used as far as it is",
        r#"{"linux": {"resources": {"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rm"}]}}}"#,
        "mknod /tmp/fuse c 10 229; (: </tmp/fuse) 2>&1 | grep -c 'not permitted'; (: >/tmp/fuse) 2>&1 | grep -o 'not permitted'",
        "0\nnot permitted",
    ),
    acts("rules_come_in_the_listed_order", ALLOWED, "the entries are applied in the listed order", |b| {
        b.patch(r#"{"linux": {"resources": {"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "access": "rwm"}, {"allow": false, "type": "c", "major": 10, "access": "w"},
            {"allow": true, "type": "b", "major": 7, "minor": 7, "access": "r"}]}}}"#);
        b.script("sleep 1000").up();
        let list = b.cgroup_file("devices", "devices.list");
        assert!(list.contains("c 10:* rm") || list.contains("c 10:* mr"), "{list}");
        assert!(list.contains("b 7:7 r"), "{list}");
        assert!(!list.contains("a *:* rwm"), "{list}");
    }),
    prints(
        "everything_may_be_allowed",
        ALLOWED,
        "unset type and numbers mean all",
        r#"{"linux": {"resources": {"devices": [{"allow": true, "access": "rwm"}]}}}"#,
        "mknod /tmp/loop b 7 250 && mknod /tmp/fuse c 10 229 && (: >/tmp/fuse) 2>&1 | grep -c 'not permitted'; echo .",
        "0\n.",
    ),
    acts("devices_in_a_user_namespace_are_there", DEFAULT, "the default devices work in a user namespace", |b| {
        b.patch(r#"{"linux": {"namespaces+": [{"type": "user"}], "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000}],
            "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000}],
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]}}"#);
        let printed =
            b.prints("echo x >/dev/null && stat -c %t:%T /dev/null /dev/zero /dev/tty; test -c /dev/fuse && echo fuse");
        assert_eq!(printed, "1:3\n1:5\n5:0\nfuse");
    }),
];
