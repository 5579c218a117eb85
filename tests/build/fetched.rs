//! What `ADD` takes from elsewhere: files behind addresses and commits, from servers that the tests are.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dockerfile::{build, seen};
use crate::support::Rhumb;
use crate::support::process::{self, PATIENCE};

/// Serves a folder's files and counts requests; gives the port.
pub(crate) fn serve(folder: PathBuf, count: Arc<AtomicUsize>) -> u16 {
    serve_those(folder, count, |_| "200 OK".to_owned())
}

/// As [`serve`]; what a request's header says decides about the status, or leads elsewhere.
fn serve_those(folder: PathBuf, count: Arc<AtomicUsize>, status: impl Fn(&[String]) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let said: Vec<String> = lines.map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
            let path = first.split(' ').nth(1).unwrap().split('?').next().unwrap().trim_start_matches('/').to_owned();
            let (status, body) = match std::fs::read(folder.join(path)) {
                Ok(body) => (status(&said), body),
                Err(_) => ("404 Not Found".to_owned(), Vec::new()),
            };
            let date = "Last-Modified: Thu, 01 Jan 1970 00:01:40 GMT";
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{date}\r\nConnection: close", body.len());
            stream.write_all(format!("{head}\r\n\r\n").as_bytes()).and_then(|()| stream.write_all(&body)).unwrap();
        }
    });
    port
}

#[test]
fn what_is_added_from_an_address_is_checked_and_not_fetched_twice() {
    let rhumb = Rhumb::with_base();
    let folder = rhumb.path("served");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("tool.txt"), "hello").unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let port = serve(folder, Arc::clone(&served));
    let right = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let add = |sum: &str| format!("FROM base:1\nADD --checksum={sum} http://127.0.0.1:{port}/tool.txt /opt/\n");
    build(&rhumb, &add(right), &["-t", "made:1"]).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /opt/tool.txt; stat -c ' %a %Y' /opt/tool.txt"), "hello 600 100");
    let before = served.load(Ordering::Relaxed);
    build(&rhumb, &add(right), &["-t", "made:1"]).ok();
    assert_eq!(served.load(Ordering::Relaxed), before, "a checksum says what it is");
    let wrong = build(&rhumb, &add(&right.replace("2cf2", "0000")), &[]);
    assert!(wrong.stderr.contains("and not sha256:0000"), "{wrong}");
    let gone = build(&rhumb, &format!("FROM base:1\nADD http://127.0.0.1:{port}/nope /opt/\n"), &[]);
    assert!(gone.stderr.contains("Dockerfile:2") && gone.stderr.contains("404"), "{gone}");
}

pub(crate) fn git(repo: &Path, words: &[&str]) -> String {
    let mut command = std::process::Command::new("git");
    command.args(["-C", repo.to_str().unwrap(), "-c", "user.name=a", "-c", "user.email=a@b"]).args(words);
    process::run(&mut command, None, PATIENCE).ok()
}

/// A repository that can be served as files: these, tagged v1, and then these changed. None without git.
pub(crate) fn repository(rhumb: &Rhumb, first: &[(&str, &str)], second: &[(&str, &str)]) -> Option<PathBuf> {
    crate::support::peers::peer("git")?;
    let repo = rhumb.path("repo.git-tree");
    let write = |files: &[(&str, &str)]| {
        for (name, text) in files {
            std::fs::create_dir_all(repo.join(name).parent().unwrap()).unwrap();
            std::fs::write(repo.join(name), text).unwrap();
        }
    };
    write(first);
    git(&repo, &["init", "-q", "-b", "main"]);
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "-q", "-m", "one"]);
    git(&repo, &["tag", "v1"]);
    write(second);
    git(&repo, &["commit", "-q", "-a", "-m", "two"]);
    git(&repo, &["update-server-info"]);
    Some(repo)
}

#[test]
fn a_commit_is_added_without_its_history() {
    let rhumb = Rhumb::with_base();
    let (first, second) = ([("docs/read.txt", "first")], [("docs/read.txt", "second")]);
    let Some(repo) = repository(&rhumb, &first, &second) else { return };
    let commit = git(&repo, &["rev-parse", "v1"]);
    // The plain form of the protocol: files behind addresses.
    let port = serve(repo.clone(), Arc::default());
    let url = format!("http://127.0.0.1:{port}/.git");
    let dockerfile = format!(
        "FROM base:1\nADD {url}#v1:docs /docs/\nADD --checksum={commit} {url}#v1 /all/\n\
         ADD --keep-git-dir=true {url} /kept/\n"
    );
    let outcome = build(&rhumb, &dockerfile, &["-t", "made:1"]);
    assert!(outcome.success(), "{outcome}");
    let look = "cat /docs/read.txt /all/docs/read.txt /kept/docs/read.txt; echo; ls -A /all; ls -A /kept";
    assert_eq!(seen(&rhumb, "made:1", look), "firstfirstsecond\ndocs\n.git\ndocs");
    let dockerfile = format!(
        "FROM base:1\nADD {url}?tag=v1&subdir=docs /docs/\nADD {url}?branch=main&checksum={} /main/\n\
         ADD {url}?ref=v1&keep-git-dir=true /kept/\n",
        git(&repo, &["rev-parse", "main"])
    );
    build(&rhumb, &dockerfile, &["-t", "made:2"]).ok();
    let look = "cat /docs/read.txt /main/docs/read.txt /kept/docs/read.txt; echo; ls -A /kept";
    assert_eq!(seen(&rhumb, "made:2", look), "firstsecondfirst\n.git\ndocs");
    let wrong = build(&rhumb, &format!("FROM base:1\nADD {url}?tag=v1&checksum={} /x/\n", "0".repeat(40)), &[]);
    assert!(wrong.stderr.contains("and not 0000"), "{wrong}");
    let wrong = build(&rhumb, &format!("FROM base:1\nADD --checksum={} {url}#v1 /x/\n", "0".repeat(40)), &[]);
    assert!(wrong.stderr.contains("and not 0000"), "{wrong}");
    let option = build(&rhumb, &format!("FROM base:1\nADD {url}#--upload-pack=x /x/\n"), &[]);
    assert!(option.stderr.contains("no branch, tag or commit"), "{option}");
}

/// Says 401 to whoever does not say this.
fn only(wanted: &'static str) -> impl Fn(&[String]) -> String + Send + 'static {
    move |said: &[String]| match said.iter().any(|line| line.eq_ignore_ascii_case(wanted)) {
        true => "200 OK".to_owned(),
        false => "401 Unauthorized".to_owned(),
    }
}

#[test]
fn a_private_repository_is_fetched_with_a_token_that_goes_nowhere_else() {
    let rhumb = Rhumb::with_base();
    let files = [("Dockerfile", "FROM base:1\nCOPY . /in/\n"), ("docs/read.txt", "first")];
    let Some(repo) = repository(&rhumb, &files, &[("docs/read.txt", "second")]) else { return };
    // printf x-access-token:hunter22 | base64
    let port = serve_those(repo.clone(), Arc::default(), only("Authorization: basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMjI="));
    let url = format!("http://127.0.0.1:{port}/.git");
    let token = rhumb.path("token");
    std::fs::write(&token, "hunter22\n").unwrap();
    let dockerfile = format!("FROM base:1\nADD {url}#v1:docs /docs/\n");
    let refused = build(&rhumb, &dockerfile, &[]);
    assert!(!refused.success() && refused.stderr.contains("--secret id=GIT_AUTH_TOKEN.HOST"), "{refused}");
    for id in ["GIT_AUTH_TOKEN", "GIT_AUTH_TOKEN.127.0.0.1", &format!("GIT_AUTH_TOKEN.127.0.0.1:{port}")] {
        let secret = format!("id={id},src={}", token.display());
        build(&rhumb, &dockerfile, &["--no-cache", "--secret", &secret, "-t", "made:1"]).ok();
    }
    assert_eq!(seen(&rhumb, "made:1", "cat /docs/read.txt"), "first");
    let other = format!("id=GIT_AUTH_TOKEN.127.0.0.2,src={}", token.display());
    assert!(!build(&rhumb, &dockerfile, &["--no-cache", "--secret", &other]).success());
    // Who is led elsewhere says nothing there.
    let leading = serve_those(repo.clone(), Arc::default(), move |_: &[String]| {
        format!("302 Found\r\nLocation: http://localhost:{port}/.git/info/refs?service=git-upload-pack")
    });
    let secret = format!("id=GIT_AUTH_TOKEN,src={}", token.display());
    let led = format!("FROM base:1\nADD http://127.0.0.1:{leading}/.git#v1:docs /docs/\n");
    let outcome = build(&rhumb, &led, &["--no-cache", "--secret", &secret]);
    assert!(!outcome.success() && outcome.stderr.contains("leads elsewhere"), "{outcome}");
    // The build context itself, and the same in a script.
    let secret = format!("id=GIT_AUTH_TOKEN,src={}", token.display());
    rhumb.run(["build", "-q", "-t", "made:2", "--secret", &secret, &url]).ok();
    assert_eq!(seen(&rhumb, "made:2", "cat /in/docs/read.txt"), "second");
    let script = format!(
        r##"let who = #{{ secrets: #{{ GIT_AUTH_TOKEN: secret::file("{}") }} }};
            print(build::from("base:1", #{{ context: "{url}#v1" }} + who).copy("docs/read.txt", "/x").capture("cat /x"));
            print(build::from("base:1").add("{url}#v1:docs", "/docs/", who).capture("cat /docs/read.txt"));"##,
        token.display()
    );
    assert_eq!(rhumb.script(&script).ok(), "first\nfirst");
    for image in ["made:1", "made:2"] {
        let facts = rhumb.run(["image", "inspect", image]).ok();
        let facts = format!("{facts}{}", rhumb.run(["history", "--no-trunc", image]).ok());
        assert!(!facts.contains("hunter22") && !facts.contains("eC1hY2Nlc3"), "{facts}");
    }
}

#[test]
fn a_private_file_is_fetched_with_a_token_that_does_not_follow_to_other_hosts() {
    let rhumb = Rhumb::with_base();
    let folder = rhumb.path("served");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("tool.txt"), "hello").unwrap();
    let port = serve_those(folder.clone(), Arc::default(), only("Authorization: Bearer hunter22"));
    let token = rhumb.path("token");
    std::fs::write(&token, "hunter22").unwrap();
    let secret = format!("id=HTTP_AUTH_TOKEN_127.0.0.1,src={}", token.display());
    let add = |port: u16| format!("FROM base:1\nADD http://127.0.0.1:{port}/tool.txt /opt/\n");
    let refused = build(&rhumb, &add(port), &[]);
    assert!(!refused.success() && refused.stderr.contains("401"), "{refused}");
    build(&rhumb, &add(port), &["--secret", &secret, "-t", "made:1"]).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /opt/tool.txt"), "hello");
    // Another host is told nothing, whoever leads there.
    let told = Arc::new(AtomicUsize::new(0));
    let (listening, wanted) = (Arc::clone(&told), only("Authorization: Bearer hunter22"));
    let elsewhere = serve_those(folder.clone(), Arc::default(), move |said: &[String]| {
        listening.fetch_add(usize::from(wanted(said) == "200 OK"), Ordering::Relaxed);
        "200 OK".to_owned()
    });
    let leading = serve_those(folder, Arc::default(), move |_: &[String]| {
        format!("302 Found\r\nLocation: http://localhost:{elsewhere}/tool.txt")
    });
    build(&rhumb, &add(leading), &["--secret", &secret]).ok();
    assert_eq!(told.load(Ordering::Relaxed), 0);
}

#[test]
fn a_repository_is_fetched_from_gits_own_server() {
    let rhumb = Rhumb::with_base();
    let Some(repo) = repository(&rhumb, &[("docs/read.txt", "first")], &[("docs/read.txt", "second")]) else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The program itself: `git` would start it, and be what is ended.
    let mut command = std::process::Command::new(PathBuf::from(git(&repo, &["--exec-path"])).join("git-daemon"));
    command.args(["--listen=127.0.0.1", "--export-all", "--informative-errors"]);
    command
        .args([format!("--port={port}"), format!("--base-path={}", rhumb.root().parent().unwrap().display())])
        .arg(repo);
    let mut server = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    process::eventually("git's server", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let url = format!("git://127.0.0.1:{port}/repo.git-tree");
    let outcome =
        build(&rhumb, &format!("FROM base:1\nADD {url}#v1:docs /docs/\nADD {url} /all/\n"), &["-t", "made:1"]);
    server.kill().and_then(|()| server.wait()).unwrap();
    outcome.ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /docs/read.txt /all/docs/read.txt"), "firstsecond");
}
