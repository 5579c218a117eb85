//! Ways through published ports, and links where names are not resolved.

use std::time::{Duration, Instant};

use crate::support::Rhumb;
use crate::support::process::PATIENCE;

#[test]
fn published_ports_are_reached_from_everywhere_that_they_should() {
    let rhumb = Rhumb::with_base();
    let script = r#"
        let base = image::from_host(["sh", "sleep", "python3"], "serving:1");
        let serve = ["python3", "-m", "http.server", "8000"];
        let one = network::create("one", #{ subnet: "10.231.17.0/24" });
        let two = network::create("two", #{ subnet: "10.231.18.0/24" });
        let inner = network::create("inner", #{ subnet: "10.231.19.0/24", internal: true });
        let web = container::run(base, #{ name: "web", networks: [one], ports: ["28461:8000"], command: serve });
        let beside = container::run(base, #{ name: "beside", networks: [one], command: ["sleep", "300"] });
        let other = container::run(base, #{ name: "other", networks: [two], command: ["sleep", "300"] });
        let shut = container::run(base, #{ name: "shut", networks: [inner], command: ["sleep", "300"] });
        defer(|| { for c in [web, beside, other, shut] { c.remove(#{ force: true }); } one.remove(); two.remove(); inner.remove(); });
        web.wait_http("/", 20.s);
        assert(host::http_get("http://127.0.0.1:28461/").ok && host::http_get("http://10.231.17.1:28461/").ok);
        // Through the host's address: from beside, from another network, and back to itself.
        assert(beside.can_reach("10.231.17.1", 28461), "from the same network");
        assert(other.can_reach("10.231.18.1", 28461), "from another network");
        assert(web.can_reach("10.231.17.1", 28461), "from itself");
        // Not without the port, and not out of an internal network.
        assert(!other.can_reach(web.ip(one), 8000) && !shut.can_reach(web.ip(one), 8000));
        web.unpublish("8000");
        assert(!beside.can_reach("10.231.17.1", 28461));
    "#;
    rhumb.script_with(script, &[], PATIENCE).ok();
}

#[test]
fn the_host_is_found_from_a_network_that_leads_nowhere_too() {
    let rhumb = Rhumb::with_base();
    rhumb.sh("network create --subnet 10.231.28.0/24 --internal inner").ok();
    let hosts = rhumb.sh("run --rm --network inner --add-host up:host-gateway base:1 cat /etc/hosts").ok();
    assert!(hosts.lines().any(|line| line == "10.231.28.1\tup"), "{hosts}");
    rhumb.sh("network rm inner").ok();
}

#[test]
fn links_are_lines_of_hosts_on_the_default_network() {
    let rhumb = Rhumb::with_base();
    rhumb.sh("run -d --name db --network bridge base:1 sleep 300").ok();
    rhumb.sh("run -d --name web --network bridge --link db:store base:1 sleep 300").ok();
    let address =
        rhumb.inspect("db")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap().to_owned();
    let hosts = rhumb.sh("exec web cat /etc/hosts").ok();
    let line = hosts.lines().find(|line| line.starts_with(&format!("{address}\t"))).unwrap_or_default().to_owned();
    assert!(line.contains("store ") && line.ends_with(" db"), "{hosts}");
    rhumb.sh("stop -t 0 db").ok();
    rhumb.sh("run --rm --network bridge --link db base:1 true").fails_with(125, "does not run on the same network");
    // What ended meanwhile is no reason not to join other networks, or to leave them.
    rhumb.sh("network create --subnet 10.231.20.0/24 joined").ok();
    rhumb.sh("network connect joined web").ok();
    rhumb.sh("network disconnect joined web").ok();
    rhumb.sh("network rm joined").ok();
    // Another has its address when it comes back: its line follows.
    rhumb.sh("run -d --name thief --network bridge base:1 sleep 300").ok();
    let of = |name: &str| rhumb.inspect(name)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].to_string();
    assert_eq!(of("thief"), format!("\"{address}\""));
    rhumb.run(["exec", "web", "sh", "-c", "echo '10.1.1.1 own' >> /etc/hosts"]).ok();
    rhumb.sh("start db").ok();
    let hosts = rhumb.sh("exec web cat /etc/hosts").ok();
    let lines: Vec<&str> = hosts.lines().filter(|line| line.contains("store ")).collect();
    let moved = of("db").trim_matches('"').to_owned();
    assert!(lines.len() == 1 && lines[0].starts_with(&format!("{moved}\t")) && moved != address, "{moved}: {hosts}");
    assert!(hosts.contains("10.1.1.1 own"), "what the container wrote itself stays: {hosts}");
    rhumb.sh("rm -f web db thief").ok();
}

/// A sender that never pauses is a connection to the kernel, which goes on to where its first packet went.
#[test]
fn who_sends_udp_all_the_time_reaches_what_is_published_meanwhile() {
    let rhumb = Rhumb::with_base();
    rhumb.script(r#"image::from_host(["sh", "sleep", "python3"], "serving:1")"#).ok();
    rhumb.sh("network create --subnet 10.231.29.0/24 heard").ok();
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let answered = |patience: u64| {
        sender.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(patience) {
            let _ = sender.send_to(b"x", "127.0.0.1:28491"); // refused while nobody is there
            if sender.recv_from(&mut [0; 9]).is_ok() {
                return true;
            }
        }
        false
    };
    assert!(!answered(1), "nobody is there");
    let echo = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 9000))\nwhile True: s.sendto(*s.recvfrom(9))";
    let port = "127.0.0.1:28491:9000/udp";
    rhumb
        .run(["run", "-d", "--name", "echo", "--network", "heard", "-p", port, "serving:1", "python3", "-c", echo])
        .ok();
    assert!(answered(20), "what was sent before it was published decides");
    // With another address.
    rhumb.sh("stop -t 0 echo").ok();
    rhumb.sh("run -d --name thief --network name=heard,ip=10.231.29.2 serving:1 sleep 300").ok();
    rhumb.sh("start echo").ok();
    assert!(answered(20), "what was sent to the address of before decides");
    rhumb.sh("rm -f echo thief").ok();
    rhumb.sh("network rm heard").ok();
}
