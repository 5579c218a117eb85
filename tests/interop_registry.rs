//! Images between us, Debian's registry and skopeo: pushed, pulled, signed in, with caches and attestations of builds, many
//! at once, and killed on the way.

#[path = "support/mod.rs"]
mod support;

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::process::{self, PATIENCE};
use support::registry::Registry;
use support::{Rhumb, Scratch, peer};

fn skopeo<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let mut command = Command::new(support::peers::find("skopeo").expect("it was there before"));
    process::run(command.args(args), None, PATIENCE).ok()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn what_we_push_others_read_and_the_other_way_round() {
    let Some(registry) = Registry::start(None) else { return };
    if peer("skopeo").is_none() {
        return;
    }
    let rhumb = Rhumb::with_base();
    let context = rhumb.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM base:1\nRUN echo one >/one\nLABEL a=b\nRUN rm /bin/ls\n").unwrap();
    let (ours, theirs) = (registry.name("me/app:1"), registry.name("you/app:2"));
    rhumb.run(["build", "-q", "-t", &ours, context.to_str().unwrap()]).ok();
    let said = rhumb.run(["push", &ours]).ok();
    let digest = said.lines().last().unwrap().strip_prefix("1: digest: ").unwrap().to_owned();
    let seen = json(&skopeo(["inspect", "--tls-verify=false", &format!("docker://{ours}")]));
    assert_eq!((seen["Digest"].as_str(), seen["Labels"]["a"].as_str()), (Some(&*digest), Some("b")));
    // A second time there is nothing to do; another repository takes the blobs over.
    assert_eq!(rhumb.run(["push", &ours]).stderr.matches("Already exists").count(), 3);
    rhumb.run(["tag", &ours, &registry.name("me/more:1")]).ok();
    assert_eq!(rhumb.run(["push", &registry.name("me/more:1")]).stderr.matches("Mounted from me/app").count(), 3);
    // Written by skopeo, in Docker's format and compressed otherwise.
    let archive = rhumb.path("app.tar");
    rhumb.run(["save", "-o", archive.to_str().unwrap(), &ours]).ok();
    let (from, to) = (format!("docker-archive:{}", archive.display()), format!("docker://{theirs}"));
    skopeo(["copy", "--dest-tls-verify=false", "--format", "v2s2", &from, &to]);
    let other = Rhumb::new();
    for name in [&ours, &theirs, &format!("{}@{digest}", registry.name("me/app"))] {
        other.run(["pull", "-q", name]).ok();
        let seen = other.run(["run", "--rm", name, "sh", "-c", "cat /one; test ! -e /bin/ls && echo gone"]);
        assert_eq!(seen.ok(), "one\ngone");
    }
    let facts = other.inspect(&ours);
    assert_eq!(facts["RepoDigests"][0], format!("{}@{digest}", registry.name("me/app")));
    assert_eq!(facts["Id"], rhumb.inspect(&ours)["Id"]);
    assert_eq!(facts["RootFS"], rhumb.inspect(&ours)["RootFS"]);
    // What was pulled is pushed on, byte by byte.
    let third = Rhumb::new();
    third.run(["pull", "-q", &theirs]).ok();
    third.run(["tag", &theirs, &registry.name("third/app:3")]).ok();
    third.run(["push", "-q", &registry.name("third/app:3")]).ok();
    let raw = |name: &str| skopeo(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    assert_eq!(raw(&theirs), raw(&registry.name("third/app:3")));
    other.run(["pull", &registry.name("nobody/app:1")]).fails_with(3, "MANIFEST_UNKNOWN");
    other.run(["push", &registry.name("nobody/app:1")]).fails_with(3, "no such image");
    // All tags of a repository.
    rhumb.run(["tag", &ours, &registry.name("me/app:2")]).ok();
    rhumb.run(["push", "-q", "-a", &registry.name("me/app")]).ok();
    other.run(["rmi", "-f", &ours]).ok();
    let all = other.run(["pull", "-q", "-a", &registry.name("me/app")]).ok();
    assert_eq!(all.lines().collect::<Vec<_>>(), [registry.name("me/app:1"), registry.name("me/app:2")]);
    for rhumb in [rhumb, other, third] {
        rhumb.assert_consistent();
    }
}

#[test]
fn who_signed_in_may_write() {
    let Some(mut tool) = peer("htpasswd") else { return };
    let users = process::run(tool.args(["-nbB", "me", "secret"]), None, PATIENCE).ok();
    let Some(registry) = Registry::start(Some(&format!("{}\n", users.trim()))) else { return };
    let rhumb = Rhumb::with_base();
    let name = registry.name("me/app:1");
    rhumb.run(["tag", "base:1", &name]).ok();
    let refused = rhumb.run(["push", &name]);
    refused.fails_with(6, "wants to know who you are");
    assert!(refused.stderr.contains("rhumb login"), "{refused}");
    rhumb.run_with_input(["login", "-u", "me", "--password-stdin", &registry.host], b"wrong").fails_with(6, "401");
    let login = ["login", "-u", "me", "--password-stdin", &registry.host];
    assert_eq!(rhumb.run_with_input(login, b"secret\n").ok(), "Login Succeeded");
    rhumb.run(["push", "-q", &name]).ok();
    rhumb.run(["rmi", &name]).ok();
    rhumb.run(["pull", "-q", &name]).ok();
    rhumb.run(["logout", &registry.host]).ok();
    rhumb.run(["pull", &name]).fails(6);
    rhumb.run(["login", &registry.host]).fails_with(2, "--username");
    rhumb.run(["login", "-u", "me", "no host"]).fails_with(2, "not the host of a registry");
}

#[test]
fn who_shows_a_certificate_is_known_by_it() {
    let Some(_) = peer("docker-registry") else { return };
    let Some(_) = peer("openssl") else { return };
    let folder = Scratch::new();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let openssl = |line: &str| {
        let mut command = Command::new(support::peers::find("openssl").unwrap());
        process::run(command.args(line.split(' ')), None, PATIENCE).ok();
    };
    for ca in ["ca", "other"] {
        let (key, crt) = (path(&format!("{ca}.key")), path(&format!("{ca}.crt")));
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={ca} -keyout {key} -out {crt}"
        ));
    }
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    for who in ["server", "client"] {
        let (key, csr, crt) = (path(&format!("{who}.key")), path(&format!("{who}.csr")), path(&format!("{who}.cert")));
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={who} -keyout {key} -out {csr}"
        ));
        let (ca, ca_key, names) = (path("ca.crt"), path("ca.key"), path("names"));
        openssl(&format!(
            "x509 -req -in {csr} -CA {ca} -CAkey {ca_key} -CAcreateserial -days 2 -extfile {names} -out {crt}"
        ));
    }
    let tls = format!(
        "tls: {{certificate: {}, key: {}, clientcas: [{}]}}",
        path("server.cert"),
        path("server.key"),
        path("ca.crt")
    );
    let Some(registry) = Registry::start_with(None, &tls) else { return };
    let rhumb = Rhumb::with_base();
    let name = registry.name("me/app:1");
    rhumb.run(["tag", "base:1", &name]).ok();
    let own = folder.join("certs").join(&registry.host);
    std::fs::create_dir_all(&own).unwrap();
    let push = || {
        let mut command = rhumb.command(["push", "-q", &name]);
        process::run(command.env("RHUMB_CERTIFICATES", folder.join("certs")), None, PATIENCE)
    };
    // It wants to see one.
    assert!(!push().success());
    for file in ["client.cert", "client.key"] {
        std::fs::copy(folder.join(file), own.join(file)).unwrap();
    }
    push().ok();
    // Who names an authority wants that it signed, also on this machine.
    std::fs::copy(folder.join("other.crt"), own.join("ca.crt")).unwrap();
    let outcome = push();
    assert!(!outcome.success() && outcome.stderr.contains("certificate"), "{outcome}");
    std::fs::copy(folder.join("ca.crt"), own.join("ca.crt")).unwrap();
    push().ok();
    std::fs::remove_file(own.join("client.key")).unwrap();
    push().fails_with(3, "has no key");
}

#[test]
fn builds_share_their_cache_through_a_registry() {
    let Some(registry) = Registry::start(None) else { return };
    let first = Rhumb::with_base();
    let archive = first.path("base.tar");
    first.run(["save", "-o", archive.to_str().unwrap(), "base:1"]).ok();
    let second = Rhumb::new();
    second.run(["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    let build = |rhumb: &Rhumb, text: &str, args: &[&str]| {
        let context = rhumb.path("context");
        std::fs::create_dir_all(&context).unwrap();
        std::fs::write(context.join("Dockerfile"), text).unwrap();
        rhumb
            .run(["build", "--progress", "plain", "-t", "app:1"].iter().chain(args).chain([&context.to_str().unwrap()]))
    };
    let text = "FROM base:1 AS a\nRUN --mount=type=cache,id=kept,target=/c echo one >/c/x; cat /c/x >/one\n\
                FROM base:1\nCOPY --from=a /one /one\nRUN echo two >/two\n";
    let place = registry.name("me/cache:main");
    let to = format!("type=registry,ref={place},mode=max,mounts=true");
    build(&first, text, &["--cache-from", &place, "--cache-to", &to]).ok();
    let built = build(&second, text, &["--cache-from", &format!("type=registry,ref={place}")]);
    built.ok();
    assert_eq!(built.stderr.matches("CACHED").count(), 3, "{built}");
    assert_eq!(second.inspect("app:1")["Id"], first.inspect("app:1")["Id"]);
    // A command that is not cached begins with what the other's had kept.
    let more = "FROM base:1\nRUN --mount=type=cache,id=kept,target=/c cat /c/x >/found\n";
    build(&second, more, &["--cache-from", &place]).ok();
    assert_eq!(second.run(["run", "--rm", "app:1", "cat", "/found"]).ok(), "one");
    // A script says it as well.
    let script = format!(
        "let b = build::from(\"base:1\"); b.run(\"echo one >/one\"); b.solve(#{{ cache_to: [\"type=registry,ref={place}-2\"] }});\n\
         let b = build::from(\"base:1\"); b.run(\"echo one >/one\"); b.solve(#{{ cache_from: [\"type=registry,ref={place}-2\"] }});"
    );
    first.script(&script).ok();
    // What is no cache is none, and what cannot be reached is said; the build goes on.
    first.run(["tag", "base:1", &registry.name("me/base:1")]).ok();
    first.run(["push", "-q", &registry.name("me/base:1")]).ok();
    for (place, why) in [(&*registry.name("me/base:1"), "carries no cache"), ("127.0.0.1:1/x", "Connection refused")] {
        let outcome = build(&first, text, &["--cache-from", place]);
        outcome.ok();
        assert!(outcome.stderr.contains("warning: ") && outcome.stderr.contains(why), "{outcome}");
    }
    build(&first, text, &["--cache-to", "type=registry,ref=127.0.0.1:1/x"]).fails_with(8, "Connection refused");
    // An image that carries its cache is read where it lies: only the layers that a step came to are fetched.
    let name = registry.name("me/app:1");
    build(&first, text, &["-t", &name, "--cache-to", "type=inline"]).ok();
    first.run(["push", "-q", &name]).ok();
    let third = Rhumb::new();
    third.run(["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    let more = text.replace("echo two", "echo three");
    let built = build(&third, &more, &["--cache-from", &name]);
    built.ok();
    // What the first stage came to is the layer that was copied of it, and so a part of the image.
    assert_eq!(built.stderr.matches("CACHED").count(), 2, "{built}");
    assert!(built.stderr.contains("RUN echo three >/two\n#3 DONE"), "{built}");
    assert!(!third.run(["images"]).ok().contains("me/app"));
    // An image of that name which is here, and older, does not hide what is there.
    let fourth = Rhumb::new();
    fourth.run(["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    build(&fourth, "FROM base:1\nRUN echo old >/old\n", &["-t", &name, "--cache-to", "type=inline"]).ok();
    let built = build(&fourth, text, &["--cache-from", &name]);
    built.ok();
    assert_eq!(built.stderr.matches("CACHED").count(), 3, "{built}");
    // Digests of what goes into a key are nobody's: a short value is found by its digest.
    let blobs = walk(&registry.folder.join("data/docker/registry/v2/blobs/sha256"));
    let indexes: Vec<String> = blobs
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok().filter(|text| text.contains("\"steps\":{")))
        .collect();
    assert!(indexes.len() >= 2 && indexes.iter().all(|text| !text.contains("the command")), "{indexes:?}");
    // A cache that has lost its layers costs a warning: zstd's magic number (RFC 8878, 3.1.1) shows which they are.
    for path in blobs.iter().filter(|path| std::fs::read(path).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd])) {
        std::fs::remove_file(path).unwrap();
    }
    let fifth = Rhumb::new();
    fifth.run(["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    let built = build(&fifth, text, &["--cache-from", &place]);
    built.ok();
    assert!(built.stderr.contains("warning: ") && built.stderr.contains("taking a step from the cache"), "{built}");
    assert_eq!(fifth.run(["run", "--rm", "app:1", "cat", "/one", "/two"]).ok(), "one\ntwo");
}

#[test]
fn an_image_is_built_and_written_with_what_is_said_of_it() {
    let Some(registry) = Registry::start(None) else { return };
    let rhumb = Rhumb::with_base();
    let context = rhumb.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM base:1\nRUN echo hi >/hi\n").unwrap();
    let name = registry.name("me/app:1");
    let build = |args: &[&str]| rhumb.run(["build", "-q"].iter().chain(args).chain([&context.to_str().unwrap()]));
    build(&["--push"]).fails_with(2, "--tag");
    for args in [
        &["--push", "-t", &*name, "--provenance", "--sbom"][..],
        &["--output", "type=registry", "-t", &*name, "--attest", "type=sbom"],
        &["--output", "type=image,push=true", "-t", &*name],
    ] {
        build(args).ok();
    }
    let manifest = rhumb.run(["images", "--digests", "--format", "{{.Digest}}", &name]).ok();
    // This registry does not keep what refers to what: it is under the tag that stands for it.
    let get = |path: &str| {
        let script = format!(
            "print(host::http_get(\"http://{}{path}\", #{{ headers: #{{ Accept: \"application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json\" }} }}).body);",
            registry.host
        );
        json(&rhumb.script(&script).ok())
    };
    let index = get(&format!("/v2/me/app/manifests/{}", manifest.replacen(':', "-", 1)));
    let entries = index["manifests"].as_array().unwrap();
    let kinds: Vec<_> =
        entries.iter().map(|entry| entry["annotations"]["in-toto.io/predicate-type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"https://slsa.dev/provenance/v1"), "{index}");
    assert!(kinds.contains(&"https://spdx.dev/Document"), "{index}");
    for entry in entries {
        let said = get(&format!("/v2/me/app/manifests/{}", entry["digest"].as_str().unwrap()));
        assert_eq!(said["subject"]["digest"], manifest.as_str());
        let statement = get(&format!("/v2/me/app/blobs/{}", said["layers"][0]["digest"].as_str().unwrap()));
        assert_eq!(statement["subject"][0]["digest"]["sha256"], manifest[7..], "{statement}");
    }
}

/// R17, as far as it is ours: many write one blob at once, and some are killed.
#[test]
fn many_write_at_once_and_some_are_killed() {
    let Some(registry) = Registry::start(None) else { return };
    let rhumb = Rhumb::with_base();
    let script = "let b = build::from(\"base:1\"); b.run(\"i=0; while [ $i -lt 200000 ]; do echo $i-$$-line; i=$((i+1)); done >/big\"); b.commit(\"big:1\");";
    rhumb.script(script).ok();
    let names: Vec<String> = (0..16).map(|number| registry.name(&format!("me/r{}:{number}", number % 4))).collect();
    for name in &names {
        rhumb.run(["tag", "big:1", name]).ok();
    }
    let start = |(at, name): (usize, &String)| {
        let said = std::fs::File::create(rhumb.path(format!("said-{at}"))).unwrap();
        let mut command = rhumb.command(["push", name]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        (at, command.spawn().unwrap())
    };
    let mut children: Vec<(usize, Child)> = names.iter().enumerate().map(start).collect();
    std::thread::sleep(Duration::from_millis(60));
    for (_, child) in children.iter_mut().filter(|(at, _)| at % 5 == 4) {
        child.kill().unwrap();
    }
    for (at, child) in &mut children {
        let said = || std::fs::read_to_string(rhumb.path(format!("said-{at}"))).unwrap();
        assert!(child.wait().unwrap().success() || *at % 5 == 4, "{}", said());
    }
    for name in &names {
        rhumb.run(["push", "-q", name]).ok();
    }
    let other = Rhumb::new();
    for name in &names {
        other.run(["pull", "-q", name]).ok();
        assert_eq!(other.inspect(name)["Id"], rhumb.inspect("big:1")["Id"]);
        other.run(["rmi", name]).ok();
    }
    other.assert_consistent();
    // A registry whose disk lost a blob says so, and nothing comes.
    let data = registry.folder.join("data/docker/registry/v2/blobs/sha256");
    let biggest = walk(&data).into_iter().max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(&biggest).unwrap();
    file.write_all(b"no").unwrap();
    let outcome = other.run(["pull", &names[0]]);
    outcome.fails(10);
    assert_eq!(other.run(["images", "-q"]).ok(), "");
    other.assert_consistent();
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
