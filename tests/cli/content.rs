//! What is inside containers, end to end: diff, commit, export.

use serde_json::Value;

use crate::support::{BASE, Rhumb};

fn image(rhumb: &Rhumb, name: &str) -> Value {
    let facts: Value = serde_json::from_str(&rhumb.run(["image", "inspect", name]).ok()).unwrap();
    facts[0].clone()
}

#[test]
fn diff_lists_what_was_added_changed_and_deleted_and_no_volume() {
    let rhumb = Rhumb::with_base();
    let script = "mkdir -p /srv/a && touch /srv/a/x && rm /usr/bin/seq && chmod 700 /usr/bin/tr && touch /data/inside \
                  && printf 'x' > \"$(printf '/tmp-\\033[2J\\n')\"";
    rhumb.run(["run", "--name", "box", "-v", "/data", BASE, "sh", "-c", script]).ok();
    let lines =
        "A /data\nA /srv\nA /srv/a\nA /srv/a/x\nA /tmp-\\u{1b}[2J\nC /usr\nC /usr/bin\nD /usr/bin/seq\nC /usr/bin/tr";
    assert_eq!(rhumb.sh("diff box").ok(), lines);
    rhumb.run(["create", "--name", "fresh", BASE, "true"]).ok();
    assert_eq!(rhumb.sh("container diff fresh").ok(), "");
    rhumb.sh("diff nosuch").fails_with(3, "nosuch");
}

#[test]
fn commit_keeps_files_config_and_layers_and_its_children_run() {
    let rhumb = Rhumb::with_base();
    let script = "echo one > /made; rm /usr/bin/seq; echo lost > /data/lost";
    let run = ["run", "--name", "box", "-e", "A=1", "-l", "kind=test", "-w", "/usr", "-v", "/data", "--expose", "80"];
    rhumb.run(run.iter().chain(&[BASE, "sh", "-c", script])).ok();
    let commit =
        ["commit", "-a", "me", "-m", "remark", "-c", "CMD [\"cat\",\"/made\"]", "-c", "ENV B=2", "box", "made:1"];
    let id = rhumb.run(commit).ok();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(rhumb.sh("run --rm made:1").ok(), "one");
    assert_eq!(
        rhumb.run(["run", "--rm", "made:1", "sh", "-c", "echo $A $B $PWD; ls /data; test ! -e /usr/bin/seq"]).ok(),
        "1 2 /usr"
    );
    let facts = image(&rhumb, "made:1");
    assert_eq!((&facts["Id"], &facts["Author"], &facts["Comment"]), (&id.into(), &"me".into(), &"remark".into()));
    let config = &facts["Config"];
    assert_eq!(config["Labels"]["kind"], "test");
    assert_eq!(config["WorkingDir"], "/usr");
    assert_eq!(config["Volumes"], serde_json::json!({ "/data": {} }));
    assert_eq!(config["ExposedPorts"], serde_json::json!({ "80/tcp": {} }));
    let (below, layers) = (image(&rhumb, BASE)["RootFS"]["Layers"].clone(), facts["RootFS"]["Layers"].clone());
    assert_eq!(layers.as_array().unwrap()[..1], below.as_array().unwrap()[..]);
    assert_eq!(layers.as_array().unwrap().len(), 2);
    // A child of the child, from a container that changed nothing: no layer of its own.
    rhumb.sh("create --name next made:1").ok();
    rhumb.sh("commit next").ok();
    rhumb.sh("commit next same:1").ok();
    assert_eq!(image(&rhumb, "same:1")["RootFS"]["Layers"], layers);
    assert_eq!(rhumb.sh("run --rm same:1").ok(), "one");
    rhumb.sh("rm next box").ok();
    rhumb.sh("rmi made:1").ok();
    assert_eq!(rhumb.sh("run --rm same:1").ok(), "one");
}

#[test]
fn commit_freezes_a_running_container_only_meanwhile() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "-d", "--name", "box", BASE, "sh", "-c", "echo x > /made; sleep 1000"]).ok();
    crate::support::process::eventually("the file is there", std::time::Duration::from_secs(20), || {
        rhumb.sh("diff box").stdout.contains("/made").then_some(())
    });
    rhumb.sh("commit box one:1").ok();
    rhumb.sh("commit --pause=false box two:1").ok();
    assert_eq!(rhumb.sh("ps -q -f status=running").ok().len(), 12);
    rhumb.sh("pause box").ok();
    rhumb.sh("commit box three:1").ok();
    assert_eq!(rhumb.sh("ps -q -f status=paused").ok().len(), 12, "one that was frozen before stays so");
    let layers = |name: &str| image(&rhumb, name)["RootFS"]["Layers"].clone();
    assert!(
        layers("one:1") == layers("two:1") && layers("two:1") == layers("three:1"),
        "the same files, the same layer"
    );
}

#[test]
fn a_commit_that_cannot_be_changes_nothing() {
    let rhumb = Rhumb::with_base();
    rhumb.run(["run", "--name", "box", BASE, "sh", "-c", "touch /.wh.x"]).ok();
    let before = rhumb.sh("images -aq").ok();
    rhumb.sh("commit box UPPER:1").fails_with(2, "UPPER");
    rhumb.run(["commit", "-c", "RUN true", "box", "x:1"]).fails_with(2, "RUN");
    rhumb.run(["commit", "-c", "EXPOSE 0", "box", "x:1"]).fails_with(2, "port");
    rhumb.sh("commit nosuch x:1").fails_with(3, "nosuch");
    rhumb.sh("commit box x:1").fails_with(2, ".wh.x");
    assert_eq!(rhumb.sh("images -aq").ok(), before);
}
