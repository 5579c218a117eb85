//! Mounts and roots of config.json, on the real kernel.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rhumb::base::Kind;
use rhumb::runtime::plan::Rootfs;
use serde_json::{Value, json};

use crate::support::{Box_, base};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("a_bundles_root_is_entered_each_way_and_leaves_no_mount", bundle_root),
    ("a_root_that_was_moved_shows_no_whole_proc", no_whole_proc),
    ("without_a_mount_namespace_the_host_sees_no_mount", no_mount_namespace),
    ("the_root_spreads_as_asked", root_propagation),
    ("attributes_of_a_bind_are_for_the_top_or_for_all", attributes_of_binds),
    ("unnamed_attributes_are_lost_but_locked_in_a_user_namespace", locked_attributes),
    ("ids_of_binds_are_mapped", mapped_ids),
    ("a_tmpfs_is_filled_and_has_modes_and_is_read_only_late", tmpfs),
    ("file_systems_of_any_type_are_mounted", any_file_system),
    ("remounts_change_what_is_there", remounts),
    ("only_the_kernels_own_is_bound_onto_proc_and_sys", kernels_own),
    ("mounts_are_made_in_order_and_sources_see_earlier_ones", mount_order),
    ("targets_are_made_through_the_roots_own_links", targets_through_links),
    ("a_user_namespace_gets_the_hosts_sys", user_namespace),
    ("hostile_mounts_are_clear_errors", hostile),
    ("cgroup2_is_mounted_by_its_own_type", cgroup2),
];

/// A container whose root is a bundle's folder, with a copy of the programs.
pub(crate) fn bundle(script: &str) -> Box_ {
    let container = Box_::sh(script);
    let folder = container.path("bundle");
    let root = folder.join("rootfs");
    fs::create_dir(&folder).unwrap();
    let copied = Command::new("cp").arg("-al").arg(base()).arg(&root).status().unwrap();
    assert!(copied.success());
    container.with(|plan| plan.rootfs = Rootfs::Bundle { bundle: folder, path: root, no_pivot: false })
}

pub(crate) fn rootfs(container: &Box_) -> PathBuf {
    container.path("bundle").join("rootfs")
}

/// With further mounts.
pub(crate) fn with_mounts(container: Box_, mounts: Value) -> Box_ {
    container.edit(|spec| {
        spec["mounts"].as_array_mut().unwrap().extend(mounts.as_array().unwrap().iter().cloned());
    })
}

/// Without the mounts onto a place.
pub(crate) fn without(container: Box_, places: &[&str]) -> Box_ {
    container.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !places.iter().any(|place| mount["destination"] == *place));
    })
}

pub(crate) fn with_users(container: Box_) -> Box_ {
    container.edit(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
        (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (map.clone(), map);
    })
}

pub(crate) fn out(container: &Box_) -> String {
    let (code, out, err) = container.run().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

pub(crate) fn error(container: &Box_) -> rhumb::base::Error {
    container.run().expect_err("it must be refused")
}

/// A file system on the host, gone when dropped.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    pub(crate) fn tmpfs(path: &Path, options: &str) -> Mounted {
        fs::create_dir_all(path).unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(path).status().unwrap();
        assert!(done.success());
        let mounted = Mounted(path.to_owned());
        mounted.remount(options);
        mounted
    }

    fn remount(&self, options: &str) {
        for options in ["bind,remount,diratime,strictatime", &format!("bind,remount,{options}")] {
            assert!(Command::new("mount").args(["-o", options]).arg(&self.0).status().unwrap().success(), "{options}");
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

/// The options of the mount at a place, as the container's mountinfo has them.
fn options_of(mountinfo: &str, place: &str) -> Vec<String> {
    let line = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some(place));
    let line = line.unwrap_or_else(|| panic!("nothing is mounted at {place}: {mountinfo}"));
    line.split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect()
}

fn has(options: &[String], option: &str) -> bool {
    options.iter().any(|one| one == option)
}

fn host_mounts() -> String {
    // Other tests come and go; ours are told by their folders.
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn bundle_root() {
    let script = "cat /relative/file; ls /; grep -c ' / / ' /proc/self/mountinfo; touch /written; stat -c %u /owned";
    for no_pivot in [false, true] {
        let container = bundle(script).with(|plan| {
            let Rootfs::Bundle { no_pivot: field, .. } = &mut plan.rootfs else { unreachable!() };
            *field = no_pivot;
        });
        fs::write(container.path("bundle").join("file"), "beside\n").unwrap();
        fs::write(rootfs(&container).join("owned"), "").unwrap();
        std::os::unix::fs::chown(rootfs(&container).join("owned"), Some(77), None).unwrap();
        let bind = json!([{"destination": "relative", "source": ".", "options": ["bind"]}]);
        let container = with_mounts(container, bind);
        let (_, out, err) = container.run().unwrap();
        assert!(out.starts_with("beside\n") && out.contains("usr\n") && out.ends_with("77\n"), "{out} {err}");
        assert!(rootfs(&container).join("written").exists());
        assert!(!host_mounts().contains(rootfs(&container).to_str().unwrap()), "a mount is left");
    }
    // In a user namespace its files belong to whom they belong to.
    let container = with_users(bundle("stat -c %u /owned; ls /sys/kernel >/dev/null && echo ok"));
    fs::write(rootfs(&container).join("owned"), "").unwrap();
    std::os::unix::fs::chown(rootfs(&container), Some(200_000), Some(200_000)).unwrap();
    std::os::unix::fs::chown(rootfs(&container).join("owned"), Some(200_007), None).unwrap();
    assert_eq!(out(&container), "7\nok\n");
    // Also when its root may pass through all of the host's folders: then the root is where hooks look for it.
    for path in [container.path(""), container.path("bundle")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let _ = fs::remove_dir_all(container.path("state"));
    let again = with_users(bundle("stat -c %u /owned")).with(|plan| plan.rootfs = container.plan.rootfs.clone());
    assert_eq!(out(&again), "7\n");
    let missing = bundle("true").with(|plan| {
        let Rootfs::Bundle { path, .. } = &mut plan.rootfs else { unreachable!() };
        path.push("missing");
    });
    assert_eq!(error(&missing).kind(), Kind::NotFound);
}

fn no_mount_namespace() {
    let script = "ls /; ls -d /proc/1 /dev/null /sys/kernel; touch /ro/x 2>/dev/null || echo ro; sleep 0.2";
    let tmpfs = json!([{"destination": "/ro", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}]);
    let container = with_mounts(bundle(script), tmpfs).edit(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "mount");
        for key in ["maskedPaths", "readonlyPaths"] {
            spec["linux"][key] = json!([]);
        }
    });
    let root = rootfs(&container);
    let seen = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let until = std::time::Instant::now() + std::time::Duration::from_millis(400);
            let mut seen = false;
            while std::time::Instant::now() < until {
                seen |= host_mounts().contains(root.to_str().unwrap());
            }
            seen
        });
        let text = out(&container);
        assert!(
            text.contains("\nro\n")
                && text.contains("usr\n")
                && text.contains("/proc/1\n")
                && text.contains("/dev/null\n"),
            "{text}"
        );
        watch.join().unwrap()
    });
    assert!(!seen && !host_mounts().contains(root.to_str().unwrap()));
}

/// A process with a user namespace of its own may mount a procfs where it sees a whole one: not beneath a moved root either.
fn no_whole_proc() {
    let script = "
        my $made = syscall(272, 0x10000000 | 0x00020000 | 0x20000000);
        if (fork == 0) {
            my ($source, $target, $kind) = ('proc', '/tmp', 'proc');
            my $mounted = syscall(165, $source, $target, $kind, 0, 0);
            print $made, ' ', $mounted, ' ', $! + 0, qq(\n);
            exit;
        }
        wait;";
    // The numbers of the system calls are those of this architecture.
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for no_pivot in [false, true] {
        let container = bundle("true").edit(|spec| spec["process"]["args"] = json!(["perl", "-e", script]));
        let container = container.with(|plan| {
            let Rootfs::Bundle { no_pivot: field, .. } = &mut plan.rootfs else { unreachable!() };
            *field = no_pivot;
        });
        let text = out(&container);
        assert!(text == "0 -1 1\n" || text.starts_with("-1 "), "{no_pivot}: {text}");
    }
}

fn root_propagation() {
    let line = |propagation: Option<&str>, place: &str| {
        let container = bundle("cat /proc/self/mountinfo").edit(|spec| {
            spec["linux"].as_object_mut().unwrap().remove("rootfsPropagation");
            if let Some(propagation) = propagation {
                spec["linux"]["rootfsPropagation"] = json!(propagation);
            }
        });
        let mounts = out(&container);
        let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(place)).unwrap().to_owned();
        assert!(!host_mounts().contains(container.path("").to_str().unwrap()), "{propagation:?}");
        line
    };
    for none in [None, Some("private"), Some("rprivate"), Some("slave"), Some("rslave")] {
        assert!(!line(none, "/").contains("shared:"), "{none:?}");
    }
    assert!(line(Some("shared"), "/").contains("shared:"));
    assert!(!line(Some("shared"), "/proc").contains("shared:"));
    assert!(line(Some("rshared"), "/proc").contains("shared:"));
    assert!(line(Some("unbindable"), "/").contains("unbindable"));
    let wrong = bundle("true").edit(|spec| spec["linux"]["rootfsPropagation"] = json!("sideways"));
    assert_eq!(error(&wrong).kind(), Kind::InvalidArgument);
}

fn attributes_of_binds() {
    let with = |options: Value| {
        let container = Box_::sh("cat /proc/self/mountinfo");
        let source = container.path("tree");
        let mounted = [Mounted::tmpfs(&source, "rw"), Mounted::tmpfs(&source.join("below"), "rw")];
        let bind = json!([{"destination": "/v", "type": "bind", "source": source, "options": options}]);
        let container = with_mounts(container, bind);
        let mounts = out(&container);
        // Before the folder that they are in.
        mounted.into_iter().rev().for_each(drop);
        (options_of(&mounts, "/v"), mounts.contains(" /v/below ").then(|| options_of(&mounts, "/v/below")), mounts)
    };
    let (top, below, _) = with(json!(["rbind", "ro"]));
    assert!(has(&top, "ro") && has(&below.unwrap(), "rw"));
    let all = [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rrelatime", "relatime"),
        ("rnodiratime", "nodiratime"),
        ("rnosymfollow", "nosymfollow"),
    ];
    let (top, below, _) =
        with(json!(all.map(|(option, _)| option).iter().filter(|o| **o != "rrelatime").collect::<Vec<_>>()));
    assert!(below.is_none(), "without rbind there is nothing below");
    assert!(all.iter().filter(|(o, _)| *o != "rrelatime").all(|(_, shown)| has(&top, shown)), "{top:?}");
    for (option, shown) in all {
        let (top, below, _) = with(json!(["rbind", option]));
        assert!(has(&top, shown) && has(&below.unwrap(), shown), "{option}");
    }
    let (top, below, _) = with(json!(["rbind", "rnoatime", "rstrictatime", "rro", "rrw"]));
    let below = below.unwrap();
    assert!(!has(&below, "noatime") && !has(&below, "relatime") && has(&below, "rw") && has(&top, "rw"), "{below:?}");
    let (_, _, mounts) = with(json!(["rbind", "rshared"]));
    assert!(mounts.lines().filter(|line| line.contains(" /v")).all(|line| line.contains("shared:")), "{mounts}");
    let (_, _, mounts) = with(json!(["bind", "unbindable"]));
    assert!(mounts.lines().any(|line| line.contains(" /v ") && line.contains("unbindable")), "{mounts}");
}

/// As mount(8) and runc: a bind of which an attribute is named has those alone. A user namespace keeps what its source has.
fn locked_attributes() {
    let of_host = |users: bool, there: &str, asked: &str| {
        let container = Box_::sh("cat /proc/self/mountinfo");
        let container = if users { with_users(container) } else { container };
        let source = container.path("tree");
        let mounted = Mounted::tmpfs(&source, there);
        let options: Vec<&str> = asked.split(',').collect();
        let bind = json!([{"destination": "/v", "type": "bind", "source": source, "options": options}]);
        let container = with_mounts(container, bind);
        let options = container.run().map(|(_, mounts, _)| options_of(&mounts, "/v"));
        drop(mounted);
        options
    };
    let kept = of_host(false, "ro,noexec,nodiratime", "bind,private").unwrap();
    assert!(has(&kept, "ro") && has(&kept, "noexec") && has(&kept, "nodiratime"), "{kept:?}");
    let lost = of_host(false, "ro,noexec,noatime", "bind,dev").unwrap();
    assert!(has(&lost, "rw") && !has(&lost, "noexec") && has(&lost, "noatime"), "{lost:?}");
    let asked = of_host(false, "noatime", "bind,nodiratime").unwrap();
    assert!(has(&asked, "nodiratime") && has(&asked, "relatime") && !has(&asked, "noatime"), "{asked:?}");
    let locked = of_host(true, "ro,noexec", "bind,dev").unwrap();
    assert!(has(&locked, "ro") && has(&locked, "noexec"), "{locked:?}");
    let both = of_host(true, "nodev,nosuid,noatime", "bind,ro").unwrap();
    assert!(["ro", "nosuid", "nodev", "noatime"].iter().all(|option| has(&both, option)), "{both:?}");
    for (there, asked) in
        [("ro", "bind,rw"), ("nodev", "bind,dev"), ("relatime", "bind,noatime"), ("strictatime", "bind,relatime")]
    {
        let error = of_host(true, there, asked).unwrap_err();
        assert_eq!(error.kind(), Kind::PermissionDenied, "{there} {asked}");
        let text = error.to_string();
        assert!(text.contains("error mounting") && text.contains("operation not permitted"), "{text}");
    }
}

fn mapped_ids() {
    let shown = |options: Value, users: bool, own: bool| {
        let container = Box_::sh("stat -c %u:%g /v /v/file /v/below/file; touch /v/new && stat -c %u /v/new");
        let container = if users { with_users(container) } else { container };
        let source = container.path("tree");
        let mounted = [Mounted::tmpfs(&source, "rw"), Mounted::tmpfs(&source.join("below"), "rw")];
        for file in ["file", "below/file"] {
            fs::write(source.join(file), "").unwrap();
            std::os::unix::fs::chown(source.join(file), Some(1), Some(2)).unwrap();
        }
        let mut bind = json!({"destination": "/v", "type": "bind", "source": source, "options": options});
        if own {
            bind["uidMappings"] = json!([{"containerID": 0, "hostID": 300, "size": 10}]);
            bind["gidMappings"] = json!([{"containerID": 0, "hostID": 400, "size": 10}]);
        }
        let container = with_mounts(container, json!([bind]));
        let (_, out, _) = container.run().unwrap_or_else(|error| panic!("{error}"));
        let owner = fs::metadata(source.join("new")).map(|new| new.uid()).ok();
        mounted.into_iter().rev().for_each(drop);
        (out.lines().map(str::to_owned).collect::<Vec<_>>(), owner)
    };
    let (lines, _) = shown(json!(["rbind"]), false, true);
    assert_eq!(lines[..3], ["300:400", "301:402", "1:2"]);
    let (lines, _) = shown(json!(["rbind", "ridmap"]), false, true);
    assert_eq!(lines[..3], ["300:400", "301:402", "301:402"]);
    // The container's own user namespace: files show as they are, and new ones are kept so.
    let (lines, owner) = shown(json!(["rbind", "idmap"]), true, false);
    assert_eq!(lines, ["0:0", "1:2", "65534:65534", "0"]);
    assert_eq!(owner, Some(0));
    let none = with_mounts(
        Box_::new(&["true"]),
        json!([{"destination": "/v", "type": "bind", "source": "/tmp", "options": ["bind", "idmap"]}]),
    );
    assert!(error(&none).to_string().contains("invalid mount"));
    let overlapping = json!([{"containerID": 0, "hostID": 1, "size": 9}, {"containerID": 3, "hostID": 30, "size": 9}]);
    let wrong = json!([{"destination": "/v", "type": "bind", "source": "/tmp", "options": ["bind"],
                        "uidMappings": overlapping, "gidMappings": overlapping}]);
    assert!(error(&with_mounts(Box_::new(&["true"]), wrong)).to_string().contains("map of ids"));
}

fn tmpfs() {
    let container = bundle(
        "stat -c '%a %n' /full /full/folder /full/file /inherited /fresh /explicit; readlink /full/link; cat /full/file;
         touch /full/new && echo written; grep -E ' /(read-only|dev) ' /proc/self/mountinfo; ls /read-only/below",
    );
    let root = rootfs(&container);
    for (folder, mode) in [("full/folder", 0o777), ("full", 0o750), ("inherited", 0o710), ("explicit", 0o710)] {
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::set_permissions(root.join(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(root.join("full/file"), "content\n").unwrap();
    fs::set_permissions(root.join("full/file"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("/etc/passwd", root.join("full/link")).unwrap();
    let new = |target: &str, options: &[&str]| json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options});
    let container = with_mounts(
        container,
        json!([
            new("/full", &["tmpcopyup"]),
            new("/inherited", &[]),
            new("/fresh/folder/..", &[]),
            new("/explicit", &["mode=1500"]),
            new("/read-only", &["ro", "nosuid"]),
            new("/read-only/below", &["size=4k"]),
        ]),
    );
    let container = container.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev").unwrap();
        dev["options"].as_array_mut().unwrap().push(json!("ro"));
    });
    let text = out(&container);
    let expected = "750 /full\n777 /full/folder\n4711 /full/file\n710 /inherited\n1777 /fresh\n1500 /explicit\n/etc/passwd\ncontent\nwritten\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(has(&options_of(&text, "/read-only"), "ro") && has(&options_of(&text, "/dev"), "ro"), "{text}");
    assert_eq!(fs::metadata(root.join("explicit")).unwrap().mode() & 0o7777, 0o710);
    assert!(!root.join("full/new").exists());
}

fn any_file_system() {
    let container = Box_::sh("cat /merged/file; echo more > /merged/new; ls /ram; grep ' /ram ' /proc/self/mountinfo");
    // A name so long that it takes the old way.
    let lower = container.path(&"l".repeat(200));
    for folder in [&lower, &container.path("upper2"), &container.path("work2")] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(lower.join("file"), "lower\n").unwrap();
    let upper = container.path("upper2");
    let layers = [
        format!("lowerdir={}", lower.display()),
        format!("upperdir={},workdir={}", upper.display(), container.path("work2").display()),
    ];
    let container = with_mounts(
        container,
        json!([
            {"destination": "/merged", "type": "overlay", "source": "overlay", "options": layers},
            {"destination": "/ram", "type": "ramfs", "source": "x", "options": ["mode=700", "nodev", "sync", "silent", "iversion"]},
        ]),
    );
    let text = out(&container);
    assert!(text.starts_with("lower\n") && text.contains(" - ramfs x rw,sync"), "{text}");
    assert_eq!(fs::read(upper.join("new")).unwrap(), b"more\n");
    let unknown = |kind: &str, option: &str| {
        let mount = json!([{"destination": "/x", "type": kind, "source": "x", "options": [option]}]);
        error(&with_mounts(Box_::new(&["true"]), mount)).to_string()
    };
    assert!(unknown("nosuchfs", "ro").contains("No such device"));
    let text = unknown("tmpfs", "surprise=1");
    assert!(text.contains("surprise") && text.contains("error mounting \"x\" to rootfs at \"/x\""), "{text}");
}

fn remounts() {
    let container = with_mounts(
        Box_::sh("cat /proc/self/mountinfo"),
        json!([
            {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nodev"]},
            {"destination": "/t", "type": "bind", "options": ["bind", "remount", "ro", "nosuid"]},
            {"destination": "/u", "type": "tmpfs", "source": "tmpfs", "options": []},
            {"destination": "/u", "type": "tmpfs", "options": ["remount", "size=12k", "noexec"]},
        ]),
    );
    let mounts = out(&container);
    let (top, own) = (options_of(&mounts, "/t"), options_of(&mounts, "/u"));
    assert!(has(&top, "ro") && has(&top, "nosuid") && has(&top, "nodev"), "{top:?}");
    assert!(has(&own, "noexec") && mounts.contains("size=12k"), "{mounts}");
    for target in ["/nothing/there", "/etc"] {
        let wrong = json!([{"destination": target, "type": "bind", "options": ["bind", "remount", "ro"]}]);
        assert!(with_mounts(Box_::new(&["true"]), wrong).run().is_err(), "{target}");
    }
}

fn kernels_own() {
    let bind = |target: &str, source: &Path| {
        let container = without(Box_::sh("ls /proc/self/status /sys/kernel | head -1"), &[target]);
        let mount = json!([{"destination": target, "type": "bind", "source": source, "options": ["rbind"]}]);
        with_mounts(container.edit(|spec| spec["linux"]["maskedPaths"] = json!([])), mount).run()
    };
    bind("/proc", Path::new("/proc")).unwrap();
    bind("/sys", Path::new("/sys")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for target in ["/proc", "/sys"] {
        for source in [folder.path(), Path::new("/proc/sys"), Path::new("/sys/kernel"), Path::new("/dev")] {
            let error = bind(target, source).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument, "{source:?} onto {target}");
            assert!(error.to_string().contains("not of type"), "{error}");
        }
    }
    let error = bind("/proc", Path::new("/sys")).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
}

fn mount_order() {
    let container = bundle("cat /final/x/y/z/z/x/y/z/x/file");
    let (sources, root) = (container.path("sources"), rootfs(&container));
    for path in ["a/x", "b/y", "c/z"] {
        fs::create_dir_all(sources.join(path)).unwrap();
        fs::write(sources.join(path).join("file"), format!("{path}\n")).unwrap();
    }
    fs::create_dir(root.join("mnt")).unwrap();
    let bind = |source: PathBuf, target: PathBuf, options: &[&str]| json!({"destination": target, "type": "bind", "source": source, "options": options});
    let outer = |name: &str, target: &str| bind(sources.join(name), target.into(), &["bind", "rprivate"]);
    let inner = |name: &str, target: &str| bind(root.join(name), root.join(target), &["rbind", "rprivate"]);
    let mounts = json!([
        outer("a", "/mnt"),
        outer("b", "/mnt/x"),
        outer("c", "/mnt/x/y"),
        outer("a", "/mnt/x/y/z"),
        inner("mnt/x", "mnt/x/y/z/x"),
        inner("mnt/x/y", "mnt/x/y/z"),
        inner("mnt", "final"),
    ]);
    assert_eq!(out(&with_mounts(container, mounts)), "a/x\n");
}

fn targets_through_links() {
    let container = bundle("cat /tmp/foo/bar/baz/hosts; stat -c %a /setgid/a /setgid/a/b; ls -d /tmp/dangling");
    let root = rootfs(&container);
    symlink("/tmp/foo/bar", root.join("jump")).unwrap();
    symlink("/jump/baz/hosts", root.join("etc/hosts")).unwrap();
    symlink("/tmp/dangling", root.join("dangling")).unwrap();
    fs::create_dir(root.join("setgid")).unwrap();
    fs::set_permissions(root.join("setgid"), fs::Permissions::from_mode(0o7755)).unwrap();
    fs::write(container.path("file"), "hosts\n").unwrap();
    let file = container.path("file");
    let container = with_mounts(
        container,
        json!([
            {"destination": "/etc/hosts", "source": file, "options": ["bind"]},
            {"destination": "/setgid/a/b/c", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dangling", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
        ]),
    );
    assert_eq!(out(&container), "hosts\n2755\n2755\n/tmp/dangling\n");
}

fn user_namespace() {
    let script =
        "grep -E ' /(sys|proc) ' /proc/self/mountinfo; ls -d /sys/kernel /proc/1; touch /sys/x 2>/dev/null || echo ro";
    // This machine need not have message queues mounted.
    let hosts = without(with_users(Box_::sh(script)), &["/dev/mqueue"]).edit(|spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| !["network", "ipc"].iter().any(|kind| one["type"] == *kind));
    });
    let text = out(&hosts);
    let sys = options_of(&text, "/sys");
    assert!(["ro", "nosuid", "nodev", "noexec"].iter().all(|option| has(&sys, option)), "{text}");
    assert!(text.ends_with("/proc/1\n/sys/kernel\nro\n") || text.ends_with("/sys/kernel\n/proc/1\nro\n"), "{text}");
    // A pipe is made there, too; a device that the host does not have is an error.
    let pipe = |device: Value| {
        with_users(Box_::sh("stat -c %F /dev/given")).edit(|spec| spec["linux"]["devices"] = json!([device]))
    };
    assert_eq!(out(&pipe(json!({"path": "/dev/given", "type": "p"}))), "fifo\n");
    assert!(pipe(json!({"path": "/dev/given", "type": "c", "major": 1, "minor": 3})).run().is_err());
}

fn hostile() {
    let volume = tempfile::tempdir().unwrap();
    let run = |mounts: Value| with_mounts(bundle("grep -c ' /many/' /proc/self/mountinfo"), mounts).run();
    let bind = |source: &Path, target: &str| json!({"destination": target, "type": "bind", "source": source, "options": ["rbind"]});
    // Links in circles, in the root and as sources.
    let container = bundle("true");
    symlink("b", rootfs(&container).join("a")).unwrap();
    symlink("a", rootfs(&container).join("b")).unwrap();
    assert!(with_mounts(container, json!([bind(volume.path(), "/a/x")])).run().is_err());
    symlink("circle", volume.path().join("circle")).unwrap();
    let error = run(json!([bind(&volume.path().join("circle"), "/x")])).unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
    // Names longer than the kernel takes.
    for length in [300, 5000] {
        assert!(run(json!([bind(volume.path(), &format!("/{}", "n".repeat(length)))])).is_err());
        assert!(run(json!([bind(&volume.path().join("n".repeat(length)), "/x")])).is_err());
    }
    assert!(run(json!([bind(volume.path(), &format!("/{}", "n/".repeat(4000)))])).is_err());
    let nul = json!([{"destination": "/x\0y", "type": "tmpfs", "source": "tmpfs"}]);
    assert_eq!(run(nul).unwrap_err().kind(), Kind::InvalidArgument);
    // A file onto a folder, and the other way round.
    fs::write(volume.path().join("file"), "").unwrap();
    assert!(run(json!([bind(&volume.path().join("file"), "/etc")])).unwrap_err().to_string().contains("folder"));
    assert!(run(json!([bind(volume.path(), "/etc/passwd")])).unwrap_err().to_string().contains("folder"));
    // More mounts than a process may have open files.
    let many: Vec<Value> = (0..1500).map(|n| bind(volume.path(), &format!("/many/{n}"))).collect();
    assert_eq!(run(json!(many)).unwrap().1, "1500\n");
    assert_eq!(run(json!([bind(volume.path(), "/")])).unwrap_err().kind(), Kind::InvalidArgument);
}

fn cgroup2() {
    let script = "grep ' /cg ' /proc/self/mountinfo; ls /cg/cgroup.procs; mkdir /cg/x 2>/dev/null || echo ro";
    let container = with_mounts(
        Box_::sh(script),
        json!([{"destination": "/cg", "type": "cgroup2", "source": "cgroup", "options": ["ro"]}]),
    );
    let text = out(&container);
    assert!(text.contains(" - cgroup2 ") && text.ends_with("/cg/cgroup.procs\nro\n"), "{text}");
}
