//! Joining and leaving networks while running: what goes with the network that leads outside, who wins, and what is left of
//! a change whose process is killed.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::Rhumb;
use crate::support::process::{self, PATIENCE, eventually};
use crate::support::rhumb::BASE;
use crate::{endpoint, sleeper};

fn reached(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_millis(500)).is_ok()
}

/// A root with two networks, of which the first leads a port to a container that serves.
fn serving(subnets: [&str; 2], port: u16) -> Rhumb {
    let rhumb = Rhumb::with_base();
    let script = r#"
        let base = image::from_host(["sh", "sleep", "cat", "grep", "python3"], "serving:1");
        let one = network::create("one", #{ subnet: arg("one", "") });
        network::create("two", #{ subnet: arg("two", "") });
        let c = container::run(base, #{ name: "box", networks: [one], ports: [`127.0.0.1:${arg("port", "")}:8000`],
            command: ["python3", "-m", "http.server", "8000"] });
        c.wait_http("/", 20.s);
    "#;
    let args = [format!("--one={}", subnets[0]), format!("--two={}", subnets[1]), format!("--port={port}")];
    rhumb.script_with(script, &args.each_ref().map(String::as_str), PATIENCE).ok();
    assert!(reached(port));
    rhumb
}

/// The networks that a container is on, each with an address, and as many interfaces and one default route in it.
#[track_caller]
fn assert_whole(rhumb: &Rhumb, what: &str) -> Vec<String> {
    let facts = rhumb.inspect("box");
    let networks = facts["NetworkSettings"]["Networks"].as_object().unwrap();
    assert!(networks.values().all(|one| one["IPAddress"] != ""), "{what}: {networks:?}");
    let interfaces = rhumb.sh("exec box grep -c eth /proc/net/dev").stdout;
    assert_eq!(interfaces.trim(), networks.len().to_string(), "{what}: interfaces");
    let routes = rhumb.sh("exec box cat /proc/net/route").ok();
    let default = routes.lines().filter(|line| line.split_whitespace().nth(1) == Some("00000000")).count();
    assert_eq!(default, usize::from(!networks.is_empty()), "{what}: {routes}");
    let hosts = rhumb.sh("exec box cat /etc/hosts").ok();
    for one in networks.values() {
        assert!(hosts.contains(one["IPAddress"].as_str().unwrap()), "{what}: {hosts}");
    }
    networks.keys().cloned().collect()
}

#[test]
fn the_way_out_and_published_ports_go_with_the_network_that_leads_outside() {
    let rhumb = serving(["10.231.50.0/24", "10.231.51.0/24"], 28471);
    rhumb.sh("network connect two box").ok();
    assert!(reached(28471));
    rhumb.sh("network disconnect one box").ok();
    assert_eq!(assert_whole(&rhumb, "left the first"), ["two"]);
    assert!(reached(28471), "the port went with the first network");
    let ports = rhumb.inspect("box")["NetworkSettings"]["Ports"]["8000/tcp"][0].clone();
    assert_eq!((&ports["HostIp"], &ports["HostPort"]), (&"127.0.0.1".into(), &"28471".into()));
    // A higher number is preferred, also by one that joins later.
    rhumb.sh("network connect --gw-priority 5 one box").ok();
    let routes = rhumb.sh("exec box cat /proc/net/route").ok();
    assert!(routes.lines().any(|line| line.starts_with("eth0\t00000000\t0132E70A")), "{routes}");
    assert!(reached(28471));
    rhumb.assert_consistent();
    // With the last way out the port is free for others, and whoever has it then is named.
    rhumb.sh("network disconnect one box").ok();
    rhumb.sh("network disconnect two box").ok();
    assert!(!reached(28471));
    sleeper(&rhumb, "other", "--network two -p 127.0.0.1:28471:80").ok();
    rhumb.sh("network connect one box").fails_with(5, "is published by the container \"other\"");
    assert!(assert_whole(&rhumb, "could not connect").is_empty());
    rhumb.sh("rm -f other").ok();
    rhumb.sh("network connect one box").ok();
    eventually("it is published again", PATIENCE, || reached(28471).then_some(()));
    rhumb.assert_consistent();
    rhumb.sh("rm -f box").ok();
    rhumb.sh("network rm one two").ok();
}

#[test]
fn a_change_whose_process_is_killed_is_made_whole_by_the_next_command() {
    let rhumb = serving(["10.231.52.0/24", "10.231.53.0/24"], 28472);
    let killed = |line: &str, point: &str| {
        let mut command = rhumb.command(line.split(' '));
        command.env("RHUMB_FAILPOINT", format!("{point}=kill"));
        let outcome = process::run(&mut command, None, PATIENCE);
        assert!(!outcome.success(), "{point} was not passed by {line:?}");
    };
    for point in [
        "network.connect.record",
        "network.lease.claim",
        "network.lease.files",
        "network.connect.links",
        "network.attach.links",
        "network.attach.ports",
        "network.connect.route",
        "network.connect.files",
    ] {
        killed("network connect --gw-priority 3 two box", point);
        let networks = assert_whole(&rhumb, point);
        assert!(reached(28472), "{point}: the port");
        rhumb.assert_consistent();
        if networks.contains(&"two".to_owned()) {
            rhumb.sh("network disconnect two box").ok();
        }
    }
    rhumb.sh("network connect two box").ok();
    for point in [
        "network.disconnect.links",
        "network.disconnect.interface",
        "network.disconnect.files",
        "network.disconnect.record",
    ] {
        killed("network disconnect one box", point);
        let networks = assert_whole(&rhumb, point);
        assert!(reached(28472), "{point}: the port");
        rhumb.assert_consistent();
        if !networks.contains(&"one".to_owned()) {
            rhumb.sh("network connect one box").ok();
        }
    }
    rhumb.sh("rm -f box").ok();
    rhumb.sh("network rm one two").ok();
}

#[test]
fn a_container_between_two_runs_joins_and_leaves() {
    let rhumb = Rhumb::with_base();
    rhumb.sh("network create --subnet 10.231.54.0/24 one").ok();
    rhumb.sh("network create --subnet 10.231.55.0/24 two").ok();
    let script = "grep -c eth /proc/net/dev; exit 1";
    rhumb.run(["run", "-d", "--name", "box", "--restart", "always", "--network", "one", BASE, "sh", "-c", script]).ok();
    // The pauses double: this one is long enough.
    eventually("it rests", PATIENCE, || {
        let now = rhumb.inspect("box");
        (now["RestartCount"].as_i64() >= Some(5) && now["State"]["Status"] == "restarting").then_some(())
    });
    rhumb.sh("network connect two box").ok();
    assert_eq!(endpoint(&rhumb, "box", "two")["IPAddress"], "10.231.55.2");
    eventually("the next run has both", PATIENCE, || rhumb.sh("logs box").ok().ends_with('2').then_some(()));
    eventually("it rests again", PATIENCE, || (rhumb.inspect("box")["State"]["Status"] == "restarting").then_some(()));
    rhumb.sh("network disconnect two box").ok();
    eventually("the next run has one", PATIENCE, || rhumb.sh("logs box").ok().ends_with('1').then_some(()));
    rhumb.assert_consistent();
    rhumb.sh("rm -f box").ok();
    rhumb.sh("network rm one two").ok();
}

/// RELIABILITY.md, R7: one of them wins, and nothing is half-made.
#[test]
fn removing_a_network_beside_connecting_to_it_has_one_winner() {
    const ROUNDS: u64 = 60;
    let rhumb = Rhumb::with_base();
    rhumb.sh("network create --subnet 10.231.56.0/24 home").ok();
    sleeper(&rhumb, "running", "--network home").ok();
    rhumb.sh(&format!("create --name waiting --network home {BASE} sleep 300")).ok();
    let mut removed = 0;
    for round in 0..ROUNDS {
        rhumb.sh("network create --subnet 10.231.57.0/24 fought").ok();
        let name = if round % 2 == 0 { "running" } else { "waiting" };
        // Either has a head start, of up to the time that a command takes.
        let (ahead, behind) = (round * 53 % 6000, round * 37 % 6000);
        let (remove, connect) = std::thread::scope(|scope| {
            let connect = scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(ahead));
                rhumb.sh(&format!("network connect fought {name}"))
            });
            std::thread::sleep(Duration::from_micros(behind));
            (rhumb.sh("network rm fought"), connect.join().unwrap())
        });
        let on = rhumb.inspect(name)["NetworkSettings"]["Networks"].as_object().unwrap().len();
        match (remove.success(), connect.success()) {
            (true, false) => {
                connect.fails_with(3, "no such network");
                assert_eq!(on, 1, "{name} is on a network that is gone");
                removed += 1;
            }
            (false, true) => {
                remove.fails_with(5, &format!("is used by the container \"{name}\""));
                assert_eq!(on, 2, "{name} is not on its network");
                rhumb.sh(&format!("network disconnect fought {name}")).ok();
                rhumb.sh("network rm fought").ok();
            }
            _ => panic!("both or none of them:\n{remove}\n{connect}"),
        }
    }
    assert!((1..ROUNDS).contains(&removed), "one of them always wins: {removed}");
    rhumb.assert_consistent();
    rhumb.sh("start waiting").ok();
    rhumb.sh("rm -f running waiting").ok();
    rhumb.sh("network rm home").ok();
}
