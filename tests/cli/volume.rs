//! The verbs of volumes and of the whole engine, end to end.

use serde_json::Value;

use crate::support::{BASE, Rhumb};

#[test]
fn volumes_are_made_listed_inspected_renamed_and_removed() {
    let rhumb = Rhumb::new();
    assert_eq!(rhumb.sh("volume create --label a=b data").ok(), "data");
    assert_eq!(rhumb.sh("volume create").ok().len(), 64);
    let listing = rhumb.sh("volume ls");
    assert_eq!(listing.lines()[0], "DRIVER    VOLUME NAME");
    assert!(listing.lines().contains(&"local     data"), "{listing}");
    assert_eq!(rhumb.sh("volume ls -q -f label=a=b").ok(), "data");
    let facts: Value = serde_json::from_str(&rhumb.sh("volume inspect data").ok()).unwrap();
    assert_eq!((&facts[0]["Name"], &facts[0]["Labels"]["a"]), (&"data".into(), &"b".into()));
    assert_eq!(rhumb.sh("volume rename data store").ok(), "");
    let outcome = rhumb.sh("volume rm nosuch store");
    outcome.fails_with(3, "nosuch");
    assert_eq!(outcome.stdout, "store\n");
    assert_eq!(rhumb.sh("volume rm -f nosuch").ok(), "nosuch");
    assert!(rhumb.sh("volume prune -f").ok().starts_with("Deleted Volumes:\n"));
    rhumb.sh("volume create -d nfs x").fails_with(7, "nfs");
    rhumb.sh("volume create .x").fails(2);
}

#[test]
fn a_volume_is_backed_up_restored_and_compared() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "--rm", "-v", "data:/data", BASE, "sh", "-c", "echo one > /data/a; echo two > /data/b"]).ok();
    let path = rhumb.path("data.tar.zst");
    let path = path.to_str().unwrap();
    let said = rhumb.run(["volume", "backup", "data", path]).ok();
    assert!(said.starts_with(&format!("Wrote {path}: ")) && said.contains("sha256:"), "{said}");
    rhumb.run(["volume", "backup", "data", path]).fails_with(4, path);
    rhumb.sh("volume create copy").ok();
    rhumb.run(["volume", "restore", "copy", path]).ok();
    assert_eq!(rhumb.sh("volume diff copy data").ok(), "");
    rhumb
        .run([
            "run",
            "--rm",
            "-v",
            "copy:/data",
            BASE,
            "sh",
            "-c",
            "rm /data/a; echo more >> /data/b; echo new > /data/c",
        ])
        .ok();
    let diff = rhumb.sh("volume diff data copy").ok();
    for line in ["D a", "C b", "A c"] {
        assert!(diff.lines().any(|found| found == line), "{line}: {diff}");
    }
}

#[test]
fn a_used_volume_is_not_removed() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["create", "--name", "user", "-v", "data:/data", BASE]).ok();
    rhumb.sh("volume rm data").fails_with(5, "data");
    rhumb.sh("rm user").ok();
    rhumb.sh("volume rm data").ok();
}

#[test]
fn the_engine_tells_about_itself() {
    let rhumb = Rhumb::with_base();
    let df = rhumb.sh("system df");
    assert!(df.lines()[0].starts_with("TYPE            TOTAL     ACTIVE    SIZE"), "{df}");
    assert_eq!(df.lines().len(), 5, "{df}");
    let info: Value = serde_json::from_str(&rhumb.sh("info --format json").ok()).unwrap();
    assert_eq!((&info["Images"], &info["Containers"]), (&1.into(), &0.into()));
    assert!(rhumb.sh("system info").ok().contains("Images: 1"));
    assert!(rhumb.sh("version").ok().contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(rhumb.sh("-v").ok(), format!("rhumb {}", env!("CARGO_PKG_VERSION")));
    let checked = rhumb.sh("system check").ok();
    assert!(checked.starts_with("Checked ") && checked.ends_with("no problem, 0 repaired."), "{checked}");
    let report: Value = serde_json::from_str(&rhumb.sh("system check --rehash --json").ok()).unwrap();
    assert_eq!(report["problems"], serde_json::json!([]));
    let pruned = rhumb.sh("system prune -a -f --volumes").ok();
    assert!(pruned.contains("Total reclaimed space: "), "{pruned}");
    assert_eq!(rhumb.sh("images -q").ok(), "");
}

#[test]
fn the_root_comes_from_the_flag_or_the_environment() {
    let rhumb = Rhumb::new();
    let other = rhumb.path("other");
    let mut command = rhumb.command(["--root", other.to_str().unwrap(), "volume", "create", "there"]);
    crate::support::process::run(&mut command, None, crate::support::process::PATIENCE).ok();
    assert_eq!(rhumb.sh("volume ls -q").ok(), "");
    let mut command = rhumb.command(["volume", "ls", "-q", "--root", other.to_str().unwrap()]);
    assert_eq!(crate::support::process::run(&mut command, None, crate::support::process::PATIENCE).ok(), "there");
}
