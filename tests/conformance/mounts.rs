//! `config.md`, mounts: their order, their targets, every option of the table, propagation, mapped ids.

use std::fs;
use std::os::unix::fs::chown;

use serde_json::json;

use crate::case::{Case, acts, mounts, prints, refuses};
use crate::runtime::Runtime::{Crun, Runc};

const MOUNTS: &str = "config.md#configMounts";
const OPTIONS: &str = "config.md#configLinuxMountOptions";
const MAPPED: &str = "config.md#configPOSIXMounts";

pub(crate) const CASES: &[Case] = &[
    mounts("option_ro", "ro: read-only", &["ro"], &["ro"], &["rw"]),
    mounts("option_rw", "rw: writable", &["rw"], &["rw"], &["ro"]),
    mounts("option_nosuid", "nosuid: no set-user-id", &["nosuid"], &["nosuid"], &[]),
    mounts("option_suid", "suid: set-user-id counts", &["nosuid", "suid"], &[], &["nosuid"]).but(&[(Crun, "does not take the contrary of an option back")]),
    mounts("option_nodev", "nodev: no devices", &["nodev"], &["nodev"], &[]),
    mounts("option_dev", "dev: devices count", &["nodev", "dev"], &[], &["nodev"]).but(&[(Crun, "does not take the contrary of an option back")]),
    mounts("option_noexec", "noexec: no programs", &["noexec"], &["noexec"], &[]),
    mounts("option_exec", "exec: programs can be executed", &["noexec", "exec"], &[], &["noexec"]).but(&[(Crun, "does not take the contrary of an option back")]),
    mounts("option_noatime", "noatime: no times of access", &["noatime"], &["noatime"], &["relatime"]),
    mounts("option_atime", "atime: the kernel's default times of access", &["noatime", "atime"], &[], &["noatime"]).but(&[(Crun, "does not take the contrary of an option back")]),
    mounts("option_nodiratime", "nodiratime: none for folders", &["nodiratime"], &["nodiratime"], &[]),
    mounts("option_diratime", "diratime: for folders as well", &["nodiratime", "diratime"], &[], &["nodiratime"]).but(&[(Crun, "does not take the contrary of an option back")]),
    mounts("option_relatime", "relatime: relative to changes", &["relatime"], &["relatime"], &["noatime"]),
    mounts("option_strictatime", "strictatime: every access", &["strictatime"], &[], &["relatime", "noatime"]),
    mounts("option_norelatime", "norelatime is taken", &["norelatime"], &["rw"], &[]),
    mounts("option_nostrictatime", "nostrictatime is taken", &["strictatime", "nostrictatime"], &["relatime"], &[]).but(&[(Crun, "does not take the contrary of an option back")]),
    mounts("option_nosymfollow", "nosymfollow: no links", &["nosymfollow"], &["nosymfollow"], &[]).but(&[(Crun, "does not know the option")]),
    mounts("option_symfollow", "symfollow: links are followed", &["nosymfollow", "symfollow"], &[], &["nosymfollow"]).but(&[(Crun, "does not know the option")]),
    mounts("option_sync", "sync: writes wait", &["sync"], &["fs:sync"], &[]),
    mounts("option_async", "async: writes do not wait", &["sync", "async"], &[], &["fs:sync"]).but(&[(Crun, "does not take the contrary of an option back")]),
    mounts("option_dirsync", "dirsync: changes of folders wait", &["dirsync"], &["fs:dirsync"], &[]),
    mounts("option_lazytime", "lazytime: times are written late", &["lazytime"], &["fs:lazytime"], &[]),
    mounts("option_nolazytime", "nolazytime takes it back", &["lazytime", "nolazytime"], &[], &["fs:lazytime"]),
    mounts("option_mand", "mand is taken and means nothing any more", &["mand", "nomand"], &["rw"], &[]),
    mounts("option_iversion", "iversion and its contrary are taken", &["iversion", "noiversion"], &["rw"], &[]).but(&[(Crun, "does not know the option")]),
    mounts("option_silent", "silent and loud are taken", &["silent", "loud"], &["rw"], &[]).but(&[(Crun, "does not know the option")]),
    mounts("option_defaults", "defaults means nothing", &["defaults"], &["rw"], &["nosuid", "nodev", "noexec"]).but(&[(Runc, "passes it to a new file system, which does not know it")]),
    mounts("option_private", "private", &["bind", "private"], &[], &["shared", "master"]),
    mounts("option_shared", "shared", &["bind", "shared"], &["shared"], &[]).but(&[(Crun, "loses the propagation of a mount when it sets attributes")]),
    mounts("option_slave", "slave", &["bind", "slave"], &[], &["shared"]),
    mounts("option_unbindable", "unbindable", &["bind", "unbindable"], &["unbindable"], &[]).but(&[(Crun, "loses the propagation of a mount when it sets attributes")]),
    mounts("option_rprivate", "rprivate", &["rbind", "rprivate"], &[], &["shared", "master"]),
    mounts("option_rshared", "rshared", &["rbind", "rshared"], &["shared"], &[]).but(&[(Crun, "loses the propagation of a mount when it sets attributes")]),
    mounts("option_rslave", "rslave", &["rbind", "rslave"], &[], &["shared"]),
    mounts("option_runbindable", "runbindable", &["rbind", "runbindable"], &["unbindable"], &[]).but(&[(Crun, "loses the propagation of a mount when it sets attributes")]),
    mounts("propagation_of_new_file_systems", "a new file system can be shared", &["rshared"], &["shared"], &[]).but(&[(Crun, "loses the propagation of a mount when it sets attributes")]),
    mounts("bind_with_attributes", "a bind mount takes attributes", &["bind", "ro", "nosuid", "nodev", "noexec"],
        &["ro", "nosuid", "nodev", "noexec"], &[]),
    mounts("bind_with_times", "a bind mount takes attributes of times", &["bind", "noatime", "nodiratime"],
        &["noatime", "nodiratime"], &[]),
    mounts("options_of_the_file_system", "what is not known goes to the file system", &["mode=751", "size=8k", "nr_inodes=10"],
        &["fs:mode=751", "fs:size=8k", "fs:nr_inodes=10"], &[]),
    mounts("recursive_ro", "rro: all mounts below are read-only", &["rbind", "rro"], &["ro"], &[]),
    acts("recursive_options_reach_what_is_below", OPTIONS, "the r forms hold for every mount below", |b| {
        below(b, &["rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnosymfollow", "rnodiratime", "rnoatime"],
            &["ro", "nosuid", "nodev", "noexec", "nosymfollow", "nodiratime", "noatime"]);
    }).but(&[(Crun, "does not know the option")]),
    acts("plain_options_do_not_reach_what_is_below", OPTIONS, "without the r they hold for the mount alone", |b| {
        b.folder("source/below");
        b.before("mount -t tmpfs tmpfs @scratch@/source/below");
        let source = b.path("source").display().to_string();
        b.mount("/mnt", "none", &source, &["rbind", "ro", "noexec"]);
        assert!(b.mount_options("/mnt").contains(&"ro".to_owned()));
        assert!(!b.mount_options("/mnt/below").contains(&"ro".to_owned()));
    }),
    acts("recursive_options_can_be_cleared", OPTIONS, "the contrary r forms take attributes away", |b| {
        b.folder("source/below");
        b.before("mount -t tmpfs -o nosuid,nodev,noexec,ro,noatime tmpfs @scratch@/source/below");
        let source = b.path("source").display().to_string();
        b.mount("/mnt", "none", &source, &["rbind", "rrw", "rsuid", "rdev", "rexec", "rrelatime", "rsymfollow", "rdiratime"]);
        let seen = b.mount_options("/mnt/below");
        for option in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
            assert!(!seen.iter().any(|seen| seen == option), "{option} in {seen:?}");
        }
    }).but(&[(Crun, "does not know the option")]),
    acts("rstrictatime_reaches_what_is_below", OPTIONS, "rstrictatime", |b| {
        b.folder("source/below");
        b.before("mount -t tmpfs tmpfs @scratch@/source/below");
        let source = b.path("source").display().to_string();
        b.mount("/mnt", "none", &source, &["rbind", "rstrictatime"]);
        let seen = b.mount_options("/mnt/below");
        assert!(!seen.iter().any(|seen| seen == "relatime" || seen == "noatime"), "{seen:?}");
    }).but(&[(Crun, "does not know the option")]),
    acts("a_bind_mount_shows_a_folder", OPTIONS, "bind: the source is seen at the destination", |b| {
        fs::write(b.folder("source").join("file"), "content").unwrap();
        let source = b.path("source").display().to_string();
        b.mount("/mnt", "none", &source, &["bind"]);
        assert_eq!(b.prints("cat /mnt/file; echo back >/mnt/back"), "content");
        assert_eq!(fs::read_to_string(b.path("source/back")).unwrap(), "back\n");
    }),
    acts("a_bind_mount_shows_a_file", OPTIONS, "bind: a file is seen at the destination", |b| {
        fs::write(b.path("file"), "content").unwrap();
        let source = b.path("file").display().to_string();
        b.mount("/etc/new/file", "none", &source, &["bind", "ro"]);
        assert_eq!(b.prints("cat /etc/new/file; echo x 2>/dev/null >/etc/new/file || echo refused"), "contentrefused");
    }),
    acts("a_bind_mount_leaves_out_what_is_below", OPTIONS, "bind: not what is mounted below", |b| {
        b.folder("source/below");
        b.before("mount -t tmpfs tmpfs @scratch@/source/below; touch @scratch@/source/below/seen");
        let source = b.path("source").display().to_string();
        b.mount("/mnt", "none", &source, &["bind"]);
        assert_eq!(b.prints("ls /mnt/below"), "");
    }),
    acts("a_recursive_bind_mount_has_what_is_below", OPTIONS, "rbind: with what is mounted below", |b| {
        b.folder("source/below");
        b.before("mount -t tmpfs tmpfs @scratch@/source/below; touch @scratch@/source/below/seen");
        let source = b.path("source").display().to_string();
        b.mount("/mnt", "none", &source, &["rbind"]);
        assert_eq!(b.prints("ls /mnt/below"), "seen");
    }),
    acts("the_type_of_a_bind_mount_is_a_dummy", MAPPED, "with bind or rbind the type means nothing", |b| {
        fs::write(b.folder("source").join("file"), "content").unwrap();
        let source = b.path("source").display().to_string();
        b.mount("/one", "bind", &source, &["bind"]).mount("/two", "", &source, &["rbind"]);
        b.with(json!({"mounts+": [{"destination": "/three", "source": source, "options": ["bind"]}]}));
        assert_eq!(b.prints("cat /one/file /two/file /three/file"), "contentcontentcontent");
    }),
    acts("a_relative_source_is_relative_to_the_bundle", MOUNTS, "the source of a bind mount may be relative", |b| {
        fs::write(b.folder("source").join("file"), "content").unwrap();
        b.mount("/mnt", "none", "source", &["bind"]);
        assert_eq!(b.prints("cat /mnt/file"), "content");
    }),
    refuses("a_bind_mount_of_nothing_is_an_error", MOUNTS, "what is mounted is there",
        r#"{"mounts+": [{"destination": "/mnt", "type": "none", "source": "/no/such/source", "options": ["bind"]}]}"#),
    acts("a_bind_mount_keeps_the_attributes_of_its_source", OPTIONS, "what is not said does not change", |b| {
        b.folder("source");
        b.before("mount -t tmpfs -o nosuid,noexec tmpfs @scratch@/source");
        let source = b.path("source").display().to_string();
        b.mount("/mnt", "none", &source, &["bind"]);
        let seen = b.mount_options("/mnt");
        assert!(seen.contains(&"nosuid".to_owned()) && seen.contains(&"noexec".to_owned()), "{seen:?}");
    }).but(&[(Crun, "clears them")]),
    prints("mounts_come_in_the_listed_order", MOUNTS, "the entries are mounted in the listed order",
        r#"{"mounts+": [
            {"destination": "/a", "type": "tmpfs", "source": "one", "options": ["mode=700"]},
            {"destination": "/a/b", "type": "tmpfs", "source": "two"},
            {"destination": "/a/b/c", "type": "tmpfs", "source": "three"},
            {"destination": "/a", "type": "tmpfs", "source": "four"}]}"#,
        "ls /a; grep -c ' /a' /proc/self/mountinfo; grep ' /a ' /proc/self/mounts | cut -d' ' -f1", "4\none\nfour"),
    prints("a_destination_is_made", MOUNTS, "a destination that is missing is made",
        r#"{"mounts+": [{"destination": "/new/deep/folder", "type": "tmpfs", "source": "x"}]}"#, "ls -d /new/deep/folder", "/new/deep/folder"),
    prints("a_relative_destination_is_below_the_root", MOUNTS, "a relative destination is taken from the root",
        r#"{"mounts+": [{"destination": "relative", "type": "tmpfs", "source": "x"}]}"#, "grep -c ' /relative ' /proc/self/mountinfo", "1"),
    acts("links_of_the_root_stay_inside", MOUNTS, "a destination is a path inside the container", |b| {
        std::os::unix::fs::symlink("/../../../../outside", b.in_root("link")).unwrap();
        b.with(json!({"mounts+": [{"destination": "/link/in", "type": "tmpfs", "source": "x"}]}));
        assert_eq!(b.prints("cut -d' ' -f5 /proc/self/mountinfo | grep outside"), "/outside/in");
        assert!(!std::path::Path::new("/outside").exists());
    }).but(&[(Crun, "does not make folders behind a link")]),
    refuses("a_file_system_that_is_unknown_is_an_error", MOUNTS, "the types are the kernel's",
        r#"{"mounts+": [{"destination": "/mnt", "type": "dreamfs", "source": "x"}]}"#),
    refuses("an_option_that_is_unknown_is_an_error", OPTIONS, "what the file system does not know is an error",
        r#"{"mounts+": [{"destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["dream=1"]}]}"#),
    prints("a_tmpfs_may_have_the_content_of_the_folder", OPTIONS, "tmpcopyup: the content below is copied up",
        r#"{"mounts+": [{"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}]}"#,
        "grep -c ' /etc ' /proc/self/mountinfo; head -1 /etc/group; stat -c %a /etc", "1\nroot:x:0:\n755").but(&[(Crun, "loses the mode of the folder")]),
    prints("a_tmpfs_is_empty", OPTIONS, "without tmpcopyup it is empty",
        r#"{"mounts+": [{"destination": "/etc", "type": "tmpfs", "source": "tmpfs"}]}"#, "ls /etc", ""),
    prints("proc_is_the_containers", MOUNTS, "proc shows the container's processes", "{}",
        "cd /proc; set -- [0-9]*; echo $#; cat /proc/1/cmdline | tr '\\0' ' ' | cut -c1-10", "1\n/bin/sh -c"),
    acts("ids_are_mapped", MAPPED, "uidMappings and gidMappings convert the ids of a mount", |b| {
        let source = b.folder("source");
        fs::write(source.join("file"), "").unwrap();
        chown(source.join("file"), Some(1005), Some(2005)).unwrap();
        b.with(json!({"mounts+": [{"destination": "/mnt", "type": "none", "source": source, "options": ["bind", "idmap"],
            "uidMappings": [{"containerID": 1000, "hostID": 30, "size": 10}],
            "gidMappings": [{"containerID": 2000, "hostID": 40, "size": 10}]}]}));
        assert_eq!(b.prints("stat -c %u:%g /mnt/file"), "35:45");
    }).but(&[(Runc, "new in 1.1 of the specification")]),
    refuses("idmap_without_a_mapping_is_an_error", OPTIONS, "idmap takes mappings, or those of a user namespace",
        r#"{"mounts+": [{"destination": "/mnt", "type": "none", "source": "@scratch@", "options": ["bind", "idmap"]}]}"#).but(&[(Runc, "new in 1.1 of the specification")]),
    refuses("a_mapping_of_users_alone_is_an_error", MAPPED, "the mappings come together",
        r#"{"mounts+": [{"destination": "/mnt", "type": "none", "source": "@scratch@", "options": ["bind", "idmap"],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}]}]}"#).but(&[(Runc, "new in 1.1 of the specification")]),
    acts("recursively_mapped_ids_reach_what_is_below", OPTIONS, "ridmap: for the mounts below as well", |b| {
        b.folder("source/below");
        b.before("mount -t tmpfs tmpfs @scratch@/source/below; touch @scratch@/source/below/f; chown 1005:2005 @scratch@/source/below/f");
        let source = b.path("source");
        b.with(json!({"mounts+": [{"destination": "/mnt", "type": "none", "source": source, "options": ["rbind", "ridmap"],
            "uidMappings": [{"containerID": 1000, "hostID": 30, "size": 10}],
            "gidMappings": [{"containerID": 2000, "hostID": 40, "size": 10}]}]}));
        assert_eq!(b.prints("stat -c %u:%g /mnt/below/f"), "35:45");
    }).but(&[(Runc, "new in 1.1 of the specification"), (Crun, "knows idmap alone")]),
];

/// With `options`, a mount below the source shows `shows`.
fn below(b: &mut crate::bundle::Bundle, options: &[&str], shows: &[&str]) {
    b.folder("source/below");
    b.before("mount -t tmpfs tmpfs @scratch@/source/below");
    let source = b.path("source").display().to_string();
    b.mount("/mnt", "none", &source, options);
    let seen = b.mount_options("/mnt/below");
    for option in shows {
        assert!(seen.iter().any(|seen| seen == option), "{option} not in {seen:?}");
    }
}
