//! Names between containers: the engine, the files, the monitor's resolver and the C library together.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::support::rhumb::{BASE, Rhumb};

/// A state root whose base can look names up, with a network.
fn with_names(subnet: &str) -> Rhumb {
    let rhumb = Rhumb::with_base();
    rhumb.script(r#"image::from_host(["sh", "sleep", "cat", "getent"], "names:1")"#).ok();
    rhumb.sh(&format!("network create --subnet {subnet} my")).ok();
    rhumb
}

#[test]
fn containers_find_each_other_by_name() {
    let rhumb = with_names("10.231.40.0/24");
    rhumb.sh(&format!("run -d --name web --hostname front1 --network my --network-alias www {BASE} sleep 300")).ok();
    rhumb.sh("run -d --name asker --network my names:1 sleep 300").ok();
    let conf = rhumb.sh("exec asker cat /etc/resolv.conf").ok();
    assert!(conf.contains("nameserver 127.0.0.11\n") && conf.contains("ndots:0"), "{conf}");
    for name in ["web", "www", "WEB.my", "front1"] {
        let found = rhumb.sh(&format!("exec asker getent ahostsv4 {name}")).ok();
        assert!(found.starts_with("10.231.40.2 "), "{name}: {found}");
    }
    let names = rhumb.inspect("web")["NetworkSettings"]["Networks"]["my"]["DNSNames"].clone();
    assert_eq!((&names[0], &names[1], &names[3]), (&"web".into(), &"www".into(), &"front1".into()));
    let reverse = rhumb.sh("exec asker getent hosts 10.231.40.2").ok();
    assert!(reverse.contains("web.my"), "{reverse}");
    rhumb.sh("rename web shop").ok();
    assert!(rhumb.sh("exec asker getent ahostsv4 shop").ok().starts_with("10.231.40.2 "));
    rhumb.sh("exec asker getent ahostsv4 web").fails(2);
    rhumb.sh("network disconnect my shop").ok();
    rhumb.sh("exec asker getent ahostsv4 shop").fails(2);
    rhumb.sh("rm -f shop asker").ok();
    rhumb.sh("network rm my").ok();
}

#[test]
fn names_come_with_a_network_that_is_joined_while_running() {
    let rhumb = with_names("10.231.41.0/24");
    rhumb.sh("network create --subnet 10.231.42.0/24 --internal inner").ok();
    rhumb.sh(&format!("run -d --name web --network my {BASE} sleep 300")).ok();
    rhumb.sh("run -d --name late --network inner names:1 sleep 300").ok();
    rhumb.sh("exec late getent ahostsv4 web").fails(2);
    rhumb.sh("network connect my late").ok();
    assert!(rhumb.sh("exec late getent ahostsv4 web").ok().starts_with("10.231.41.2 "));
    rhumb.sh("rm -f web late").ok();
    rhumb.sh("network rm my inner").ok();
    assert!(!Path::new("/proc/sys/net/ipv4/conf").join("rb-nothing").exists());
}

/// A name server on loopback that knows no name, and all that it was asked.
fn name_server(address: &str) -> Arc<Mutex<Vec<u8>>> {
    let socket = UdpSocket::bind((address, 53)).unwrap();
    let asked: Arc<Mutex<Vec<u8>>> = Arc::default();
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            heard.lock().unwrap().extend_from_slice(&packet[..length]);
            // A response with the code for a name that does not exist (RFC 1035, 4.1.1).
            packet[2] |= 0x80;
            packet[3] = 0x83;
            let _ = socket.send_to(&packet[..length], from); // who asked may have gone
        }
    });
    asked
}

/// CVE-2024-29018: what a container of an internal network asks for was asked outside, and so went out.
#[test]
fn nothing_of_an_internal_network_is_asked_outside() {
    let rhumb = with_names("10.231.43.0/24");
    let asked = name_server("127.0.0.153");
    let was_asked = |label: &str| asked.lock().unwrap().windows(label.len()).any(|bytes| bytes == label.as_bytes());
    rhumb.sh("network create --subnet 10.231.44.0/24 --internal inner").ok();
    rhumb.sh(&format!("run -d --name web --network inner {BASE} sleep 300")).ok();
    for network in ["my", "inner"] {
        let run = format!("run --rm --network {network} --dns 127.0.0.153 names:1 getent ahostsv4");
        rhumb.sh(&format!("{run} leak-{network}.example")).fails(2);
        assert_eq!(was_asked(&format!("leak-{network}")), network == "my", "{network}");
        assert_eq!(rhumb.sh(&format!("{run} web")).success(), network == "inner", "{network}");
    }
    rhumb.sh("rm -f web").ok();
    rhumb.sh("network rm my inner").ok();
}
