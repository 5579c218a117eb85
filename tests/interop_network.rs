//! Programs of Debian's packages on our networks: nginx behind a published port, MariaDB reached by name, apt through the
//! bridge, ping between and across networks, IPv6.
//!
//! The image comes from debootstrap or mmdebstrap and a mirror: without one of them, or the mirror, this is a counted skip.

#[path = "support/mod.rs"]
mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use support::Rhumb;
use support::peers::{find, skip};
use support::process::eventually;

/// How long the mirror may take for the packages.
const DOWNLOAD: Duration = Duration::from_secs(900);
/// How long a server may take to begin, and a script to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Connections at once.
const CONNECTIONS: usize = 1000;
const PORT: u16 = 28471;

/// A root with an image of Debian's that has the programs.
fn debian() -> Option<Rhumb> {
    if find("mmdebstrap").or_else(|| find("debootstrap")).is_none() {
        skip("neither mmdebstrap nor debootstrap is installed");
        return None;
    }
    let rhumb = Rhumb::new();
    let packages = r#"["nginx-light", "mariadb-server", "mariadb-client", "iputils-ping", "iproute2"]"#;
    let script = format!("image::bootstrap(\"bookworm\", #{{ packages: {packages}, tag: \"debian:net\" }})");
    let made = rhumb.script_with(&script, &[], DOWNLOAD);
    if !made.success() {
        skip(&format!("no image could be made: {}", made.stderr.trim()));
        return None;
    }
    Some(rhumb)
}

#[test]
fn programs_of_debian_work_on_networks() {
    let Some(rhumb) = debian() else { return };
    nginx_serves_a_thousand_connections_at_once(&rhumb);
    rhumb.script_with(MARIADB, &[], PATIENCE).ok();
    rhumb.script_with(ACROSS, &[], PATIENCE).ok();
    rhumb.script_with(APT, &[], PATIENCE).ok();
}

fn nginx_serves_a_thousand_connections_at_once(rhumb: &Rhumb) {
    rhumb.sh("network create --subnet 10.231.32.0/24 web").ok();
    // One connection of nginx's for each, and a descriptor.
    let command = "sed -i 's/worker_connections .*/worker_connections 4096;/' /etc/nginx/nginx.conf && exec nginx -g 'daemon off;'";
    let port = format!("127.0.0.1:{PORT}:80");
    let args = ["run", "-d", "--name", "nginx", "--network", "web", "-p", &port, "--ulimit", "nofile=8192:8192"];
    rhumb.run(args.iter().chain(&["debian:net", "sh", "-c", command])).ok();
    let address = SocketAddr::from(([127, 0, 0, 1], PORT));
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(20));
    eventually("nginx answers", PATIENCE, || TcpStream::connect(address).ok());
    let mut open: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect().expect("a further connection")).collect();
    for stream in &mut open {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").unwrap();
    }
    for stream in &mut open {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("Welcome to nginx!"), "{answer}");
    }
    drop(open);
    rhumb.sh("rm -f nginx").ok();
    rhumb.sh("network rm web").ok();
}

const MARIADB: &str = r#"
    let back = network::create("back", #{ subnet: "10.231.33.0/24", internal: true });
    // The server's own set-up: a user for everybody, since the client is another machine to it.
    let init = `mariadb-install-db --user=mysql >/dev/null && mkdir -p /run/mysqld && chown mysql /run/mysqld &&
        printf '%s\n' "CREATE DATABASE shop;" "CREATE USER app@'%' IDENTIFIED BY 'word';" "GRANT ALL ON shop.* TO app@'%';" >/tmp/init.sql &&
        exec mariadbd --user=mysql --bind-address=0.0.0.0 --init-file=/tmp/init.sql`;
    let db = container::run("debian:net", #{ name: "db", networks: [back], command: ["sh", "-c", init] });
    defer(|| { db.remove(#{ force: true, volumes: true }); back.remove(); });
    db.wait_port(3306, 120.s);
    let sql = "CREATE TABLE t (n INT); INSERT INTO t VALUES (40), (2); SELECT SUM(n) FROM t;";
    let client = ["mariadb", "-h", "db", "-u", "app", "-pword", "-N", "shop", "-e"];
    // It listens a moment before it knows the user.
    retry(40, 500.ms, || container::oneshot("debian:net", client + ["SELECT 1"], #{ networks: [back] }));
    let asked = container::oneshot("debian:net", client + [sql], #{ networks: [back] });
    assert(asked.stdout.trimmed() == "42", asked);
"#;

const ACROSS: &str = r#"
    let one = network::create("one", #{ subnet: ["10.231.34.0/24", "fd31:34::/64"], ipv6: true });
    let two = network::create("two", #{ subnet: "10.231.35.0/24" });
    let idle = ["sleep", "300"];
    let left   = container::run("debian:net", #{ name: "left", networks: [one], command: idle });
    let middle = container::run("debian:net", #{ name: "middle", networks: [one, two], command: idle });
    let right  = container::run("debian:net", #{ name: "right", networks: [two], command: idle });
    defer(|| { for c in [left, middle, right] { c.remove(#{ force: true }); } one.remove(); two.remove(); });
    let ping = |from, to| from.exec(["ping", "-c", "1", "-W", "2", to], #{ check: false });
    // By name on both networks, and by every family.
    assert(ping.call(left, "middle").ok && ping.call(middle, "left").ok && ping.call(right, "middle").ok);
    assert(left.resolve("middle") == middle.ip(one) && right.resolve("middle") == middle.ip(two));
    let six = left.exec(["ping", "-6", "-c", "1", "-W", "2", "middle"]);
    assert(six.stdout.contains("fd31:34::"), six);
    // Not across: neither by name nor by address.
    assert(!ping.call(left, "right").ok && !ping.call(left, right.ip(two)).ok);
"#;

const APT: &str = r#"
    let out = network::create("outward", #{ subnet: "10.231.36.0/24" });
    defer(|| out.remove());
    let updated = container::oneshot("debian:net", "apt-get update && apt-cache policy hello", #{ networks: [out], timeout: 120.s });
    assert(updated.stdout.contains("Candidate: "), updated);
"#;
