//! What is published for this host alone, kept apart, or not ours stays so, whoever tries.

use std::process::Command;
use std::time::Duration;

use crate::support::process::{self, Outcome, PATIENCE};
use crate::support::{Rhumb, peer};
use crate::{network, sleeper};

#[track_caller]
fn host(line: &str) -> Outcome {
    let mut words = line.split_whitespace();
    process::run(Command::new(words.next().unwrap()).args(words), None, PATIENCE)
}

/// A machine on a wire of this one's: a network namespace that knows a way to 127.0.0.1, which is this host's.
struct Neighbour(&'static str);

impl Neighbour {
    fn new(name: &'static str, here: &str, there: &str) -> Neighbour {
        host(&format!("ip netns add {name}")).ok();
        let neighbour = Neighbour(name);
        host(&format!("ip link add {name} type veth peer name eth0 netns {name}")).ok();
        host(&format!("ip addr add {here}/24 dev {name}")).ok();
        host(&format!("ip link set {name} up")).ok();
        host(&format!("ip -n {name} addr add {there}/24 dev eth0")).ok();
        host(&format!("ip -n {name} link set eth0 up")).ok();
        // Its own loopback interface is down, so that 127.0.0.1 is nobody there.
        neighbour.run("sysctl -q -w net.ipv4.conf.all.route_localnet=1").ok();
        host(&format!("ip -n {name} route add 127.0.0.1/32 via {here}")).ok();
        neighbour
    }

    fn run(&self, line: &str) -> Outcome {
        host(&format!("ip netns exec {} {line}", self.0))
    }

    fn python(&self, script: &str) -> Outcome {
        let args = ["netns", "exec", self.0, "python3", "-c", script];
        process::run(Command::new("ip").args(args), None, PATIENCE)
    }

    fn reaches(&self, address: &str, port: u16) -> bool {
        self.python(&format!("import socket; socket.create_connection((\"{address}\", {port}), 2)")).success()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", self.0]).status(); // a test that failed may not have made it
        let _ = Command::new("ip").args(["netns", "del", self.0]).status();
    }
}

const SERVING: &str = r#"
    let base = image::from_host(["sh", "sleep", "python3", "ip"], "serving:1");
    let n = network::create("served", #{ subnet: arg("subnet", "") });
    let c = container::run(base, #{ name: "web", networks: [n], ports: ["127.0.0.1:28481:8000", "28482:8000"],
        command: ["python3", "-m", "http.server", "8000"] });
    c.wait_http("/", 20.s);
"#;

/// CVE-2025-54388 and moby#45610: the destination is changed before the kernel refuses 127.0.0.1 from a wire.
#[test]
fn what_is_published_on_127_0_0_1_is_not_reached_from_a_wire() {
    let (Some(_), Some(_)) = (peer("ip"), peer("python3")) else { return };
    let rhumb = Rhumb::with_base();
    rhumb.script_with(SERVING, &["--subnet=10.231.60.0/24"], PATIENCE).ok();
    let neighbour = Neighbour::new("rhtest-wire", "10.231.61.1", "10.231.61.2");
    assert!(neighbour.reaches("10.231.61.1", 28482), "published for everybody");
    // CVE-2021-20199: who comes from a wire is no friend of 127.0.0.1.
    neighbour.python("import urllib.request; urllib.request.urlopen('http://10.231.61.1:28482/')").ok();
    let logs = rhumb.sh("logs web");
    assert!(logs.stderr.contains("10.231.61.2 - - "), "{logs}");
    assert!(!neighbour.reaches("127.0.0.1", 28481), "published for this host alone");
    assert!(!neighbour.reaches("127.0.0.1", 28482), "not by this address");
    assert!(!neighbour.reaches("10.231.61.1", 28481), "not at this address");
    // Nor by the container's own address, which is a way through this host.
    host("ip -n rhtest-wire route add 10.231.60.0/24 via 10.231.61.1").ok();
    assert!(!neighbour.reaches("10.231.60.2", 8000), "the way through this host");
    drop(neighbour);
    rhumb.sh("rm -f web").ok();
    rhumb.sh("network rm served").ok();
}

/// CVE-2024-32473 and CVE-2020-13401: a network of IPv4 had addresses of IPv6 as well, and what a container advertised was
/// believed.
#[test]
fn a_network_of_ipv4_has_no_other_addresses() {
    let rhumb = Rhumb::with_base();
    let six = "--ipv6 --subnet fd31:71::/64";
    for (name, subnets, is_six) in [("four", "10.231.71.0/24", false), ("both", "10.231.72.0/24", true)] {
        let more = if is_six { six } else { "" };
        network(&rhumb, name, &format!("-o com.docker.network.bridge.name=rhtest-six --subnet {subnets} {more}"));
        sleeper(&rhumb, "box", &format!("--network {name}")).ok();
        let addresses = rhumb.sh("exec box cat /proc/net/if_inet6").ok();
        let of_link = addresses.lines().filter(|line| !line.ends_with(" lo")).count();
        assert_eq!(of_link > 0, is_six, "{name}: {addresses}");
        let parameter = |name: &str| rhumb.sh(&format!("exec box cat /proc/sys/net/ipv6/conf/{name}")).ok();
        assert_eq!(parameter("eth0/disable_ipv6"), if is_six { "0" } else { "1" });
        assert_eq!((parameter("eth0/accept_ra"), parameter("eth0/forwarding")), ("0".into(), "0".into()), "{name}");
        let of_bridge = |name: &str| {
            std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/rhtest-six/{name}")).unwrap().trim().to_owned()
        };
        assert_eq!(of_bridge("accept_ra"), "0", "{name}");
        assert_eq!(of_bridge("disable_ipv6"), if is_six { "0" } else { "1" });
        rhumb.sh("rm -f box").ok();
        rhumb.sh(&format!("network rm {name}")).ok();
    }
}

/// The bridge keeps its ports apart; who sends to the gateway instead of to its neighbour is routed.
#[test]
fn containers_that_may_not_talk_do_not_over_the_gateway_either() {
    let (Some(_), Some(_)) = (peer("ip"), peer("python3")) else { return };
    let rhumb = Rhumb::with_base();
    let script = r#"
        let base = image::from_host(["sh", "sleep", "python3", "ip"], "apart:1");
        let n = network::create("apart", #{ subnet: "10.231.62.0/24", icc: false });
        let hear = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 9000)); print("heard", s.recv(99), flush=True)`;
        let a = container::run(base, #{ name: "hears", networks: [n], command: ["python3", "-c", hear] });
        let b = container::run(base, #{ name: "sends", networks: [n], cap_add: ["NET_ADMIN"], command: ["sleep", "300"] });
        b.exec(`ip route add ${a.ip()}/32 via ${n.gateway}`);
        b.exec(["python3", "-c", `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); [s.sendto(b"x", ("${a.ip()}", 9000)) for n in range(20)]`]);
    "#;
    rhumb.script_with(script, &[], PATIENCE).ok();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(rhumb.sh("logs hears").ok(), "");
    rhumb.sh("rm -f hears sends").ok();
    rhumb.sh("network rm apart").ok();
}

#[test]
fn an_interface_of_others_is_neither_taken_over_nor_taken_away() {
    let Some(_) = peer("ip") else { return };
    let rhumb = Rhumb::with_base();
    for kind in ["bridge", "dummy"] {
        if !host(&format!("ip link add rhtest-own type {kind}")).success() {
            continue; // not every kernel has both
        }
        let create = "network create --subnet 10.231.63.0/24 -o com.docker.network.bridge.name=rhtest-own mine";
        for state in ["down", "up"] {
            host(&format!("ip link set rhtest-own {state}")).ok();
            rhumb.sh(create).fails_with(5, "the interface \"rhtest-own\" is there and belongs to others");
            let addresses = host("ip -4 addr show dev rhtest-own");
            assert!(addresses.success() && !addresses.stdout.contains("10.231.63"), "{kind}: {addresses}");
        }
        host("ip link del rhtest-own").ok();
    }
    let made = network(&rhumb, "mine", "--subnet 10.231.63.0/24 -o com.docker.network.bridge.name=rhtest-own");
    assert_eq!(made["Options"]["com.docker.network.bridge.name"], "rhtest-own");
    rhumb.sh("network rm mine").ok();
    assert!(!host("ip link show dev rhtest-own").success(), "our own goes");
}

/// An interface for a VLAN that a network had made goes with the last network that is on it.
#[test]
fn a_vlan_that_was_made_for_networks_goes_with_the_last_of_them() {
    let Some(_) = peer("ip") else { return };
    let rhumb = Rhumb::with_base();
    let neighbour = Neighbour::new("rhtest-trunk", "10.231.64.1", "10.231.64.2");
    let create = "network create -d macvlan -o parent=rhtest-trunk.7 --subnet";
    let made = rhumb.sh(&format!("{create} 10.231.65.0/24 tagged"));
    if !host("ip link add link rhtest-trunk name rhtest-trunk.9 type vlan id 9").success() {
        made.fails_with(7, "8021q");
        assert!(!host("ip link show dev rhtest-trunk.7").success(), "nothing half-made");
        return;
    }
    made.ok();
    rhumb.sh(&format!("{create} 10.231.66.0/24 tagged-too")).ok();
    rhumb.sh("network rm tagged").ok();
    assert!(host("ip link show dev rhtest-trunk.7").success(), "another network is on it");
    rhumb.sh("network rm tagged-too").ok();
    assert!(!host("ip link show dev rhtest-trunk.7").success(), "nobody is on it");
    host("ip link add link rhtest-trunk name rhtest-trunk.8 type vlan id 8").ok();
    rhumb.sh("network create -d macvlan -o parent=rhtest-trunk.8 --subnet 10.231.66.0/24 tagged").ok();
    rhumb.sh("network rm tagged").ok();
    assert!(host("ip link show dev rhtest-trunk.8").success(), "the administrator's own stays");
    drop(neighbour);
}

/// A host that forwards hears no router advertisements unless it says so: it keeps the routes that it has by them.
#[test]
fn a_host_that_begins_to_forward_keeps_its_routes() {
    let Some(_) = peer("ip") else { return };
    let rhumb = Rhumb::new();
    // A network namespace in the place of a host: one of its own does not forward IPv6.
    let host = Neighbour::new("rhtest-host", "10.231.69.1", "10.231.69.2");
    let parameter = |name: &str| host.run(&format!("sysctl -n net.{name}")).ok();
    assert_eq!(parameter("ipv6.conf.eth0.accept_ra"), "1");
    let make = |args: &str| {
        let mut command = Command::new("ip");
        rhumb.environ(&mut command);
        command.args(["netns", "exec", "rhtest-host", "rhumb", "network"]).args(args.split(' '));
        process::run(&mut command, None, PATIENCE).ok();
    };
    make("create --subnet 10.231.70.0/24 --subnet fd31:70::/64 --ipv6 forwarded");
    assert_eq!((parameter("ipv4.ip_forward"), parameter("ipv6.conf.all.forwarding")), ("1".into(), "1".into()));
    assert_eq!((parameter("ipv6.conf.eth0.accept_ra"), parameter("ipv6.conf.lo.accept_ra")), ("2".into(), "1".into()));
    make("rm forwarded");
}

#[test]
fn what_says_who_may_reach_a_container_is_never_passed_over() {
    let rhumb = Rhumb::with_base();
    let with = |option: &str| rhumb.sh(&format!("network create --subnet 10.231.67.0/24 -o {option} said"));
    let bridge = "com.docker.network.bridge";
    with(&format!("{bridge}.host_binding_ipv4=127.0.0.l")).fails_with(2, "is not an IPv4 address to publish ports at");
    with(&format!("{bridge}.gateway_mode_ipv4=isolated")).fails_with(7, "gateway_mode_ipv4=isolated is not built yet");
    with(&format!("{bridge}.gateway_mode_ipv4=nat")).ok();
    let run = |port: &str| rhumb.sh(&format!("run --rm --network said -p {port} base:1 true"));
    run("192.0.2.7:28483:80").fails_with(125, "192.0.2.7 is not an address of this host");
    run("[::1]:28483:80").fails_with(125, "cannot be published at ::1: the container has no IPv6 address");
    run("[::]:28483:80").fails_with(125, "cannot be published at ::: the container has no IPv6 address");
    rhumb.sh("network rm said").ok();
    rhumb.sh("network create --ipv6 --subnet 10.231.67.0/24 --subnet fd31:67::/64 said").ok();
    run("[::1]:28483:80").fails_with(125, "the kernel has no way from there to a container");
    rhumb.sh("network rm said").ok();
}

/// With an address of each family a port is published for both; a program that tries ::1 first is refused, and goes on.
#[test]
fn ports_of_ipv6_are_reached_at_addresses_of_this_host() {
    let Some(_) = peer("python3") else { return };
    let rhumb = Rhumb::with_base();
    let script = r#"
        let base = image::from_host(["sh", "sleep", "python3"], "serving:1");
        let n = network::create("six", #{ subnet: ["10.231.68.0/24", "fd31:68::/64"], ipv6: true });
        let c = container::run(base, #{ name: "web", networks: [n], ports: ["28484:8000", "[fd31:68::1]:28485:8000"],
            command: ["python3", "-m", "http.server", "--bind", "::", "8000"] });
        defer(|| { c.remove(#{ force: true }); n.remove(); });
        c.wait_http(8000, "/", 20.s);
        for url in ["http://127.0.0.1:28484/", "http://[fd31:68::1]:28484/", "http://[fd31:68::1]:28485/"] {
            assert(host::http_get(url).ok, url);
        }
        let begun = now();
        assert(host::http_get("http://localhost:28484/").ok, "by the host's name for itself");
        try { host::http_get("http://[::1]:28484/"); assert(false); } catch (e) { assert(e.kind == "unavailable", e); }
        assert(now() - begun < 5.s, "who is refused knows at once");
    "#;
    rhumb.script_with(script, &[], PATIENCE).ok();
}
