//! What a container sees and may do: namespaces, mounts, users, rights, limits, terminals, exec.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rhumb::base::Kind;
use rhumb::model::exec::ExecOptions;
use rhumb::runtime::client::AttachEnd;
use rhumb::runtime::plan::Rootfs;
use serde_json::json;

use crate::support::{self, Box_, attachment, eventually};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("nothing_of_the_host_leaks_in", nothing_of_the_host_leaks_in),
    ("namespaces_are_its_own", namespaces_are_its_own),
    ("rights_are_dockers", rights_are_dockers),
    ("users_and_groups_come_from_the_image", users_and_groups),
    ("paths_are_masked_and_read_only", paths_are_masked_and_read_only),
    ("devices_are_made_and_others_denied", devices),
    ("binds_are_mounted_with_their_options", binds),
    ("a_missing_working_folder_is_made", working_folder),
    ("a_hostile_image_leads_nowhere", a_hostile_image),
    ("a_hundred_and_fifty_layers", a_hundred_and_fifty_layers),
    ("limits_are_set_and_memory_kills_are_reported", limits),
    ("a_process_limit_holds", a_process_limit_holds),
    ("a_user_namespace_shows_files_as_its_own", a_user_namespace),
    ("a_terminal_works", a_terminal_works),
    ("exec_enters_with_the_same_rights", exec_enters),
    ("exec_is_killed_at_its_deadline", exec_is_killed),
    ("exec_with_a_terminal", exec_with_a_terminal),
    ("exec_in_an_ending_container_is_refused", exec_in_an_ending_container),
    ("a_second_container_joins_the_network", a_second_container_joins),
    ("sysctls_are_set_only_in_own_namespaces", sysctls),
    ("row_44_the_primary_group_is_a_further_one_too", primary_group),
    ("row_4_and_11_links_of_an_image_lead_no_mount_into_the_system", links_to_the_system),
    ("keys_of_the_session_stay_outside", session_keys),
    ("host_pid_namespace_leaves_no_process", host_pid_namespace),
];

fn out(container: Box_) -> String {
    let (code, out, err) = container.run().unwrap();
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

fn nothing_of_the_host_leaks_in() {
    let env = out(Box_::new(&["env"]));
    let mut env: Vec<&str> = env.lines().collect();
    env.sort_unstable();
    assert_eq!(env, ["HOME=/root", "PATH=/usr/local/bin:/usr/bin:/bin"]);
    let fds = out(Box_::sh("ls -l /proc/self/fd"));
    // 3 is the folder that ls itself has open.
    assert!(!fds.contains(" 4 ->"), "{fds}");
    assert!(fds.contains("0 -> /dev/null") && fds.contains("3 -> /proc/"), "{fds}");
    let container = Box_::new(&["sleep", "60"]);
    let _monitor = container.start();
    let (_, fds, _) = container.exec(&["ls", "/proc/1/fd", "/proc/self/fd"]).unwrap();
    assert_eq!(fds.split_whitespace().filter(|fd| *fd == "3").count(), 1, "{fds}");
    assert!(!fds.contains('4'), "{fds}");
}

fn namespaces_are_its_own() {
    assert_eq!(out(Box_::new(&["hostname"])), "box\n");
    let processes = out(Box_::sh("echo $$; ls /proc | grep '^[0-9]*$' | wc -l"));
    assert!(processes.starts_with("1\n"), "{processes}");
    let links = "for n in mnt net uts pid ipc cgroup; do readlink /proc/self/ns/$n; done";
    let inside = out(Box_::sh(links));
    for (inside, name) in inside.lines().zip(["mnt", "net", "uts", "pid", "ipc", "cgroup"]) {
        assert_ne!(fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap(), inside);
    }
    let cgroups = out(Box_::sh("cat /proc/self/cgroup"));
    for line in cgroups.lines().filter(|line| ["memory", "cpu:", "pids", "0::"].iter().any(|name| line.contains(name)))
    {
        assert!(line.ends_with(":/"), "{cgroups}");
    }
    assert!(out(Box_::sh("cat /proc/net/dev")).contains("lo:"));
    assert!(out(Box_::sh("cat /sys/class/net/lo/operstate /sys/class/net/lo/flags")).contains("0x9"), "loopback is up");
}

fn rights_are_dockers() {
    let status = "grep -E '^(Cap|NoNewPrivs|Groups)' /proc/self/status";
    let root = out(Box_::sh(status));
    assert!(root.contains("CapInh:\t0000000000000000"), "{root}");
    assert!(root.contains("CapEff:\t00000000a80425fb") && root.contains("CapBnd:\t00000000a80425fb"), "{root}");
    assert!(root.contains("CapAmb:\t0000000000000000"), "{root}");
    let user = out(Box_::sh(status).with(|plan| plan.user = "www".into()));
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert!(user.contains(&format!("{set}:\t0000000000000000")), "{user}");
    }
    let none = Box_::sh(status).edit(|spec| spec["process"]["noNewPrivileges"] = json!(true));
    assert!(out(none).contains("NoNewPrivs:\t1"));
    assert_eq!(out(Box_::sh("umask; cat /proc/self/status | grep SigBlk")), "0022\nSigBlk:\t0000000000000000\n");
}

fn users_and_groups() {
    let id = |user: &str, add: &[&str]| {
        let add = add.iter().map(|group| (*group).to_owned()).collect();
        Box_::sh("id; echo $HOME").with(|plan| (plan.user, plan.group_add) = (user.to_owned(), add)).run()
    };
    assert_eq!(id("www", &[]).unwrap().1, "uid=33(www) gid=33(www) groups=33(www),4(adm)\n/var/www\n");
    assert_eq!(id("33:4", &["777"]).unwrap().1, "uid=33(www) gid=4(adm) groups=4(adm),777\n/var/www\n");
    assert_eq!(id("12345", &[]).unwrap().1, "uid=12345 gid=0(root) groups=0(root)\n/\n");
    assert_eq!(id("nobody", &[]).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(id("4294967295", &[]).unwrap_err().kind(), Kind::InvalidArgument);
    // Its own streams can be opened anew by name.
    let reopen = Box_::sh("echo hi > /dev/stdout; echo ho > /proc/self/fd/2").with(|plan| plan.user = "www".into());
    let (code, out, err) = reopen.run().unwrap();
    assert_eq!((code, out.as_str(), err.as_str()), (0, "hi\n", "ho\n"));
}

fn paths_are_masked_and_read_only() {
    let container = Box_::sh(
        "ls /proc/acpi /sys/firmware; cat /proc/kcore /proc/keys; echo x > /proc/sys/kernel/hostname || echo refused;
         mkdir /sys/fs/cgroup/memory/x || echo refused; touch /new || echo refused; touch /dev/shm/ok && echo done",
    );
    let (_, out, _) = container.edit(|spec| spec["root"] = json!({"path": "", "readonly": true})).run().unwrap();
    assert!(out.ends_with("refused\nrefused\nrefused\ndone\n"), "{out}");
    let mounts = self::out(Box_::new(&["cat", "/proc/self/mountinfo"]));
    assert!(mounts.lines().all(|line| !line.contains("shared:") && !line.contains("master:")), "{mounts}");
}

fn devices() {
    let list =
        out(Box_::sh("cd /dev; stat -c '%n %a %F %t:%T' null zero full random urandom tty; readlink fd stdin ptmx"));
    assert!(list.starts_with("null 666 character special file 1:3\n"), "{list}");
    assert!(list.ends_with("/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n"), "{list}");
    let (_, out, _) =
        Box_::sh("mknod /tmp/d b 254 0 && (head -c 1 /tmp/d >/dev/null 2>&1 || echo denied)").run().unwrap();
    assert_eq!(out, "denied\n");
}

fn binds() {
    let container =
        Box_::sh("cat /data/deep/file /etc/hosts; touch /data/new || echo ro; cat /ro/file; touch /ro/x || echo ro");
    let host = container.path("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "content\n").unwrap();
    let container = container.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": "/data/deep", "type": "bind", "source": host, "options": ["rbind"]}));
        mounts.push(json!({"destination": "/ro", "type": "bind", "source": host, "options": ["rbind", "ro"]}));
        mounts.push(
            json!({"destination": "/etc/hosts", "type": "bind", "source": host.join("file"), "options": ["bind"]}),
        );
    });
    let (_, out, _) = container.run().unwrap();
    assert_eq!(out, "content\ncontent\ncontent\nro\n");
    let missing = Box_::new(&["true"]).edit(|spec| {
        let mount = json!({"destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["rbind"]});
        spec["mounts"].as_array_mut().unwrap().push(mount);
    });
    let error = missing.run().unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("/no/such/source"), "{error}");
}

fn working_folder() {
    let at = |cwd: &str| Box_::sh("pwd").edit(|spec| spec["process"]["cwd"] = json!(cwd));
    assert_eq!(out(at("/made/for/it")), "/made/for/it\n");
    assert_eq!(out(at("/var/www")), "/var/www\n");
    for cwd in ["/proc/self/fd/3", "/proc/1/cwd/../../..", "/etc/passwd"] {
        let result = at(cwd).run();
        assert!(result.is_err() || result.unwrap().1.starts_with('/'), "{cwd}");
    }
}

/// Images whose own files point out of the root: refused with one error, or contained.
fn a_hostile_image() {
    let canary = tempfile::tempdir().unwrap();
    for (name, strict) in [("proc", true), ("sys", true), ("dev", true), ("etc", false), ("data", false)] {
        let container = Box_::new(&["true"]);
        let layer = container.path("layer");
        fs::create_dir(&layer).unwrap();
        symlink(canary.path(), layer.join(name)).unwrap();
        fs::write(container.path("file"), "x").unwrap();
        let file = container.path("file");
        let target = format!("/{name}/new/file");
        let container = container.with(|plan| {
            let Rootfs::Overlay { lower, .. } = &mut plan.rootfs else { unreachable!() };
            lower.insert(0, layer);
        });
        let container = container.edit(|spec| {
            if !strict {
                let mount = json!({"destination": target, "type": "bind", "source": file, "options": ["bind"]});
                spec["mounts"].as_array_mut().unwrap().push(mount);
            }
        });
        let result = container.run();
        assert_eq!(result.is_err(), strict, "{name}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("link"), "{error}");
        }
        assert_eq!(fs::read_dir(canary.path()).unwrap().count(), 0, "{name} led out");
    }
    // A passwd that never ends, or waits for ever.
    for make in ["mkfifo etc/passwd", "ln -s /dev/zero etc/passwd", "head -c 2000000 /dev/zero > etc/passwd"] {
        let container = Box_::new(&["true"]).with(|plan| plan.user = "www".into());
        let layer = container.path("layer");
        fs::create_dir_all(layer.join("etc")).unwrap();
        let made = std::process::Command::new("sh").args(["-c", make]).current_dir(&layer).status().unwrap();
        assert!(made.success());
        let container = container.with(|plan| {
            let Rootfs::Overlay { lower, .. } = &mut plan.rootfs else { unreachable!() };
            lower.insert(0, layer);
        });
        let error = container.run().unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{make}: {error}");
    }
}

fn a_hundred_and_fifty_layers() {
    let container = Box_::sh("cat /layer-0 /layer-149");
    let layers: Vec<_> = (0..150).map(|n| container.path(&format!("layer-{n}"))).collect();
    for (n, layer) in layers.iter().enumerate() {
        fs::create_dir(layer).unwrap();
        fs::write(layer.join(format!("layer-{n}")), format!("{n}\n")).unwrap();
    }
    let container = container.with(|plan| {
        let Rootfs::Overlay { lower, .. } = &mut plan.rootfs else { unreachable!() };
        lower.splice(0..0, layers);
    });
    assert_eq!(out(container), "0\n149\n");
}

fn limits() {
    let container = Box_::sh(
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us; x=$(tail /dev/zero); echo no",
    );
    let container = container.edit(|spec| {
        spec["linux"]["resources"]["memory"] = json!({"limit": 32 << 20, "swap": 32 << 20});
        spec["linux"]["resources"]["cpu"] = json!({"quota": 50_000, "period": 100_000, "shares": 512, "cpus": "0"});
    });
    let (_, out, _) = container.run().unwrap();
    assert!(out.starts_with("33554432\n50000\n"), "{out}");
    let rhumb::runtime::state::Life::Ended(record) = container.life() else { panic!() };
    assert!(record.oom_killed, "{record:?}");
    let bad = Box_::new(&["true"]).edit(|spec| spec["linux"]["resources"]["cpu"] = json!({"cpus": "900-901"}));
    assert!(bad.run().is_err());
}

fn a_process_limit_holds() {
    let container = Box_::sh("for n in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; echo all").edit(|spec| {
        spec["linux"]["resources"]["pids"] = json!({"limit": 5});
    });
    let (code, out, err) = container.run().unwrap();
    assert!(code != 0 && out.is_empty() && err.contains("ork"), "{code} {out} {err}");
}

fn a_user_namespace() {
    let script =
        "id -u; stat -c %u:%g /etc/passwd /dev/null /proc/1; touch /mine && stat -c %u /mine; mount | grep -c cgroup";
    let container = Box_::sh(script).edit(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
        (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (map.clone(), map);
    });
    let (code, out, err) = container.run().unwrap();
    assert!(out.starts_with("0\n0:0\n65534:65534\n0:0\n0\n"), "{code} {out} {err}");
    let Rootfs::Overlay { upper, .. } = &container.plan.rootfs else { unreachable!() };
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(upper.join("mine")).unwrap());
    assert_eq!(owner, 0, "files are kept with the container's ids");
    // And exec goes there too.
    let container = Box_::new(&["sleep", "60"]).edit(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
        (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (map.clone(), map);
    });
    let _monitor = container.start();
    let (_, out, _) = container.exec(&["sh", "-c", "id -u; cat /proc/self/uid_map"]).unwrap();
    assert!(out.starts_with("0\n") && out.contains("200000"), "{out}");
}

fn a_terminal_works() {
    let container = Box_::sh("tty; stty size; echo $TERM; ls -l /proc/self/fd/0; stat -c %t:%T /dev/console");
    let container = container.edit(|spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["consoleSize"] = json!({"height": 33, "width": 99});
    });
    let (code, out, _) = container.run().unwrap();
    assert!(code == 0 && out.starts_with("/dev/pts/0\r\n33 99\r\nxterm\r\n"), "{out}");
    assert!(out.contains("0 -> /dev/pts/0") && out.contains("88:0"), "{out}");
}

fn exec_enters() {
    let container = Box_::new(&["sleep", "60"]).edit(|spec| spec["process"]["noNewPrivileges"] = json!(true));
    let _monitor = container.start();
    let status = container.exec(&["grep", "-E", "^(CapEff|CapInh|NoNewPrivs)", "/proc/self/status"]).unwrap().1;
    assert!(status.contains("CapInh:\t0000000000000000\n") && status.contains("CapEff:\t00000000a80425fb"), "{status}");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let links =
        "for n in mnt net uts pid ipc cgroup; do readlink /proc/self/ns/$n /proc/1/ns/$n; done; cat /proc/self/cgroup";
    let (_, links, _) = container.exec(&["sh", "-c", links]).unwrap();
    let lines: Vec<&str> = links.lines().collect();
    assert!(lines[..12].chunks(2).all(|pair| pair[0] == pair[1]), "{links}");
    let memory = lines.iter().find(|line| line.contains("memory")).unwrap();
    assert!(memory.ends_with(":/"), "{links}");
    let options = ExecOptions {
        args: ["sh", "-c", "id -u; id -G; pwd; echo $A $HOME; exit 9"].map(str::to_owned).to_vec(),
        env: vec![("A".into(), "b".into())],
        user: Some("www".into()),
        working_dir: Some("/tmp".into()),
        ..ExecOptions::default()
    };
    let (code, out, _) = container.exec_with(&options).unwrap();
    assert_eq!((code, out.as_str()), (9, "33\n33 4\n/tmp\nb /var/www\n"));
    assert_eq!(container.exec(&["sh", "-c", "kill -9 $$"]).unwrap().0, 137);
    // A grandchild that keeps the streams does not keep the exec.
    let start = std::time::Instant::now();
    assert_eq!(container.exec(&["sh", "-c", "sleep 50 & echo done"]).unwrap().1, "done\n");
    assert!(start.elapsed() < Duration::from_secs(5));
    let options = ExecOptions {
        privileged: true,
        args: vec!["grep".into(), "CapEff".into(), "/proc/self/status".into()],
        ..options
    };
    let options = ExecOptions { user: None, ..options };
    assert!(!container.exec_with(&options).unwrap().1.contains("a80425fb"));
}

fn exec_is_killed() {
    let container = Box_::new(&["sleep", "60"]);
    let mut monitor = container.start();
    let options =
        ExecOptions { args: ["sh", "-c", "sleep 77; true"].map(str::to_owned).to_vec(), ..ExecOptions::default() };
    let mut ignore = |_, _: &[u8]| Ok(());
    let mut attachment = attachment(&mut ignore);
    attachment.deadline = Some(std::time::Instant::now() + Duration::from_millis(150));
    assert_eq!(monitor.exec(&options, attachment).unwrap_err().kind(), Kind::Timeout);
    eventually("its processes are gone", || {
        !container.exec(&["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).unwrap().1.contains("sleep 77;")
            && !container
                .exec(&["sh", "-c", "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done"])
                .unwrap()
                .1
                .contains("sleep 77 \n")
    });
}

fn exec_with_a_terminal() {
    let container = Box_::new(&["sleep", "60"]);
    let mut monitor = container.start();
    let options = ExecOptions {
        args: ["sh", "-c", "tty; echo $TERM; exit 4"].map(str::to_owned).to_vec(),
        tty: true,
        ..ExecOptions::default()
    };
    let mut out = Vec::new();
    let mut take = |_, bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    assert_eq!(monitor.exec(&options, attachment(&mut take)).unwrap(), AttachEnd::Exited(4));
    assert_eq!(String::from_utf8(out).unwrap(), "/dev/pts/0\r\nxterm\r\n");
}

fn exec_in_an_ending_container() {
    for _ in 0..10 {
        let container = Box_::new(&["sleep", "60"]);
        let mut monitor = container.start();
        monitor.signal(9).unwrap();
        match container.exec(&["true"]) {
            Err(error) => {
                assert!(matches!(error.kind(), Kind::Conflict | Kind::Unavailable | Kind::Failed), "{error:?}")
            }
            Ok((code, ..)) => assert!(code == 137 || code == 0),
        }
    }
}

fn a_second_container_joins() {
    let first = Box_::new(&["sleep", "60"]);
    let _monitor = first.start();
    let rhumb::runtime::state::Life::Alive(state) = first.life() else { panic!() };
    let pid = state.init.unwrap().0;
    let second = Box_::sh("readlink /proc/self/ns/net /proc/self/ns/pid; cat /proc/1/comm").edit(|spec| {
        for namespace in spec["linux"]["namespaces"].as_array_mut().unwrap() {
            match namespace["type"].as_str().unwrap() {
                "network" => namespace["path"] = json!(format!("/proc/{pid}/ns/net")),
                "pid" => namespace["path"] = json!(format!("/proc/{pid}/ns/pid")),
                _ => {}
            }
        }
    });
    let out = out(second);
    let expected = |name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string();
    assert_eq!(out, format!("{}\n{}\nsleep\n", expected("net"), expected("pid")));
}

fn sysctls() {
    let container = Box_::sh("cat /proc/sys/net/ipv4/ip_forward").edit(|spec| {
        spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    });
    assert_eq!(out(container), "1\n");
    let bad = Box_::new(&["true"]).edit(|spec| spec["linux"]["sysctl"] = json!({"kernel.core_pattern": "|/x"}));
    assert_eq!(bad.run().unwrap_err().kind(), Kind::InvalidArgument);
}

fn host_pid_namespace() {
    let container = Box_::sh("sleep 55 & setsid sleep 55 & echo $!").edit(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "pid");
    });
    let pid: i32 = out_of(&container).trim().parse().unwrap();
    eventually("it was killed", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.contains("(sleep)") || stat.contains(") Z ")
    });
    let _ = support::base();
}

/// CVE-2022-36109: a set-group-id program drops the primary group, and with it what a file denies to that group.
fn primary_group() {
    let groups = "grep -E '^Groups' /proc/self/status";
    assert_eq!(out(Box_::sh(groups).with(|plan| plan.user = "1000:1000".into())).trim_end(), "Groups:\t1000");
    let container = Box_::new(&["sleep", "60"]);
    let _monitor = container.start();
    let options = ExecOptions {
        args: ["sh", "-c", groups].map(str::to_owned).to_vec(),
        user: Some("7:8".to_owned()),
        ..ExecOptions::default()
    };
    assert_eq!(container.exec_with(&options).unwrap().1.trim_end(), "Groups:\t8");
}

/// CVE-2019-19921, CVE-2026-41579: a volume behind a link covered /proc, or got the container's devices made in it.
fn links_to_the_system() {
    let mounted_at = |target: &str| {
        let container = Box_::sh("ls -A /vol /run/shm/kept 2>/dev/null; ls /proc/self/status");
        let (layer, volume) = (container.path("layer"), container.path("volume"));
        fs::create_dir_all(layer.join("run")).unwrap();
        fs::create_dir(&volume).unwrap();
        for (link, to) in
            [("p", "/proc"), ("d", "dev"), ("s", "run/../p/../sys"), ("run/shm", "/dev/shm"), ("vol", "tmp")]
        {
            symlink(to, layer.join(link)).unwrap();
        }
        let container = container
            .with(|plan| {
                let Rootfs::Overlay { lower, .. } = &mut plan.rootfs else { unreachable!() };
                lower.insert(0, layer.clone());
            })
            .edit(|spec| {
                let mount = json!({"destination": target, "type": "bind", "source": volume, "options": ["rbind"]});
                spec["mounts"].as_array_mut().unwrap().push(mount);
            });
        let result = container.run().map(|(code, ..)| code);
        (result, fs::read_dir(&volume).unwrap().count())
    };
    for target in ["/p", "/p/sys", "/p/self/attr", "/d", "/s", "/proc", "/proc/", "/dev/../proc"] {
        let (result, made) = mounted_at(target);
        assert_eq!(result.map_err(|error| error.kind()), Err(Kind::InvalidArgument), "{target}");
        assert_eq!(made, 0, "{target}");
    }
    for target in ["/vol", "/vol/new/folder", "/run/shm/kept", "/s/kernel"] {
        let (result, _) = mounted_at(target);
        assert!(result.is_ok(), "{target}: {result:?}");
    }
}

/// The session keyring of whoever started the monitor could be searched and read by the container.
fn session_keys() {
    let keyctl = if cfg!(target_arch = "x86_64") { 250 } else { 219 };
    // KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING.
    let script = format!("print syscall({keyctl}, 0, -3, 0)");
    let outside = std::process::Command::new("perl").args(["-e", &script]).output().unwrap().stdout;
    let outside = String::from_utf8(outside).unwrap();
    let sleeper = Box_::new(&["sleep", "60"]);
    let _monitor = sleeper.start();
    for inside in [out(Box_::new(&["perl", "-e", &script])), sleeper.exec(&["perl", "-e", &script]).unwrap().1] {
        assert!(inside.parse::<i32>().is_ok_and(|ring| ring > 0), "{inside}");
        assert_ne!(inside, outside);
    }
}

fn out_of(container: &Box_) -> String {
    container.run().unwrap().1
}
