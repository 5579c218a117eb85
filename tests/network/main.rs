//! Networks end to end: what a container has on them, what the kernel has, and that nothing of it is left. Every test has a
//! state root and ranges of addresses of its own; the guard looks for links and rules.

mod change;
mod dns;
mod guards;
mod picture;
mod repair;
#[path = "../support/mod.rs"]
mod support;
mod ways;

use serde_json::Value;
use support::process::Outcome;
use support::rhumb::{BASE, Rhumb};

fn network(rhumb: &Rhumb, name: &str, more: &str) -> Value {
    rhumb.sh(&format!("network create {more} {name}")).ok();
    let text = rhumb.sh(&format!("network inspect {name}")).ok();
    serde_json::from_str::<Vec<Value>>(&text).unwrap().remove(0)
}

fn sleeper(rhumb: &Rhumb, name: &str, more: &str) -> Outcome {
    rhumb.sh(&format!("run -d --name {name} {more} {BASE} sleep 300"))
}

fn endpoint(rhumb: &Rhumb, container: &str, network: &str) -> Value {
    rhumb.inspect(container)["NetworkSettings"]["Networks"][network].clone()
}

#[test]
fn the_walk_through_of_dockers_documentation() {
    let rhumb = Rhumb::with_base();
    let made = network(&rhumb, "my", "--subnet 10.231.1.0/24 --label tier=front");
    assert_eq!(made["IPAM"]["Config"][0]["Gateway"], "10.231.1.1");
    assert_eq!((&made["Driver"], &made["Scope"]), (&"bridge".into(), &"local".into()));
    sleeper(&rhumb, "one", "--network my").ok();
    let one = endpoint(&rhumb, "one", "my");
    assert_eq!((one["IPAddress"].as_str(), one["Gateway"].as_str()), (Some("10.231.1.2"), Some("10.231.1.1")));
    assert_eq!(one["MacAddress"], "02:42:0a:e7:01:02");
    let hosts = rhumb.sh("exec one cat /etc/hosts").ok();
    assert!(hosts.contains("10.231.1.2\t"), "{hosts}");
    let routes = rhumb.sh("exec one cat /proc/net/route").ok();
    assert!(routes.lines().any(|line| line.starts_with("eth0\t00000000\t0101E70A")), "{routes}");

    sleeper(&rhumb, "two", "--network name=my,ip=10.231.1.77,alias=second").ok();
    network(&rhumb, "other", "--subnet 10.231.2.0/24 --internal");
    rhumb.sh("network connect --ip 10.231.2.9 other one").ok();
    assert_eq!(endpoint(&rhumb, "one", "other")["IPAddress"], "10.231.2.9");
    assert!(rhumb.sh("exec one cat /proc/net/dev").ok().contains("eth1:"));
    let text = rhumb.sh("network inspect my").ok();
    let facts = serde_json::from_str::<Vec<Value>>(&text).unwrap().remove(0);
    let members = facts["Containers"].as_object().unwrap();
    let addresses: Vec<&str> = members.values().filter_map(|one| one["IPv4Address"].as_str()).collect();
    assert!(addresses.len() == 2 && addresses.contains(&"10.231.1.77/24"), "{facts}");

    rhumb.sh("network rm my").fails_with(5, "is used by the container");
    rhumb.sh("network disconnect other one").ok();
    assert!(!rhumb.sh("exec one cat /proc/net/dev").ok().contains("eth1:"));
    rhumb.sh("rm -f one two").ok();
    rhumb.sh("network rm my other").ok();
    rhumb.sh("network inspect my").fails_with(3, "no such network");
}

#[test]
fn addresses_and_ranges_that_are_taken_are_refused_by_the_name_of_the_other() {
    let rhumb = Rhumb::with_base();
    network(&rhumb, "a", "--subnet 10.231.3.0/29");
    rhumb.sh("network create --subnet 10.231.3.0/24 b").fails_with(5, "overlaps with that of the network \"a\"");
    rhumb.sh("network create a").fails_with(4, "there is a network \"a\" already");
    rhumb.sh("network create ../x").fails_with(2, "is not a name for a network");
    rhumb.sh("network create -d macvlan -o parent=nosuch0 --subnet 10.231.9.0/24 m").fails_with(3, "no such interface");
    sleeper(&rhumb, "one", "--network name=a,ip=10.231.3.4").ok();
    sleeper(&rhumb, "two", "--network name=a,ip=10.231.3.4").fails_with(125, "is taken by the container \"one\"");
    for name in ["three", "four", "five", "six"] {
        sleeper(&rhumb, name, "--network a").ok();
    }
    sleeper(&rhumb, "seven", "--network a").fails_with(125, "no address of 10.231.3.0/29 is free");
    rhumb.sh("rm -f four").ok();
    sleeper(&rhumb, "eight", "--network a").ok();
    rhumb.assert_consistent();
}

#[test]
fn ports_are_published_and_conflicts_name_the_holder() {
    let rhumb = Rhumb::with_base();
    network(&rhumb, "p", "--subnet 10.231.4.0/24");
    sleeper(&rhumb, "one", "--network p -p 127.0.0.1:28431:80 -p 127.0.0.1::81/udp").ok();
    let ports = rhumb.inspect("one")["NetworkSettings"]["Ports"].clone();
    assert_eq!(ports["80/tcp"][0]["HostPort"], "28431");
    assert_ne!(ports["81/udp"][0]["HostPort"], "");
    assert_eq!(rhumb.sh("port one 80").ok(), "127.0.0.1:28431");
    assert!(rhumb.rows("ps")[0]["Ports"].as_str().unwrap().contains("127.0.0.1:28431->80/tcp"));
    let two = sleeper(&rhumb, "two", "--network p -p 28431:80");
    two.fails_with(125, "is published by the container \"one\"");
    let listener = std::net::TcpListener::bind("127.0.0.1:28432").unwrap();
    let three = sleeper(&rhumb, "three", "--network p -p 127.0.0.1:28432:80");
    three.fails_with(125, "is used by another program of this host");
    drop(listener);
    // While it is published no program of this host gets it; afterwards one does.
    assert!(std::net::TcpListener::bind("127.0.0.1:28431").is_err(), "a published port can be taken");
    rhumb.run(["-e", r#"container::get("one").unpublish("28431:80")"#]).ok();
    assert!(std::net::TcpListener::bind("127.0.0.1:28431").is_ok());
    rhumb.run(["-e", r#"container::get("one").publish("127.0.0.1:28431:80")"#]).ok();
    assert!(std::net::TcpListener::bind("127.0.0.1:28431").is_err());
    // What is on record afterwards is what a start publishes: one of two addresses, and no port of the kernel's choice.
    rhumb.run(["-e", r#"let c = container::get("one"); c.publish("127.0.0.2:28431:80"); c.unpublish("127.0.0.1:28431:80"); c.unpublish("81/udp")"#]).ok();
    rhumb.sh("restart -t 0 one").ok();
    let ports = rhumb.inspect("one")["NetworkSettings"]["Ports"].clone();
    let list = ports["80/tcp"].as_array().unwrap();
    assert!(list.len() == 1 && list[0]["HostIp"] == "127.0.0.2" && ports.get("81/udp").is_none(), "{ports}");
    rhumb.sh("rm -f one two").ok();
    assert!(std::net::TcpListener::bind("127.0.0.1:28431").is_ok());
    rhumb.sh("start three").ok();
}

#[test]
fn what_a_killed_monitor_had_is_given_to_the_next() {
    let rhumb = Rhumb::with_base();
    network(&rhumb, "k", "--subnet 10.231.5.0/30");
    sleeper(&rhumb, "one", "--network k -p 127.0.0.1:28433:80").ok();
    let pid = rhumb.inspect("one")["State"]["Pid"].as_i64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
    std::process::Command::new("/bin/kill").args(["-KILL", &monitor]).status().unwrap();
    // The only address of the range, and the port.
    let begun = std::time::Instant::now();
    while sleeper(&rhumb, "two", "--network k -p 127.0.0.1:28433:80").success().then_some(()).is_none() {
        assert!(begun.elapsed().as_secs() < 10, "it is not given away");
        rhumb.sh("rm -f two").ok();
    }
}

#[test]
fn a_restart_keeps_the_interfaces() {
    let rhumb = Rhumb::with_base();
    network(&rhumb, "r", "--subnet 10.231.6.0/24");
    let script = "grep -q eth0 /proc/net/dev && echo linked; exit 1";
    rhumb
        .run(["run", "-d", "--name", "again", "--restart", "on-failure:2", "--network", "r", BASE, "sh", "-c", script])
        .ok();
    // The first run and two restarts.
    let begun = std::time::Instant::now();
    while rhumb.sh("logs again").ok() != "linked\nlinked\nlinked" {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{}", rhumb.sh("logs again"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
