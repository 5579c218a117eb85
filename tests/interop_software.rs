//! Real software is built, by a Dockerfile and by a build script that says the same: nginx of Debian's packages, a program
//! in Rust, one in C and one in Python. Both come to the same layers and config, and share one cache; and what was built works.

#[path = "support/mod.rs"]
mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use support::debian::{self, SLOW};
use support::process::{self, PATIENCE, eventually};
use support::{Rhumb, peer};

/// The network that steps and containers use.
const NETWORK: [&str; 5] = ["network", "create", "software", "--subnet", "10.231.77.0/24"];
const PORT: u16 = 28477;

/// Builds a folder of `tests/build/software` both ways.
fn build(rhumb: &Rhumb, name: &str) {
    let context = rhumb.path(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build/software").join(name);
    process::run(Command::new("cp").args(["-a", "--"]).args([&source, &context]), None, PATIENCE).ok();
    process::run(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&context), None, PATIENCE).ok();
    let run = |args: &[&str]| {
        let mut command = rhumb.command(["build", "--progress", "plain", "-t", &format!("{name}:1")]);
        command.args(args).arg(&context).env("RHUMB_NETWORK", "software");
        process::run(&mut command, None, SLOW)
    };
    let first = run(&["-f", context.join("Dockerfile").to_str().unwrap()]);
    assert!(first.success(), "{first}");
    // The history has each one's own words.
    let facts = |image: &str| {
        let image = rhumb.inspect(image);
        (image["RootFS"].clone(), image["Config"].clone())
    };
    let by_dockerfile = facts(&format!("{name}:1"));
    let mut script = rhumb.command([context.join("build.rhai")]);
    script.current_dir(&context).env("RHUMB_NETWORK", "software");
    let by_script = facts(&process::run(&mut script, None, SLOW).ok());
    assert_eq!(by_dockerfile, by_script, "{name}: the script comes to something else");
    let again = run(&["-f", context.join("Dockerfile").to_str().unwrap()]);
    let said = format!("{}{}", again.stdout, again.stderr);
    assert!(again.success() && said.to_lowercase().contains("cached"), "{again}");
}

#[test]
fn real_software_is_built_by_dockerfiles_and_by_scripts() {
    if peer("mmdebstrap").is_none() && peer("debootstrap").is_none() {
        return;
    }
    let rhumb = Rhumb::with_base();
    let debian = debian::archive(&rhumb);
    rhumb.run(["load", "-q", "-i", debian.to_str().unwrap()]).ok();
    rhumb.run(NETWORK).ok();
    for (name, args, said) in
        [("c", &[][..], "6"), ("python", &[], "hello world"), ("rust", &["two words", "and three more"], "5 words")]
    {
        build(&rhumb, name);
        assert_eq!(rhumb.run(["run", "--rm", &format!("{name}:1")].iter().chain(args)).ok(), said);
    }
    build(&rhumb, "nginx");
    let published = format!("127.0.0.1:{PORT}:80");
    rhumb.run(["run", "-d", "--name", "web", "--network", "software", "-p", &published, "nginx:1"]).ok();
    let page = eventually("the page", PATIENCE, || {
        let mut connection = TcpStream::connect(("127.0.0.1", PORT)).ok()?;
        connection.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut page = String::new();
        connection.read_to_string(&mut page).ok()?;
        page.contains("200 OK").then_some(page)
    });
    assert!(page.contains("<h1>built by rhumb</h1>"), "{page}");
    rhumb.run(["rm", "-f", "web"]).ok();
    rhumb.run(["network", "rm", "software"]).ok();
}

/// A step tests against a real database beside it, with its health check and a password that is a secret.
#[test]
fn a_step_is_tested_against_postgresql() {
    if peer("mmdebstrap").is_none() && peer("debootstrap").is_none() {
        return;
    }
    let rhumb = Rhumb::with_base();
    let debian = debian::archive_of(&rhumb, "postgresql", &["postgresql"]);
    rhumb.run(["load", "-q", "-i", debian.to_str().unwrap()]).ok();
    let secret = rhumb.path("password");
    std::fs::write(&secret, "open-sesame-22\n").unwrap();
    let line = format!(
        r#"let base = image::get("postgresql:base");
           let path = "PATH=$PATH:/usr/lib/postgresql/15/bin";
           let server = build::from(base)
               .run("mkdir /data && chown postgres /data").user("postgres")
               .run(`export ${{path}}; initdb -A scram-sha-256 --pwfile=/run/secrets/p -D /data && echo host all all all scram-sha-256 >> /data/pg_hba.conf`,
                   #{{ mounts: [#{{ type: "secret", id: "p", secret: secret::file("{secret}"), mode: 0o444 }}] }})
               .expose("5432").healthcheck(#{{ command: "pg_isready -q -h 127.0.0.1", interval: 200.ms }})
               .cmd(["/usr/lib/postgresql/15/bin/postgres", "-D", "/data", "-c", "listen_addresses=*", "-k", "/tmp"]);
           let tested = build::from(base).run("export PGPASSWORD=$(cat /run/secrets/p); psql -h db -U postgres -c 'create table t as select 42 as a' && psql -At -h db -U postgres -c 'select a from t' > /answer",
               #{{ mounts: [#{{ type: "secret", id: "p", secret: secret::file("{secret}") }}], services: #{{ db: #{{ image: server, logs: true }} }} }});
           print(container::oneshot(tested.commit("tested:1"), "cat /answer"));"#,
        secret = secret.display()
    );
    let mut command = rhumb.command(["-e", &line]);
    assert_eq!(process::run(&mut command, None, SLOW).ok(), "42");
    let logs = rhumb.run(["build", "logs"]).ok();
    assert!(logs.contains("db | ") && logs.contains("ready to accept connections"), "{logs}");
    assert_eq!(rhumb.run(["network", "ls", "-q", "--filter", "type=custom"]).ok(), "");
}
