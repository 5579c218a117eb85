//! Waiting for containers: what is waited for, deadlines, and the end of what is waited for.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rhumb::sys::namespace;

use crate::support::{BASE, Rhumb};

/// A listener in a container's network, as one of its own processes would make it: a thread goes there and back never.
fn listen_in(rhumb: &Rhumb, container: &str, port: u16) -> TcpListener {
    let pid = rhumb.inspect(container)["State"]["Pid"].as_i64().unwrap();
    let there = move || {
        use std::os::fd::AsFd as _;
        let namespace = namespace::open(Path::new(&format!("/proc/{pid}/ns/net"))).unwrap();
        namespace::join(namespace.as_fd(), namespace::NETWORK).unwrap();
        TcpListener::bind(("127.0.0.1", port)).unwrap()
    };
    std::thread::spawn(there).join().unwrap()
}

#[test]
fn a_port_is_waited_for_in_the_containers_own_network() {
    let rhumb = Rhumb::with_base();
    rhumb.sh(&format!("run -d --name box {BASE} sleep 1000")).ok();
    // On the machine, not in the container.
    let outside = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = outside.local_addr().unwrap().port();
    let script = format!(r#"container::get("box").wait_port({port}, 300.ms)"#);
    rhumb
        .script(&script)
        .fails_with(9, &format!("waited 300ms in vain for the container \"box\" to listen on port {port}"));
    let wait = rhumb.command(["-e", &format!(r#"container::get("box").wait_port({port}, 60.s)"#)]);
    let mut waiting = { wait }.spawn().unwrap();
    let inside = listen_in(&rhumb, "box", port);
    assert!(waiting.wait().unwrap().success());
    drop(inside);
    rhumb.sh(&format!("run -d --name host --network host {BASE} sleep 1000")).ok();
    rhumb.script(&format!(r#"container::get("host").wait_port({port}, 20.s)"#)).ok();
}

#[test]
fn an_answer_is_waited_for_until_it_is_a_good_one() {
    let rhumb = Rhumb::with_base();
    rhumb.sh(&format!("run -d --name box {BASE} sleep 1000")).ok();
    let listener = listen_in(&rhumb, "box", 8080);
    let server = std::thread::spawn(move || {
        let answers: [&[u8]; 4] = [b"", b"SSH-2.0-what\r\n", b"HTTP/1.1 503 Not yet\r\n\r\n", b"HTTP/1.1 204 \r\n\r\n"];
        let mut asked = Vec::new();
        for answer in answers {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = client.read(&mut request).unwrap();
            asked.push(String::from_utf8_lossy(&request[..length]).into_owned());
            client.write_all(answer).unwrap();
        }
        asked
    });
    rhumb.script(r#"container::get("box").wait_http(8080, "/health?x=1", 50.s)"#).ok();
    let asked = server.join().unwrap();
    assert!(asked[3].starts_with("GET /health?x=1 HTTP/1.1\r\nHost: localhost:8080\r\n"), "{asked:?}");
    assert!(asked[3].ends_with("Connection: close\r\n\r\n"), "{asked:?}");
    for path in ["health", "/a b", "/\\r\\nX: y"] {
        let script = format!(r#"container::get("box").wait_http(8080, "{path}", 1.s)"#);
        rhumb.script(&script).fails_with(2, "is not a path for HTTP");
    }
    rhumb.script(r#"container::get("box").wait_port(65536)"#).fails_with(2, "65536 is not a port");
}

#[test]
fn a_wait_ends_with_the_container_and_shows_its_log() {
    let rhumb = Rhumb::with_base();
    for wait in ["wait_port(80)", "wait_http(80)", "wait_healthy()", "wait_log(\"never\")"] {
        let script = format!(
            r#"let c = container::run("base:1", #{{ command: "echo so long; sleep 0.5; exit 7",
                healthcheck: #{{ test: "false" }} }});
            defer(|| c.remove(#{{ force: true }}));
            c.{wait}"#
        );
        let begin = Instant::now();
        let outcome = rhumb.script(&script);
        outcome.fails_with(5, "ended with status 7 while it was waited for");
        assert!(outcome.stderr.contains("so long"), "{outcome}");
        assert!(begin.elapsed() < Duration::from_secs(30), "{outcome}");
    }
}

#[test]
fn a_line_is_waited_for_in_the_present_run_alone() {
    let rhumb = Rhumb::with_base();
    let loop_ = "if test -e /twice; then sleep 0.5; fi; touch /twice; echo ready $(date +%s%N); sleep 1000";
    rhumb.run(["run", "-d", "--name", "box", BASE, "sh", "-c", loop_]).ok();
    let script = r#"
        let c = container::get("box");
        c.wait_log("ready", 20.s);
        c.kill();
        c.start();
        c.wait_log("ready", 20.s);
        assert(c.logs().split("\n").len == 3);
        "#;
    rhumb.script(script).ok();
    // One that has ended said what it said.
    rhumb.sh("kill box").ok();
    rhumb.script(r#"container::get("box").wait_log("ready", 20.s)"#).ok();
    rhumb.script(r#"container::get("box").wait_log("never", 20.s)"#).fails_with(5, "ended with status 137");
}

#[test]
fn waiting_for_health_needs_a_check_and_names_what_failed() {
    let rhumb = Rhumb::with_base();
    let script = r#"let c = container::run("base:1", #{ name: "plain", command: ["sleep", "1000"] });
        defer(|| c.remove(#{ force: true }));
        c.wait_healthy()"#;
    rhumb.script(script).fails_with(2, "the container \"plain\" has no health check");
    let script = r#"let c = container::run("base:1", #{ name: "sick", command: "echo logged; sleep 1000",
            healthcheck: #{ test: "echo too bad; exit 3", interval: 20.ms } });
        defer(|| c.remove(#{ force: true }));
        c.wait_healthy(500.ms)"#;
    let outcome = rhumb.script(script);
    outcome.fails_with(9, "waited 500ms in vain for the container \"sick\" to be healthy");
    assert!(outcome.stderr.contains("exit code 3: too bad") && outcome.stderr.contains("logged"), "{outcome}");
    rhumb
        .script(r#"let c = container::create("base:1", #{ command: "true" }); defer(|| c.remove()); c.wait_port(1)"#)
        .fails_with(5, "does not run");
}
