//! What others take away or bring in: the check finds it, the repair mends it, and containers go on.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::support::process::{self, PATIENCE, eventually};
use crate::support::{Rhumb, peer};

/// The port of a container that serves, published on the host.
const PORT: u16 = 28451;

fn reached(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_millis(300)).is_ok()
}

/// A root with a container that serves on a published port.
fn serving(subnet: &str) -> Rhumb {
    let rhumb = Rhumb::with_base();
    let script = r#"
        let base = image::from_host(["sh", "sleep", "python3"], "serving:1");
        let n = network::create("mended", #{ subnet: arg("subnet", "") });
        let c = container::run(base, #{ name: "web", networks: [n], ports: ["127.0.0.1:28451:8000"],
            command: ["python3", "-m", "http.server", "8000"] });
        c.wait_http("/", 20.s);
    "#;
    rhumb.script_with(script, &[&format!("--subnet={subnet}")], PATIENCE).ok();
    eventually("it serves", PATIENCE, || reached(PORT).then_some(()));
    rhumb
}

#[track_caller]
fn run(command: &mut Command) {
    process::run(command, None, PATIENCE).ok();
}

fn ip(args: &str) {
    run(Command::new("ip").args(args.split(' ')));
}

#[test]
fn what_an_administrator_takes_away_is_found_and_made_anew() {
    let Some(nft) = peer("nft") else { return };
    let Some(_ip) = peer("ip") else { return };
    let nft = |text: String| {
        let mut command = Command::new(nft.get_program());
        run(command.arg(text));
    };
    let rhumb = serving("10.231.13.0/24");
    let table = format!("inet rhumb-{}", rhumb.root_id());
    let text = rhumb.sh("network inspect mended").ok();
    let facts: serde_json::Value = serde_json::from_str(&text).unwrap();
    let bridge = format!("rb{}-{}", &rhumb.root_id()[..4], &facts[0]["Id"].as_str().unwrap()[..8]);
    let mends = |what: &str, problem: &str, repair: &str| {
        let found = rhumb.sh("system check");
        assert!(!found.success() && found.stdout.contains(problem), "{what}:\n{found}");
        rhumb.sh(repair).ok();
        rhumb.assert_consistent();
        eventually(what, Duration::from_secs(5), || reached(PORT).then_some(()));
    };
    // As `nft flush ruleset`, for what is ours.
    nft(format!("delete table {table}"));
    mends("the table is gone", "are gone", "network repair");
    nft(format!("flush chain {table} ports"));
    mends("a chain is empty", "somebody changed them", "system check --repair");
    nft(format!("delete element {table} ports4_at {{ 127.0.0.1 . tcp . {PORT} }}"));
    assert!(!reached(PORT), "a port is reached by no rule");
    mends("an element is gone", "28451/tcp of web", "system check --repair");
    nft(format!("add element {table} ports4 {{ udp . 9 : 10.231.13.9 . 9 }}"));
    mends("an element is nobody's", "no container publishes", "system check --repair");
    ip(&format!("link set {bridge} down"));
    mends("the bridge is down", "its bridge", "network repair");
    ip(&format!("link del {bridge}"));
    mends("the bridge is gone", "its bridge", "system check --repair");
    ip(&format!("link add rb{}-00000000 type bridge", &rhumb.root_id()[..4]));
    mends("a bridge is nobody's", "no network and no container", "system check --repair");
    // A start mends by itself what it needs.
    nft(format!("delete table {table}"));
    rhumb.sh("run -d --name other --network mended -p 127.0.0.1:28452:8000 serving:1 sleep 300").ok();
    assert!(reached(PORT), "a start brings the rules of the others back too");
    rhumb.assert_consistent();
    rhumb.sh("rm -f web other").ok();
    rhumb.sh("network rm mended").ok();
}

/// The table in nft's JSON, with names and numbers that chance made replaced.
#[test]
fn the_rules_are_the_golden_ones() {
    let Some(nft) = peer("nft") else { return };
    let rhumb = Rhumb::with_base();
    rhumb.sh("network create --subnet 10.231.14.0/24 out").ok();
    rhumb.sh("network create --subnet 10.231.15.0/24 --internal in").ok();
    let options =
        "-o com.docker.network.bridge.enable_ip_masquerade=false -o com.docker.network.bridge.enable_icc=false";
    rhumb.sh(&format!("network create --subnet 10.231.16.0/24 --ipv6 --subnet fd31::/64 {options} six")).ok();
    let ports = "-p 28453:80 -p 127.0.0.1:28454:81/udp -p [fd31::1]:28455:82";
    rhumb.sh(&format!("run -d --name web --network name=six,ip=10.231.16.9,ip6=fd31::9 {ports} base:1 sleep 300")).ok();
    let mut list = Command::new(nft.get_program());
    list.args(["-j", "-n", "list", "table", "inet", &format!("rhumb-{}", rhumb.root_id())]);
    let listed = process::run(&mut list, None, PATIENCE).ok();
    let mut value: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let list = value["nftables"].as_array_mut().unwrap();
    list.retain(|one| one.get("metainfo").is_none());
    let mut text = String::new();
    for one in list.iter_mut() {
        forget(one);
        text.push_str(&serde_json::to_string(one).unwrap());
        text.push('\n');
    }
    text = text.replace(&rhumb.root_id(), "ROOT");
    for network in ["out", "in", "six"] {
        let facts = rhumb.sh(&format!("network inspect {network}")).ok();
        let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
        let link = format!("rb{}-{}", &rhumb.root_id()[..4], &facts[0]["Id"].as_str().unwrap()[..8]);
        text = text.replace(&link, &format!("BRIDGE-{network}"));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rules.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "UPDATE_GOLDEN=1 writes it anew");
    rhumb.sh("rm -f web").ok();
    rhumb.sh("network rm out in six").ok();
}

/// Takes out what the kernel numbers by chance: handles, and the group of interfaces, which follows from the root.
fn forget(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.remove("handle");
            let is_group =
                map.get("left").is_some_and(|left| left["meta"]["key"].as_str().is_some_and(|k| k.ends_with("group")));
            if is_group {
                map.insert("right".into(), "GROUP".into());
            }
            map.values_mut().for_each(forget);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(forget),
        _ => {}
    }
}
