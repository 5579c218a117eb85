//! The resolver in a network namespace of the test's own: what it answers, what it passes on and how, and what it endures.

mod space;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType::{A, AAAA, ANY, MX, PTR, TXT};
use rhumb::net::dns::{ADDRESS, PORT};

use crate::space::{Space, connect, question, receive, send, write};

/// The question as a reply with this code and nothing else.
fn bare(question: &[u8], code: u8) -> Vec<u8> {
    let mut reply = question.to_vec();
    (reply[2], reply[3]) = (reply[2] | 0x80, code);
    reply
}

#[test]
fn names_of_the_networks_are_answered_here() {
    let mut space = Space::new();
    space.zones();
    let heard = space.server(5, |question, _| vec![bare(question, 3)]);
    space.resolver(|names| names.servers = vec!["127.0.0.5".parse().unwrap()]);
    for name in ["web.", "WEB.", "Web", "aaaaaaaaaaaa.", "web.front.", "Web.Front."] {
        assert_eq!(space.answers(name, A), ["10.0.0.2"], "{name}");
        assert_eq!(space.answers(name, AAAA), ["fd00::2"], "{name}");
    }
    assert_eq!(space.answers("web.", ANY).len(), 2);
    assert_eq!(space.answers("database.", A), ["10.1.0.9"]);
    assert_eq!(space.answers("www.back.", A), ["10.1.0.9"]);
    assert_eq!(space.answers("2.0.0.10.in-addr.arpa.", PTR), ["Web.front."]);
    let six = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
    assert_eq!(space.answers(six, PTR), ["Web.front."]);
    for kind in [AAAA, MX, TXT] {
        let nothing = space.ask("api.", kind);
        assert_eq!((nothing.metadata.response_code, nothing.answers.len()), (ResponseCode::NoError, 0), "{kind}");
    }
    assert_eq!(space.ask("api.", A).answers[0].ttl, 600);
    let first: BTreeSet<String> = (0..4).map(|_| space.answers("www.", A).remove(0)).collect();
    assert_eq!(first.len(), 2, "each has its turn");
    assert_eq!(Message::from_vec(&space.tcp(&question("db.", A, Some(1232)))).unwrap().answers.len(), 1);
    assert_eq!(heard.load(Ordering::SeqCst), 0, "names that are ours never leave");
    assert_eq!(space.ask("nobody.", A).metadata.response_code, ResponseCode::NXDomain);
    space.leave("back", "c");
    space.join("back", "d", &["nobody"], &["10.1.0.10"]);
    assert_eq!(space.answers("nobody.", A), ["10.1.0.10"], "a change is seen at once");
    assert_eq!(space.ask("db.", A).metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn many_addresses_come_over_tcp() {
    let mut space = Space::new();
    for n in 0..500 {
        let address = format!("10.2.{}.{}", n / 250, n % 250 + 1);
        space.join("front", &format!("{n:03}"), &[&format!("c{n}"), "many"], &[&address]);
    }
    space.resolver(|_| {});
    let cut = space.ask("many.", A);
    assert!(cut.metadata.truncation && !cut.answers.is_empty());
    assert_eq!(Message::from_vec(&space.tcp(&question("many.", A, None))).unwrap().answers.len(), 500);
}

#[test]
fn everything_else_is_passed_on_as_it_came() {
    let mut space = Space::new();
    space.zones();
    space.server(5, |question, tcp| {
        if !tcp && question.windows(5).any(|part| part == b"large") {
            let mut cut = bare(question, 0);
            cut[2] |= 2;
            return vec![cut];
        }
        // What no library knows: bytes behind the question come back changed, and over TCP as many as fit.
        let mut reply = bare(question, 0);
        reply.resize(if tcp { 65_535 } else { 900 }, 0xab);
        vec![reply]
    });
    space.resolver(|names| names.servers = vec!["127.0.0.5".parse().unwrap()]);
    let asked = question("Some.Example.", TXT, Some(1400));
    let reply = space.udp(&asked).unwrap();
    assert_eq!(reply[..2], asked[..2]);
    assert_eq!(reply[4..asked.len()], asked[4..], "the question and its EDNS");
    assert_eq!((reply.len(), reply[899]), (900, 0xab));
    let large = question("large.example.", TXT, None);
    let cut = space.udp(&large).unwrap();
    assert_eq!((cut.len(), cut[2] & 2), (large.len(), 2));
    let whole = space.tcp(&large);
    assert_eq!((whole.len(), whole[65_534]), (65_535, 0xab));
    // Several over one connection.
    space.inside(|| {
        let mut stream = connect();
        send(&mut stream, &large);
        send(&mut stream, &question("web.", A, None));
        assert_eq!(receive(&mut stream).len(), 65_535);
        assert_eq!(Message::from_vec(&receive(&mut stream)).unwrap().answers.len(), 1);
    });
}

#[test]
fn servers_that_fail_are_passed_over() {
    let mut space = Space::new();
    let silent = space.server(5, |_, _| Vec::new());
    let complains = space.server(6, |question, _| vec![bare(question, 5)]);
    let knows = space.server(7, |asked, _| {
        // First what is no answer to this: another question's, another number's, a question.
        let mut other = bare(asked, 0);
        other[0] ^= 1;
        vec![bare(&question("other.", A, None), 0), other, asked.to_vec(), vec![1, 2, 3], bare(asked, 0)]
    });
    space
        .resolver(|names| names.servers = ["127.0.0.5", "127.0.0.6", "127.0.0.7"].map(|ip| ip.parse().unwrap()).into());
    let begun = Instant::now();
    assert_eq!(space.ask("x.example.", A).metadata.response_code, ResponseCode::NoError);
    assert!((1400..4900).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    // The silent one is asked last now.
    assert_eq!(space.ask("y.example.", A).metadata.response_code, ResponseCode::NoError);
    let counts = [&silent, &complains, &knows].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [1, 2, 2]);
}

#[test]
fn a_failure_is_said_in_time() {
    let mut space = Space::new();
    space.server(5, |_, _| Vec::new());
    space.server(6, |question, _| vec![bare(question, 2)]);
    space.resolver(|names| names.servers = ["127.0.0.5"].map(|ip| ip.parse().unwrap()).into());
    let begun = Instant::now();
    assert_eq!(space.ask("x.example.", A).metadata.response_code, ResponseCode::ServFail);
    assert!(begun.elapsed() < Duration::from_millis(4900), "{:?}", begun.elapsed());
    // Nobody there at all, and one who complains.
    for servers in ["127.0.0.9", "127.0.0.6"] {
        let mut names: rhumb::model::names::Names =
            serde_json::from_slice(&std::fs::read(space.path("names")).unwrap()).unwrap();
        names.servers = vec![servers.parse().unwrap()];
        write(&space.path("names"), &names);
        let is_soon = || {
            let begun = Instant::now();
            assert_eq!(space.ask("x.example.", A).metadata.response_code, ResponseCode::ServFail);
            begun.elapsed() < Duration::from_millis(1000)
        };
        // A busy machine may be slow at times; who waits for an answer is so each time.
        assert!((0..5).any(|_| is_soon()), "{servers}");
    }
    let failed = Message::from_vec(&space.tcp(&question("x.example.", A, None))).unwrap();
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
}

/// CVE-2024-29018: names of the outside told the outside who is inside.
#[test]
fn internal_networks_ask_nobody() {
    let mut space = Space::new();
    space.zones();
    let heard = space.server(5, |question, _| vec![bare(question, 0)]);
    space.resolver(|names| {
        names.servers = vec!["127.0.0.5".parse().unwrap()];
        names.forward = false;
    });
    assert_eq!(space.answers("web.", A), ["10.0.0.2"]);
    for (name, kind) in [("secret.example.", A), ("9.9.9.9.in-addr.arpa.", PTR), ("secret.example.", TXT)] {
        assert_eq!(space.ask(name, kind).metadata.response_code, ResponseCode::ServFail);
    }
    assert_eq!(space.tcp(&question("secret.example.", A, None))[3] & 0xf, 2);
    assert_eq!(heard.load(Ordering::SeqCst), 0);
}

/// With `ndots` set by the user the search domains come first, so a name without dots does not leave.
#[test]
fn names_without_dots_stay_when_search_domains_are_wanted() {
    let mut space = Space::new();
    let heard = space.server(5, |question, _| vec![bare(question, 0)]);
    space.resolver(|names| {
        names.servers = vec!["127.0.0.5".parse().unwrap()];
        names.ndots = true;
    });
    assert_eq!(space.ask("printer.", A).metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(heard.load(Ordering::SeqCst), 0);
    assert_eq!(space.ask("printer.example.", A).metadata.response_code, ResponseCode::NoError);
}

#[test]
fn floods_and_hostile_bytes_are_endured() {
    let mut space = Space::new();
    space.zones();
    space.server(5, |_, _| Vec::new());
    space.resolver(|names| names.servers = vec!["127.0.0.5".parse().unwrap()]);
    space.inside(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = SocketAddr::from((ADDRESS, PORT));
        // Questions that nobody answers: at most so many are on their way.
        for number in 0..10_000u32 {
            socket.send_to(&question(&format!("n{number}.example."), A, None), to).unwrap();
        }
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let good = question("some.long.name.example.", A, Some(1232));
        for _ in 0..3000 {
            let mut bytes = good.clone();
            for _ in 0..random() % 8 {
                let at = random() as usize % bytes.len();
                bytes[at] = random() as u8;
            }
            bytes.truncate(random() as usize % (good.len() + 1));
            socket.send_to(&bytes, to).unwrap();
        }
        socket.send_to(&[0xff; 60_000], to).unwrap();
        socket.send_to(&[], to).unwrap();
        // Connections that say nothing, that say half, that promise much, that go away.
        let mut streams: Vec<_> = (0..100).map(|_| connect()).collect();
        for (number, stream) in streams.iter_mut().enumerate() {
            let bytes: &[u8] = [&[][..], &[0], &[0xff, 0xff, 1], &[0, 0], &[0, 30, 1, 2, 3]][number % 5];
            let _ = stream.write_all(bytes); // it may have been closed by now
        }
        let begun = Instant::now();
        let mut stream = connect();
        send(&mut stream, &question("web.", A, None));
        assert_eq!(Message::from_vec(&receive(&mut stream)).unwrap().answers.len(), 1);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let mut too_long = connect();
        too_long.write_all(&[0xff, 0xff, 0, 0]).unwrap();
        let closed = too_long.read(&mut [0; 8]);
        assert!(matches!(closed, Ok(0) | Err(_)), "a question of 65535 bytes is none");
    });
    assert_eq!(space.answers("web.", A), ["10.0.0.2"]);
}

/// Real programs: dig asks, dnsmasq is asked.
#[test]
fn dig_and_dnsmasq_understand_it() {
    let (Some(_), Some(dnsmasq)) = (support::peer("dig"), support::peers::find("dnsmasq")) else { return };
    let mut space = Space::new();
    space.zones();
    space.resolver(|names| names.servers = vec!["127.0.0.5".parse().unwrap()]);
    let texts: Vec<String> = (0..40).map(|n| format!("--txt-record=large.example,{n:02}{}", "x".repeat(200))).collect();
    let mut server = space.inside(|| {
        let mut command = Command::new(dnsmasq);
        command.args(["--no-daemon", "--conf-file=/dev/null", "--listen-address=127.0.0.5", "--bind-interfaces"]);
        command.args(["--no-resolv", "--no-hosts", "--user=root", "--pid-file=", "--local=/example/"]);
        command.args(["--host-record=there.example,192.0.2.7,2001:db8::7"]).args(&texts);
        command.stderr(Stdio::null()).spawn().unwrap()
    });
    let dig = |args: &[&str]| {
        let args = [&["@127.0.0.11", "+tries=1", "+time=6"], args].concat();
        let output = space.inside(|| Command::new("dig").args(args).output().unwrap());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while dig(&["+short", "there.example"]) != "192.0.2.7\n" {
        assert!(Instant::now() < deadline, "dnsmasq does not answer");
    }
    let results = [
        dig(&["+short", "web"]),
        dig(&["+short", "+tcp", "AAAA", "web"]),
        dig(&["+short", "-x", "10.0.0.2"]),
        dig(&["+short", "AAAA", "there.example"]),
        dig(&["nothing.example"]),
        dig(&["+bufsize=512", "TXT", "large.example"]),
        dig(&["api", "AAAA"]),
    ];
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(results[..4], ["10.0.0.2\n", "fd00::2\n", "Web.front.\n", "2001:db8::7\n"]);
    assert!(results[4].contains("status: NXDOMAIN"), "{}", results[4]);
    assert!(results[5].contains("ANSWER: 40") && results[5].contains("(TCP)"), "{}", results[5]);
    assert!(results[6].contains("status: NOERROR") && results[6].contains("ANSWER: 0"), "{}", results[6]);
    for result in &results[4..] {
        assert!(!result.contains("WARNING") && !result.contains("Warning"), "{result}");
    }
}
