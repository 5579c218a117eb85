//! Services beside a step: they are reached by name, they are gone afterwards, and errors say what became of them.

use std::time::{Duration, Instant};

use crate::support::Rhumb;
use crate::support::peers::peer;
use crate::support::process::{self, PATIENCE};

/// A step that reads what a service serves.
const READS: &str = r#"["python3", "-c", "import urllib.request as u; open('/got', 'wb').write(u.urlopen('http://web:8000/f').read())"]"#;

/// A root with an image that can serve.
fn serving() -> Option<Rhumb> {
    peer("python3")?;
    let rhumb = Rhumb::with_base();
    rhumb.script(r#"image::from_host(["sh", "sleep", "cat", "env", "mkdir", "echo", "python3"], "serving:1")"#).ok();
    Some(rhumb)
}

/// A script with `web`, a build that serves a file, and `client`, a build on the same image.
fn script(options: &str, rest: &str) -> String {
    format!(
        r#"let web = build::from("serving:1").run("mkdir /www && echo hello > /www/f").workdir("/www").expose("8000")
               .cmd(["python3", "-m", "http.server", "8000"]);
           let client = build::from("serving:1").run({READS}, #{{ services: #{{ web: #{{ image: web, {options} }} }} }});
           {rest}"#
    )
}

#[track_caller]
fn assert_nothing_left(rhumb: &Rhumb) {
    assert_eq!(rhumb.run(["network", "ls", "-q", "--filter", "type=custom"]).ok(), "");
    assert_eq!(left(rhumb), 0);
    rhumb.assert_consistent();
}

/// Containers, and networks of steps.
fn left(rhumb: &Rhumb) -> usize {
    let count = |folder: &str| std::fs::read_dir(rhumb.root().join(folder)).map_or(0, Iterator::count);
    count("containers") + count("builds/networks")
}

/// Of a build that was killed commands clear up, and the monitors of what it had.
#[track_caller]
fn assert_cleared_up(rhumb: &Rhumb, after: &str) {
    process::eventually(&format!("the end after {after}"), PATIENCE, || {
        rhumb.run(["ps", "-aq"]).ok();
        (left(rhumb) == 0).then_some(())
    });
    assert_nothing_left(rhumb);
}

#[test]
fn a_step_reaches_its_services_by_their_names() {
    let Some(rhumb) = serving() else { return };
    let commit = r#"print(container::oneshot(client.commit("made:1"), "cat /got")); print(client.cached);"#;
    let first =
        rhumb.script(&script(r#"logs: true, environment: #{ A: "1", TOKEN: secret::random(16) }"#, commit)).ok();
    assert_eq!(first, "hello\n0");
    let logs = rhumb.run(["build", "logs"]).ok();
    assert!(logs.contains("| web | ") && logs.contains("GET /f"), "{logs}");
    assert_nothing_left(&rhumb);
    // What the service is makes the key; how long one waits for it and what its secrets say does not.
    let cached = |options: &str, wanted: &str| {
        assert_eq!(rhumb.script(&script(options, "client.solve(); print(client.cached)")).ok(), wanted, "{options}");
    };
    cached(r#"timeout: 90.s, environment: #{ A: "1", TOKEN: secret::random(16) }"#, "5");
    cached(r#"environment: #{ A: "2", TOKEN: secret::random(16) }"#, "4");
    let other = script(r#"environment: #{ A: "1", TOKEN: secret::random(16) }"#, "client.solve(); print(client.why())");
    let why = rhumb.script(&other.replace("echo hello", "echo other")).ok();
    assert!(why.contains(r#"the image of the service "web" changed"#), "{why}");
}

#[test]
fn a_service_has_its_secrets_and_nobody_else_sees_them() {
    let rhumb = Rhumb::with_base();
    let secret = rhumb.path("secret");
    std::fs::write(&secret, "open-sesame-17").unwrap();
    let line = format!(
        r#"build::from("base:1").run("env", #{{ services: #{{ db: #{{ image: "base:1", logs: true,
             command: "echo the password is $PASSWORD; test ${{#PASSWORD}} = 14 && sleep 1000",
             healthcheck: #{{ test: "test ${{#PASSWORD}} = 14", interval: "100ms" }},
             environment: #{{ PASSWORD: secret::file("{}") }} }} }} }}).solve()"#,
        secret.display()
    );
    rhumb.script(&line).ok();
    let logs = rhumb.run(["build", "logs"]).ok();
    assert!(logs.contains("db | the password is ***"), "{logs}");
    let found = process::run(
        std::process::Command::new("grep").args(["-rl", "open-sesame-17"]).arg(rhumb.root()),
        None,
        PATIENCE,
    );
    assert_eq!(found.stdout, "", "{found}");
    assert_nothing_left(&rhumb);
}

#[test]
fn an_error_says_what_became_of_a_service() {
    let rhumb = Rhumb::with_base();
    for (service, command, wanted) in [
        (
            r#"command: "echo starting; echo no disk >&2; exit 3", expose: ["5432"]"#,
            "true",
            &[r#"the service "db" ended with 3 before it was ready"#, "no disk"][..],
        ),
        (
            r#"command: "echo starting; sleep 1000", timeout: 1.s,
               healthcheck: #{ test: "echo not yet; exit 9", interval: "100ms" }"#,
            "true",
            &[r#"the service "db" was not ready after 1s; its last check ended with"#, "starting"],
        ),
        (
            r#"command: "sleep 1000", timeout: 500.ms, expose: ["5432"]"#,
            "true",
            &[r#"the service "db" was not ready after 500ms"#],
        ),
        (
            r#"command: "sleep 1; echo told to", healthcheck: #{ test: "true", interval: "100ms" }"#,
            "sleep 3; echo no answer; exit 4",
            &["no answer", r#"the service "db" had ended with 0"#, "told to"],
        ),
        (r#"command: ["nope"]"#, "true", &[r#"starting the service "db""#, "nope"]),
        (r#"ports: ["80:80"]"#, "true", &[r#"reading the service "db""#, "on the network of its step"]),
        (r#"imag: "x""#, "true", &["unknown option", "image"]),
        (r#"networks: ["x"]"#, "true", &["\"networks\" is not for the service of a step"]),
    ] {
        let line = format!(
            r#"build::from("base:1").run("{command}", #{{ services: #{{ db: #{{ image: "base:1", {service} }} }} }}).solve()"#
        );
        let outcome = rhumb.script(&line);
        assert!(!outcome.success(), "{outcome}");
        for text in wanted {
            assert!(outcome.stderr.contains(text), "{text}\n{outcome}");
        }
        assert_nothing_left(&rhumb);
    }
    let secret = r#"build::from("base:1").run("true", #{ services: #{ db: #{ image: "base:1", command: "sleep 1000",
        environment: #{ PASSWORD: secret::env_var("TOLD") }, timeout: 1.s,
        healthcheck: #{ test: "echo cannot log in with $PASSWORD; exit 1", interval: "100ms" } } } }).solve()"#;
    let mut command = rhumb.command(["-e", secret]);
    let outcome = process::run(command.env("TOLD", "open-sesame-18"), None, PATIENCE);
    assert!(outcome.stderr.contains("cannot log in with ***"), "{outcome}");
    let host = r#"build::from("base:1").run("true", #{ network: "host", services: #{ db: "base:1" } }).solve()"#;
    let outcome = rhumb.script(host);
    assert!(outcome.stderr.contains("a step on the host's network has no services"), "{outcome}");
}

/// The command may wait for it for ever.
#[test]
fn a_service_that_dies_ends_the_step() {
    let rhumb = Rhumb::with_base();
    let line = r#"build::from("base:1").run("echo waiting; sleep 1000", #{ services: #{
        db: #{ image: "base:1", command: "sleep 1; echo out of memory; exit 7" },
        other: #{ image: "base:1", command: "sleep 1000" } } }).solve()"#;
    let begun = Instant::now();
    let outcome = rhumb.script(line);
    assert!(begun.elapsed() < Duration::from_secs(30), "it was not waited for");
    assert!(!outcome.success(), "{outcome}");
    for text in [r#"the service "db" ended with 7 while the command ran"#, "out of memory", "RUN echo waiting"] {
        assert!(outcome.stderr.contains(text), "{text}\n{outcome}");
    }
    assert!(rhumb.run(["build", "logs"]).ok().contains("| waiting"));
    assert_nothing_left(&rhumb);
    // While another one is waited for, too.
    let line = r#"build::from("base:1").run("true", #{ services: #{
        db: #{ image: "base:1", command: "sleep 1; exit 7" },
        slow: #{ image: "base:1", command: "sleep 1000", expose: ["5432"] } } }).solve()"#;
    let outcome = rhumb.script(line);
    assert!(outcome.stderr.contains(r#"the service "db" ended with 7"#), "{outcome}");
    assert_nothing_left(&rhumb);
}

/// Each says when it began; one that is waited for takes its time.
#[test]
fn services_begin_after_those_that_they_depend_on() {
    let rhumb = Rhumb::with_base();
    let order = |db: &str, migrate: &str, app: &str| {
        let line = format!(
            r#"build::from("base:1").run("echo the command", #{{ services: #{{
                 app: #{{ image: "base:1", logs: true, command: "echo begun; sleep 1000", {app} }},
                 db: #{{ image: "base:1", logs: true, command: "sleep 1; touch /up; echo up; sleep 1000",
                        healthcheck: #{{ test: "test -f /up", interval: "100ms" }}, {db} }},
                 migrate: #{{ image: "base:1", logs: true, command: "sleep 1; echo done", {migrate} }} }} }})
               .solve(#{{ no_cache: true }})"#
        );
        let outcome = rhumb.script(&line);
        assert_nothing_left(&rhumb);
        outcome
    };
    let by_names = r#"depends_on: "migrate""#;
    for (migrate, app) in [
        (r#"depends_on: ["db"]"#, r#"depends_on: #{ migrate: "service_completed_successfully" }"#),
        (
            r#"depends_on: #{ db: #{ condition: "service_healthy" } }"#,
            r#"depends_on: #{ migrate: #{ condition: "service_completed_successfully" } }"#,
        ),
    ] {
        order("", migrate, app).ok();
        let logs = rhumb.run(["build", "logs"]).ok();
        let at = |text: &str| logs.find(text).unwrap_or_else(|| panic!("{text} is not in\n{logs}"));
        assert!(at("db | up") < at("migrate | done"), "{logs}");
        assert!(at("migrate | done") < at("app | begun"), "{logs}");
        assert!(at("migrate | done") < at("the command\n#1 done"), "{logs}");
    }
    for (migrate, app, wanted) in [
        (r#"depends_on: ["app"]"#, by_names, "services wait for each other: app → migrate → app"),
        (r#"depends_on: ["bd"]"#, by_names, "did you mean \"db\"?"),
        (r#"depends_on: ["migrate"]"#, by_names, "migrate → migrate"),
        (r#"depends_on: #{ db: "healthy" }"#, "", "use service_started, service_healthy"),
        (r#"depends_on: #{ db: #{ conditon: "x" } }"#, "", "did you mean \"condition\"?"),
        (r#"depends_on: [[]]"#, "", "depends_on"),
        (
            r#"entrypoint: ["sh", "-c", "exit 3"]"#,
            r#"depends_on: #{ migrate: "service_completed_successfully" }"#,
            r#"the service "migrate" ended with 3"#,
        ),
        (
            r#"entrypoint: ["sh", "-c", "sleep 1000"], timeout: 2.s"#,
            r#"depends_on: #{ migrate: "service_completed_successfully" }"#,
            r#"the service "migrate" had not ended after 2s"#,
        ),
    ] {
        let outcome = order("", migrate, app);
        assert!(!outcome.success() && outcome.stderr.contains(wanted), "{wanted}\n{outcome}");
    }
}

/// One that has nothing to say of itself has done its work when it ends well.
#[test]
fn a_service_that_ends_well_is_no_failure() {
    let rhumb = Rhumb::with_base();
    let line = r#"build::from("base:1").run("true", #{ services: #{ a: #{ image: "base:1", command: "true" },
        b: #{ image: "base:1", command: "sleep 1000" } } }).solve()"#;
    rhumb.script(line).ok();
    assert_nothing_left(&rhumb);
}

#[test]
fn the_network_of_a_step_leads_no_further_than_the_step_may() {
    let rhumb = Rhumb::with_base();
    let routes = |network: &str, default_network: Option<&str>| {
        let services = r#"services: #{ db: #{ image: "base:1", command: "sleep 1000" } }"#;
        let line = format!(
            r#"print(build::from("base:1").capture("cat /proc/net/route; : {}", #{{ network: "{network}", {services} }}))"#,
            default_network.unwrap_or("bridge")
        );
        let mut command = rhumb.command(["-e", &line]);
        command.env_remove("RHUMB_NETWORK");
        if let Some(name) = default_network {
            command.env("RHUMB_NETWORK", name);
        }
        let table = process::run(&mut command, None, PATIENCE).ok();
        // Interface, destination, gateway: a route for everything has the destination 0.
        let all = table.lines().skip(1).filter(|line| line.split_whitespace().nth(1) == Some("00000000")).count();
        (table.lines().count() - 1 - all, all)
    };
    assert_eq!(routes("none", None), (1, 0), "a network of its own, and no way out");
    assert_eq!(routes("default", Some("none")), (1, 0));
    assert_eq!(routes("default", None), (1, 1));
    rhumb.run(["network", "create", "wide"]).ok();
    assert_eq!(routes("default", Some("wide")), (2, 1));
    rhumb.run(["network", "rm", "wide"]).ok();
    assert_nothing_left(&rhumb);
}

const LONG: &str = r#"build::from("base:1").run("sleep 1000", #{ services: #{ a: #{ image: "base:1", command: "sleep 1000" },
    b: #{ image: "base:1", command: "sleep 1000" } } }).solve()"#;

#[test]
fn nothing_of_a_build_that_was_killed_stays() {
    let rhumb = Rhumb::with_base();
    for kill in [true, false] {
        let mut child = rhumb.spawn(["-e", LONG]);
        process::eventually("the step and its services", PATIENCE, || (left(&rhumb) == 4).then_some(()));
        std::thread::sleep(Duration::from_millis(200));
        if kill {
            child.kill().unwrap();
        } else {
            // As Ctrl-C does.
            let pid = i32::try_from(child.id()).unwrap();
            let mut interrupt = std::process::Command::new("kill");
            process::run(interrupt.args(["-INT", &pid.to_string()]), None, PATIENCE).ok();
        }
        child.wait().unwrap();
        assert_cleared_up(&rhumb, "a kill");
    }
}

#[test]
fn whatever_it_dies_of_the_next_build_is_right() {
    let rhumb = Rhumb::with_base();
    let build = LONG.replace(r#"run("sleep 1000""#, r#"run("echo x > /x""#);
    for point in ["build.services.network", "build.service.start", "build.services.started", "build.step.ended"] {
        for action in ["kill", "error"] {
            let mut command = rhumb.command(["-e", &build]);
            command.env("RHUMB_FAILPOINT", format!("{point}={action}"));
            let outcome = process::run(&mut command, None, PATIENCE);
            assert!(!outcome.success(), "{point}={action} was not passed:\n{outcome}");
            assert_cleared_up(&rhumb, &format!("{point}={action}"));
        }
    }
    rhumb.script(&build).ok();
    assert_nothing_left(&rhumb);
}

/// A prune beside it leaves the network of a step that lives.
#[test]
fn a_prune_leaves_the_network_of_a_step() {
    let rhumb = Rhumb::with_base();
    let build = LONG.replace(r#"run("sleep 1000""#, r#"run("echo x > /x""#);
    let trace = rhumb.path("trace");
    std::fs::write(&trace, "").unwrap();
    let mut command = rhumb.command(["-e", &build]);
    command.env("RHUMB_FAILPOINT", "build.service.start=pause:1500").env("RHUMB_FAILPOINT_TRACE", &trace);
    let build = std::thread::spawn(move || process::run(&mut command, None, PATIENCE));
    process::eventually("the first service", PATIENCE, || {
        std::fs::read_to_string(&trace).unwrap().contains("build.service.start").then_some(())
    });
    rhumb.run(["system", "prune", "-f"]).ok();
    build.join().unwrap().ok();
    assert_nothing_left(&rhumb);
}
