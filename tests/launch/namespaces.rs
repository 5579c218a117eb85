//! Namespaces of containers on the real kernel: new ones, others' by path, user namespaces, clocks, kernel parameters.

use std::fs;

use rhumb::base::Kind;
use rhumb::runtime::client::Monitor;
use rhumb::runtime::state::Life;
use serde_json::{Value, json};

use crate::support::{self, Box_};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("each_namespace_is_joined_by_path", each_by_path),
    ("a_user_namespace_is_joined_by_path", user_by_path),
    ("a_new_user_namespace_with_others_namespaces", new_user_with_others),
    ("a_time_namespace_has_its_own_clocks", time),
    ("a_time_namespace_of_a_user_namespace", time_with_users),
    ("a_path_that_is_no_namespace_of_its_kind_is_refused", wrong_paths),
    ("a_namespace_that_vanishes_is_a_clear_error", vanishing),
    ("a_user_namespace_without_root", no_root_inside),
    ("as_many_mappings_as_the_kernel_takes", many_mappings),
    ("mappings_that_the_kernel_refuses_leave_nothing", bad_mappings),
    ("kernel_parameters_of_own_namespaces", parameters),
];

const LINKS: &str = "for n in net uts ipc pid user time; do readlink /proc/self/ns/$n; done";

fn out(container: &Box_) -> String {
    let (code, out, err) = container.run().unwrap();
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

/// A running container and its process.
fn running(container: Box_) -> (Box_, Monitor, i32) {
    let monitor = container.start();
    let Life::Alive(state) = container.life() else { panic!("not alive") };
    let pid = state.init.unwrap().0;
    (container, monitor, pid)
}

fn namespaces(spec: &mut Value) -> &mut Vec<Value> {
    spec["linux"]["namespaces"].as_array_mut().unwrap()
}

fn set_path(spec: &mut Value, kind: &str, path: &str) {
    namespaces(spec).retain(|one| one["type"] != kind);
    namespaces(spec).push(json!({"type": kind, "path": path}));
}

fn with_users(spec: &mut Value) {
    namespaces(spec).push(json!({"type": "user"}));
    map(spec, &json!([{"containerID": 0, "hostID": 300_000, "size": 65_536}]));
}

fn map(spec: &mut Value, map: &Value) {
    (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (map.clone(), map.clone());
}

fn links(pid: i32, names: &[&str]) -> String {
    let link = |name: &&str| format!("{}\n", fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display());
    names.iter().map(link).collect()
}

fn each_by_path() {
    let (_first, _monitor, pid) =
        running(Box_::new(&["sleep", "60"]).edit(|spec| namespaces(spec).push(json!({"type": "time"}))));
    let second = Box_::sh(LINKS).edit(|spec| {
        spec.as_object_mut().unwrap().remove("hostname");
        for (kind, file) in
            [("network", "net"), ("uts", "uts"), ("ipc", "ipc"), ("pid", "pid"), ("cgroup", "cgroup"), ("time", "time")]
        {
            set_path(spec, kind, &format!("/proc/{pid}/ns/{file}"));
        }
    });
    assert_eq!(out(&second), links(pid, &["net", "uts", "ipc", "pid", "user", "time"]));
    assert_ne!(links(pid, &["time"]), links(std::process::id() as i32, &["time"]));
}

fn user_by_path() {
    let (first, _monitor, pid) = running(Box_::new(&["sleep", "60"]).edit(with_users));
    let second = |script: &str| {
        Box_::sh(script).edit(|spec| {
            set_path(spec, "user", &format!("/proc/{pid}/ns/user"));
            set_path(spec, "network", &format!("/proc/{pid}/ns/net"));
            // A file system of this machine keeps its ids: what is not mapped is nobody's, and can be read by everyone.
            spec["hostname"] = json!("second");
        })
    };
    let second_ = second(&format!("{LINKS}; id -u; hostname; cat /proc/self/uid_map; echo $$"));
    let text = out(&second_);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(format!("{}\n{}\n", lines[0], lines[4]), links(pid, &["net", "user"]), "{text}");
    assert_ne!(lines[3], links(pid, &["pid"]).trim(), "{text}");
    assert_eq!((lines[6], lines[7]), ("0", "second"), "{text}");
    assert!(lines[8].contains("300000") && lines[9] == "1", "{text}");
    // Its new namespaces belong to the user namespace: root in there may change them.
    assert_eq!(out(&second("hostname other && hostname").edit(grant_admin)), "other\n");
    // The same ids may be said again, others not.
    let same = second("true").edit(|spec| map(spec, &json!([{"containerID": 0, "hostID": 300_000, "size": 65_536}])));
    assert_eq!(out(&same), "");
    let other = second("true").edit(|spec| map(spec, &json!([{"containerID": 0, "hostID": 300_000, "size": 65_535}])));
    let error = other.run().unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert!(error.to_string().contains("non-matching mapping"), "{error}");
    // And further processes go there too.
    let third = second("sleep 60");
    let _monitor = third.start();
    let (_, text, err) = third.exec(&["sh", "-c", "readlink /proc/self/ns/user; id -u"]).unwrap();
    assert_eq!(text, format!("{}0\n", links(pid, &["user"])), "{err}");
    drop(first);
}

fn grant_admin(spec: &mut Value) {
    for set in ["bounding", "effective", "permitted"] {
        spec["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_ADMIN"));
    }
}

fn new_user_with_others() {
    let (_first, _monitor, pid) = running(Box_::new(&["sleep", "60"]));
    let second = Box_::sh(&format!("{LINKS}; id -u; cat /proc/self/uid_map")).edit(|spec| {
        spec.as_object_mut().unwrap().remove("hostname");
        with_users(spec);
        for (kind, file) in [("network", "net"), ("uts", "uts"), ("ipc", "ipc"), ("pid", "pid")] {
            set_path(spec, kind, &format!("/proc/{pid}/ns/{file}"));
        }
        // Neither can be mounted anew by who does not own the namespaces.
        spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "mqueue");
    });
    let text = out(&second);
    assert!(text.starts_with(&links(pid, &["net", "uts", "ipc", "pid"])), "{text}");
    assert!(!text.contains(links(pid, &["user"]).trim()), "{text}");
    assert!(text.contains("\n0\n") && text.contains("300000"), "{text}");
    // Whoever forked it has come back: its further forks go where they should.
    let third = Box_::new(&["sleep", "60"]).edit(|spec| {
        with_users(spec);
        set_path(spec, "pid", &format!("/proc/{pid}/ns/pid"));
        set_path(spec, "network", &format!("/proc/{pid}/ns/net"));
    });
    let _monitor = third.start();
    let (_, text, _) = third.exec(&["readlink", "/proc/self/ns/pid", "/proc/self/ns/net"]).unwrap();
    assert_eq!(text, links(pid, &["pid", "net"]));
}

fn uptime(text: &str) -> f64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn time() {
    let container = Box_::new(&["sleep", "60"]).edit(|spec| {
        namespaces(spec).push(json!({"type": "time"}));
        spec["linux"]["timeOffsets"] =
            json!({"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 1000, "nanosecs": 5}});
    });
    let (container, _monitor, pid) = running(container);
    let now = || uptime(&fs::read_to_string("/proc/uptime").unwrap());
    let inside = uptime(&container.exec(&["cat", "/proc/uptime"]).unwrap().1);
    assert!((now() + 1_000_000.0 - inside).abs() < 600.0, "{inside}");
    let offsets = fs::read_to_string(format!("/proc/{pid}/timens_offsets")).unwrap();
    let offsets: Vec<&str> = offsets.split_whitespace().collect();
    assert_eq!(offsets, ["monotonic", "1000", "5", "boottime", "1000000", "0"]);
}

fn time_with_users() {
    let container = Box_::sh("cat /proc/uptime; cat /proc/self/timens_offsets").edit(|spec| {
        with_users(spec);
        namespaces(spec).push(json!({"type": "time"}));
        spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 5_000_000}});
    });
    let inside = uptime(&out(&container));
    assert!(inside > 5_000_000.0, "{inside}");
    let past = Box_::new(&["true"]).edit(|spec| {
        namespaces(spec).push(json!({"type": "time"}));
        spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": -4_000_000_000_i64}});
    });
    let error = past.run().unwrap_err();
    assert!(error.to_string().contains("making a time namespace"), "{error}");
}

fn wrong_paths() {
    for (kind, path) in [
        ("network", "/proc/self/ns/uts"),
        ("pid", "/proc/self/ns/user"),
        ("user", "/proc/self/ns/net"),
        ("time", "/proc/self/ns/pid"),
        ("uts", "/dev/zero"),
        ("ipc", "/etc/passwd"),
        ("cgroup", "/"),
        ("network", "proc/self/ns/net"),
    ] {
        let container = Box_::new(&["true"]).edit(|spec| set_path(spec, kind, path));
        let error = container.run().unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{kind} {path}: {error}");
    }
    let twice = Box_::new(&["true"]).edit(|spec| namespaces(spec).push(json!({"type": "pid"})));
    assert_eq!(twice.run().unwrap_err().kind(), Kind::InvalidArgument);
    // A name of the machine's own is nobody's to set.
    let host = Box_::new(&["true"]).edit(|spec| namespaces(spec).retain(|one| one["type"] != "uts"));
    assert!(host.run().unwrap_err().to_string().contains("unable to set hostname without a private UTS namespace"));
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let own = Box_::new(&["true"]).edit(|spec| set_path(spec, "uts", "/proc/self/ns/uts"));
    assert_eq!(own.run().unwrap_err().kind(), Kind::InvalidArgument);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), name);
}

fn vanishing() {
    let (first, monitor, pid) = running(Box_::new(&["sleep", "60"]));
    let second = Box_::new(&["true"]).edit(|spec| set_path(spec, "network", &format!("/proc/{pid}/ns/net")));
    drop((monitor, first));
    support::eventually("it is gone", || !std::path::Path::new(&format!("/proc/{pid}/ns/net")).exists());
    let error = second.run().unwrap_err();
    assert!(error.to_string().contains("opening the network namespace"), "{error}");
}

fn no_root_inside() {
    let container = Box_::sh("id -u; id -g; grep CapEff /proc/self/status").edit(|spec| {
        namespaces(spec).push(json!({"type": "user"}));
        map(spec, &json!([{"containerID": 1000, "hostID": 400_000, "size": 1}]));
        spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    // The engine's own roots are shown with the container's ids, and need a root there.
    let error = container.run().unwrap_err();
    assert!(error.to_string().contains("no root") || error.to_string().contains("not mapped"), "{error}");
    let stranger = Box_::new(&["true"]).edit(|spec| {
        with_users(spec);
        spec["process"]["user"] = json!({"uid": 70_000, "gid": 0});
        map(spec, &json!([{"containerID": 1, "hostID": 400_000, "size": 1}]));
    });
    assert!(stranger.run().unwrap_err().to_string().contains("is not mapped"));
}

fn many_mappings() {
    let container = Box_::sh("cat /proc/self/uid_map | wc -l; id -u").edit(|spec| {
        namespaces(spec).push(json!({"type": "user"}));
        let ranges: Vec<Value> =
            (0..300).map(|n| json!({"containerID": n, "hostID": 100_000 + n * 2, "size": 1})).collect();
        map(spec, &json!(ranges));
    });
    assert_eq!(out(&container), "300\n0\n");
}

fn bad_mappings() {
    for count in [341, 10_000] {
        let container = Box_::new(&["true"]).edit(|spec| {
            namespaces(spec).push(json!({"type": "user"}));
            let ranges: Vec<Value> = (0..count).map(|n| json!({"containerID": n, "hostID": n, "size": 1})).collect();
            map(spec, &json!(ranges));
        });
        let error = container.run().unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.to_string().contains(&format!("{count} uid mappings")), "{error}");
    }
    let none = Box_::new(&["true"]).edit(|spec| namespaces(spec).push(json!({"type": "user"})));
    assert_eq!(none.run().unwrap_err().kind(), Kind::InvalidArgument);
    let without = Box_::new(&["true"]).edit(|spec| map(spec, &json!([{"containerID": 0, "hostID": 1, "size": 1}])));
    assert_eq!(without.run().unwrap_err().kind(), Kind::InvalidArgument);
}

fn parameters() {
    let set = |name: &str, value: &str, show: &str| {
        Box_::sh(&format!("cat /proc/sys/{show}")).edit(|spec| spec["linux"]["sysctl"] = json!({name: value}))
    };
    assert_eq!(out(&set("net/ipv4/ip_forward", "1", "net/ipv4/ip_forward")), "1\n");
    assert_eq!(out(&set("kernel.msgmax", "4096", "kernel/msgmax")), "4096\n");
    assert_eq!(out(&set("fs.mqueue.msg_max", "12", "fs/mqueue/msg_max")), "12\n");
    assert_eq!(out(&set("kernel.domainname", "x.test", "kernel/domainname")), "x.test\n");
    assert_eq!(out(&set("net.ipv4.conf.lo.rp_filter", "2", "net/ipv4/conf/lo/rp_filter").edit(with_users)), "2\n");
    let host = |kind: &str, file: &str, name: &str| {
        let own = set(name, "1", "x").edit(|spec| {
            spec.as_object_mut().unwrap().remove("hostname");
            set_path(spec, kind, &format!("/proc/self/ns/{file}"));
        });
        own.run().unwrap_err().to_string()
    };
    for (kind, file, name) in [
        ("network", "net", "net.ipv4.ip_forward"),
        ("ipc", "ipc", "kernel.msgmax"),
        ("uts", "uts", "kernel.domainname"),
    ] {
        assert!(host(kind, file, name).contains("is not in a separate kernel namespace"), "{name}");
    }
    let missing = set("net.ipv4.no_such", "1", "x").run().unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound, "{missing}");
}
