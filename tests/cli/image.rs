//! The verbs of images, end to end: columns, ids, several operands, archives through files and pipes.

use crate::support::{BASE, Rhumb};

#[test]
fn images_are_listed_in_dockers_columns() {
    let rhumb = Rhumb::with_base();
    rhumb.sh("tag base:1 me/other:2").ok();
    let listing = rhumb.sh("images");
    let lines = listing.lines();
    assert!(lines[0].starts_with("REPOSITORY   TAG       IMAGE ID       CREATED"), "{listing}");
    let names: Vec<Vec<&str>> = lines[1..].iter().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(names, [["base", "1"], ["me/other", "2"]], "{listing}");

    let id = rhumb.sh("images -q").ok();
    assert!(id.len() == 12 && lines[1].contains(&id), "{id}");
    let full = rhumb.sh("images -q --no-trunc").ok();
    assert!(full.starts_with(&format!("sha256:{id}")), "{full}");
    assert_eq!(rhumb.sh("images me/other").lines().len(), 2);
    assert_eq!(rhumb.sh("images nothing").lines().len(), 1);
    assert_eq!(rhumb.sh("images --filter reference=me/* --format json").lines().len(), 1);
    assert!(rhumb.sh("images --digests").ok().contains("DIGEST"));
    let row: serde_json::Value = serde_json::from_str(&rhumb.sh("image ls base:1 --format json").ok()).unwrap();
    assert_eq!((&row["Repository"], &row["Tag"], &row["ID"]), (&"base".into(), &"1".into(), &id.into()));
}

#[test]
fn removing_goes_on_after_a_failure_and_says_what_it_did() {
    let rhumb = Rhumb::with_base();
    rhumb.sh("tag base:1 other:1").ok();
    let outcome = rhumb.sh("rmi nosuch other:1 alsonot base:1");
    outcome.fails_with(3, "nosuch");
    outcome.fails_with(3, "alsonot");
    assert!(outcome.stdout.starts_with("Untagged: other:1\nUntagged: base:1\nDeleted: sha256:"), "{outcome}");
    assert_eq!(rhumb.sh("images -q").ok(), "");
}

#[test]
fn archives_go_through_files_and_pipes() {
    let rhumb = Rhumb::with_base();
    let id = rhumb.sh("images -q --no-trunc").ok();
    for format in ["docker-archive", "oci-archive"] {
        let saved = rhumb.run(["save", "--format", format, BASE]);
        saved.ok();
        rhumb.sh("rmi base:1").ok();
        assert_eq!(rhumb.run_with_input(["load"], &saved.bytes).ok(), "Loaded image: base:1", "{format}");
        assert_eq!(rhumb.sh("images -q --no-trunc").ok(), id, "{format}");
    }
    for format in ["docker-archive", "oci-archive", "oci-dir"] {
        let path = rhumb.path(format);
        let path = path.to_str().unwrap();
        rhumb.run(["save", "--format", format, "-o", path, BASE]).ok();
        rhumb.sh("rmi base:1").ok();
        assert_eq!(rhumb.run(["load", "-q", "-i", path]).ok(), "");
        assert_eq!(rhumb.sh("images -q --no-trunc").ok(), id, "{format}");
    }
    rhumb.sh("load -i /nonexistent").fails_with(3, "/nonexistent");
    rhumb.run_with_input(["load"], b"no archive at all").fails_with(10, "");
}

#[test]
fn a_tar_is_imported_with_changes() {
    let rhumb = Rhumb::with_base();
    let dir = rhumb.path("tree");
    std::fs::create_dir_all(dir.join("etc")).unwrap();
    std::fs::write(dir.join("etc/motd"), "hello").unwrap();
    let tar = rhumb.path("tree.tar");
    let mut command = std::process::Command::new("tar");
    command.args(["cf", tar.to_str().unwrap(), "-C", dir.to_str().unwrap(), "."]);
    crate::support::process::run(&mut command, None, crate::support::process::PATIENCE).ok();
    let change = r#"CMD ["cat", "/etc/motd"]"#;
    let id = rhumb.run(["import", "-c", change, "-m", "by hand", tar.to_str().unwrap(), "motd:1"]).ok();
    assert!(id.starts_with("sha256:"), "{id}");
    assert!(rhumb.sh("history motd:1").ok().contains("by hand"));
    let facts: serde_json::Value = serde_json::from_str(&rhumb.sh("image inspect motd:1").ok()).unwrap();
    assert_eq!(facts[0]["Config"]["Cmd"], serde_json::json!(["cat", "/etc/motd"]));
    assert_eq!(facts[0]["RepoTags"], serde_json::json!(["motd:1"]));
    let other = rhumb.run_with_input(["import", "-", "motd:2"], &std::fs::read(&tar).unwrap()).ok();
    assert!(other.starts_with("sha256:"));
    assert!(rhumb.run(["image", "from-dir", dir.to_str().unwrap(), "motd:3"]).ok().starts_with("sha256:"));
    rhumb.sh("image from-host x:1 surelynosuchprogram").fails_with(3, "surelynosuchprogram");
}

#[test]
fn history_shows_steps_newest_first() {
    let rhumb = Rhumb::with_base();
    let history = rhumb.sh("history base:1");
    assert!(history.lines()[0].starts_with("IMAGE          CREATED"), "{history}");
    assert!(history.lines()[1].starts_with(&rhumb.sh("images -q").ok()), "{history}");
    let row: serde_json::Value = serde_json::from_str(&rhumb.sh("history --format json base:1").ok()).unwrap();
    assert!(row["CreatedBy"].as_str().unwrap().contains("from_host"), "{row}");
}

#[test]
fn a_prune_asks_first() {
    let rhumb = Rhumb::with_base();
    let asked = rhumb.run_with_input(["image", "prune", "-a"], b"n\n");
    assert_eq!((asked.ok().as_str(), asked.stderr.contains("[y/N]")), ("", true), "{asked}");
    assert_eq!(rhumb.sh("images -q").lines().len(), 1);
    let done = rhumb.run_with_input(["image", "prune", "-a"], b"y\n").ok();
    assert!(done.starts_with("Deleted Images:\n") && done.contains("Total reclaimed space: "), "{done}");
    assert_eq!(rhumb.sh("images -q").ok(), "");
    assert_eq!(rhumb.sh("image prune -f").ok(), "Total reclaimed space: 0B");
}

#[test]
fn inspect_prints_what_it_finds_and_reports_the_rest() {
    let rhumb = Rhumb::with_base();
    let outcome = rhumb.sh("inspect base:1 nosuch");
    outcome.fails_with(3, "no such container, image, volume or network \"nosuch\"");
    let facts: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(facts.as_array().unwrap().len(), 1);
    assert!(outcome.stdout.starts_with("[\n    {\n        \"Id\": \"sha256:"), "{outcome}");
    rhumb.sh("inspect --type container base:1").fails_with(3, "base:1");
    rhumb.sh("inspect --type network base:1").fails_with(3, "network");
    assert_eq!(rhumb.sh("inspect -f json base:1").lines().len(), 1);
    let empty = rhumb.sh("inspect nosuch");
    empty.fails(3);
    assert_eq!(empty.stdout, "[]\n");
}
