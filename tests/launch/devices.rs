//! Devices, links and masked paths of config.json, on the real kernel.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::process::Command;

use rhumb::base::Kind;
use serde_json::{Value, json};

use crate::mounts::{bundle, error, out, rootfs, with_mounts, without};
use crate::support::Box_;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("devices_are_made_anywhere_and_conflicts_are_errors", devices_anywhere),
    ("default_devices_are_made_in_whatever_dev_there_is", default_devices),
    ("masks_cover_files_and_folders_and_skip_what_is_missing", masks),
];

fn devices_anywhere() {
    let with = |container: Box_, devices: Value| container.edit(|spec| spec["linux"]["devices"] = devices);
    let script = "stat -c '%n %F %t:%T %a %u:%g' /opt/deep/null /dev/full /run/pipe /dev/sub/zero /dev/null";
    let container = with(
        bundle(script),
        json!([
            {"path": "/opt/deep/null", "type": "u", "major": 1, "minor": 3, "fileMode": 384, "uid": 5, "gid": 6},
            {"path": "/run/pipe", "type": "p", "fileMode": 416},
            {"path": "/dev/sub/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 438},
            {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 256},
        ]),
    );
    let expected = "\
/opt/deep/null character special file 1:3 600 5:6
/dev/full character special file 1:7 400 0:0
/run/pipe fifo 0:0 640 0:0
/dev/sub/zero character special file 1:5 666 0:0
/dev/null character special file 1:3 666 0:0
";
    assert_eq!(out(&container), expected);
    // The same again is fine, another is not; and nothing is followed.
    let null = json!([{"path": "/opt/null", "type": "c", "major": 1, "minor": 3}]);
    let prepare = |make: &str| {
        let container = bundle("true");
        fs::create_dir_all(rootfs(&container).join("opt")).unwrap();
        let made = Command::new("sh").args(["-c", make]).current_dir(rootfs(&container)).status().unwrap();
        assert!(made.success());
        with(container, null.clone())
    };
    assert_eq!(prepare("mknod opt/null c 1 3").run().unwrap().0, 0);
    for make in
        ["mknod opt/null c 1 5", "mkfifo opt/null", "echo > opt/null", "mkdir opt/null", "ln -s /dev/null opt/null"]
    {
        assert_eq!(error(&prepare(make)).kind(), Kind::AlreadyExists, "{make}");
    }
    let canary = tempfile::tempdir().unwrap();
    let led = prepare(&format!("rmdir opt; ln -s {} opt", canary.path().display()));
    assert_eq!(led.run().unwrap().0, 0);
    assert_eq!(fs::read_dir(canary.path()).unwrap().count(), 0);
    assert_eq!(error(&prepare("rmdir opt; ln -s proc opt")).kind(), Kind::InvalidArgument);
}

fn default_devices() {
    let script = "cd /dev; for n in null zero full random urandom tty; do stat -c '%F %a' $n; done; readlink fd stdin stdout stderr core ptmx";
    // A /dev of the root itself, with something in the way of the multiplexer.
    let container = without(bundle(script), &["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]);
    fs::write(rootfs(&container).join("dev/ptmx"), "").unwrap();
    let expected = format!(
        "{}/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n/proc/kcore\npts/ptmx\n",
        "character special file 666\n".repeat(6)
    );
    assert_eq!(out(&container), expected);
    assert!(fs::symlink_metadata(rootfs(&container).join("dev/null")).unwrap().file_type().is_char_device());
    // In a folder of the host nothing is made.
    let container = without(bundle("ls /dev"), &["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]);
    let hosts = container.path("hosts-dev");
    fs::create_dir(&hosts).unwrap();
    let container = container.edit(|spec| spec["linux"]["maskedPaths"] = json!([]));
    let bind = json!([{"destination": "/dev", "type": "bind", "source": hosts, "options": ["bind"]}]);
    let container = with_mounts(container, bind);
    assert_eq!(out(&container), "");
    assert_eq!(fs::read_dir(&hosts).unwrap().count(), 0);
    // Every link in the way of /dev is refused before anything is made.
    let canary = tempfile::tempdir().unwrap();
    let container = without(bundle("true"), &["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]);
    fs::remove_dir(rootfs(&container).join("dev")).unwrap();
    symlink(canary.path(), rootfs(&container).join("dev")).unwrap();
    assert!(error(&container).to_string().contains("link"));
    assert_eq!(fs::read_dir(canary.path()).unwrap().count(), 0);
}

fn masks() {
    let masked = |container: Box_| {
        fs::create_dir(rootfs(&container).join("folder")).unwrap();
        fs::write(rootfs(&container).join("folder/secret"), "x").unwrap();
        fs::write(rootfs(&container).join("file"), "secret").unwrap();
        fs::write(rootfs(&container).join("kept"), "kept\n").unwrap();
        symlink("folder", rootfs(&container).join("link")).unwrap();
        container.edit(|spec| {
            spec["linux"]["maskedPaths"] =
                json!(["/folder", "/file", "/missing", "/link/none", "/file/below", "/folder"]);
            spec["linux"]["readonlyPaths"] = json!(["/kept", "/usr", "/missing/too"]);
        })
    };
    let script =
        "ls -A /folder; cat /file /kept; (echo x >> /kept) 2>/dev/null || echo ro; mkdir /usr/x 2>/dev/null || echo ro;
                  touch /folder/x 2>/dev/null || echo ro; head -c 3 /file | wc -c";
    let expected = "kept\nro\nro\nro\n0\n";
    assert_eq!(out(&masked(bundle(script))), expected);
    // Also where there is no null device to mask with.
    let container = without(
        masked(bundle(&script.replace("2>/dev/null", "2>/tmp/err"))),
        &["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"],
    );
    let empty = container.path("empty");
    fs::create_dir(&empty).unwrap();
    let bind = json!([{"destination": "/dev", "type": "bind", "source": empty, "options": ["bind"]}]);
    assert_eq!(out(&with_mounts(container, bind)), expected);
    // And not with something that only has its name (CVE-2025-31133).
    let container = without(masked(bundle("true")), &["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]);
    let wrong = container.path("wrong");
    fs::create_dir(&wrong).unwrap();
    fs::write(wrong.join("null"), "").unwrap();
    let bind = json!([{"destination": "/dev", "type": "bind", "source": wrong, "options": ["bind"]}]);
    assert!(error(&with_mounts(container, bind)).to_string().contains("null device"));
}
