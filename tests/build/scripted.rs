//! `rhumb build` with a build script: what the flags mean for the builds that it makes.

use std::path::Path;

use serde_json::json;

use crate::dockerfile::{context, seen};
use crate::support::Rhumb;
use crate::support::process::{self, Outcome, PATIENCE};

/// Runs the build script of a context.
fn scripted(rhumb: &Rhumb, script: &str, flags: &[&str]) -> Outcome {
    let folder = context(rhumb, &[("build.rhai", script)]);
    let mut command = rhumb.command(["build"]);
    command.args(flags).arg(folder);
    process::run(&mut command, None, PATIENCE)
}

#[test]
fn the_folder_that_is_built_is_what_files_are_copied_from() {
    let rhumb = Rhumb::with_base();
    let folder = context(&rhumb, &[("file", "of the context"), (".dockerignore", "hidden\n"), ("hidden", "x")]);
    let script = "let b = build::scratch().copy(\".\", \"/\");\nprint(build::from(\"base:1\").copy(\"file\", \"/file\").copy(\"/\", \"/all\", #{ from: b }).commit().id);";
    scripted(&rhumb, script, &["-t", "made:1"]).ok();
    assert_eq!(seen(&rhumb, "made:1", "cat /file; echo; ls /all"), "of the context\nbuild.rhai\nfile");
    // Another script with the same folder, from elsewhere.
    let elsewhere = rhumb.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("other.rhai"), script).unwrap();
    let at = |flags: &[&str], dir: &Path| {
        process::run(rhumb.command(flags.iter().copied()).current_dir(dir), None, PATIENCE)
    };
    at(&["build", "-t", "made:2", "-f", "other.rhai", folder.to_str().unwrap()], &elsewhere).ok();
    assert_eq!(rhumb.inspect("made:1")["Id"], rhumb.inspect("made:2")["Id"]);
    // Without `build` it is any script, and the folder is the current one.
    at(&["build.rhai"], &folder).ok();
    let outcome = at(&[folder.join("build.rhai").to_str().unwrap()], &elsewhere);
    outcome.fails_with(3, "\"file\" is not in the build context");
}

#[test]
fn a_name_of_the_command_line_is_an_images() {
    let rhumb = Rhumb::with_base();
    let taken = scripted(&rhumb, "build::from(\"base:1\").commit();", &["-t", "made:1", "-t", "made:2"]);
    assert_eq!(taken.ok(), "");
    assert_eq!(rhumb.inspect("made:1")["Id"], rhumb.inspect("made:2")["Id"]);
    scripted(&rhumb, "build::from(\"base:1\").commit(arg(\"tag\", \"x:1\"));", &["-t", "made:3"]).ok();
    rhumb.inspect("made:3");
    let own = "build::from(\"base:1\").commit(\"own:1\");";
    scripted(&rhumb, own, &["-t", "made:4"]).fails_with(2, "no image got the name of --tag");
    assert_eq!(scripted(&rhumb, own, &[]).ok(), "");
    let unread =
        scripted(&rhumb, "arg(\"mode\", \"x\");", &["--build-arg", "mdoe=y", "--build-arg", "SOURCE_DATE_EPOCH=1"]);
    assert_eq!(unread.stderr.trim_end(), "warning: the script did not use --mdoe; did you mean \"mode\"?", "{unread}");
    let unread = scripted(&rhumb, own, &["-q", "--build-arg", "mode=y", "--no-cache-filter", "none"]);
    for warning in ["did not use --mode", "no stage that was built is called \"none\""] {
        assert!(unread.success() && unread.stderr.contains(warning), "{unread}");
    }
}

#[test]
fn flags_count_for_all_builds_of_a_script() {
    let rhumb = Rhumb::with_base();
    let secret = rhumb.path("token");
    std::fs::write(&secret, "hunter22").unwrap();
    let secret = format!("id=token,src={}", secret.display());
    context(
        &rhumb,
        &[("Dockerfile", "FROM base:1 AS one\nRUN --network=host cat /proc/sys/kernel/random/uuid > /id\n")],
    );
    let script = r#"
        let b = build::from("base:1").run("ulimit -n > /limit; grep db /etc/hosts > /hosts; cat /proc/sys/kernel/random/uuid > /id");
        b.run("cp /run/secrets/token /seen; wc -c < /seen > /size; rm /seen", #{ mounts: [#{ type: "secret", id: "token" }] });
        b.label("own", "1").commit("made:1", #{ labels: #{ one: "script", two: "script" } });
        build::dockerfile(arg("folder")).commit("made:2");
    "#;
    let folder = format!("folder={}", rhumb.path("context").display());
    let mut flags = vec!["--build-arg", &folder, "--secret", &secret, "--ulimit", "nofile=77", "--label", "one=flag"];
    flags.extend(["--add-host", "db:10.1.2.3", "--allow", "network.host", "--progress", "plain"]);
    let outcome = scripted(&rhumb, script, &flags);
    assert!(outcome.success(), "{outcome}");
    assert!(outcome.stderr.contains("RUN ulimit -n") && outcome.stderr.contains("DONE"), "{outcome}");
    assert_eq!(seen(&rhumb, "made:1", "cat /limit /hosts /size"), "77\n10.1.2.3\tdb\n8");
    let labels = json!({ "own": "1", "one": "flag", "two": "script" });
    assert_eq!(rhumb.inspect("made:1")["Config"]["Labels"], labels);
    assert_eq!(rhumb.inspect("made:2")["Config"]["Labels"], json!({ "one": "flag" }));

    let ids = || ["made:1", "made:2"].map(|image| seen(&rhumb, image, "cat /id"));
    let before = ids();
    let again = scripted(&rhumb, script, &[&flags[..], &["-q"]].concat());
    assert!(again.success() && again.stderr.is_empty(), "{again}");
    assert_eq!(ids(), before);
    scripted(&rhumb, script, &[&flags[..], &["--no-cache-filter", "one"]].concat()).ok();
    assert_eq!(ids()[0], before[0]);
    assert_ne!(ids()[1], before[1]);
    scripted(&rhumb, script, &[&flags[..], &["--no-cache"]].concat()).ok();
    assert_ne!(ids()[0], before[0]);
    flags.retain(|flag| !["--allow", "network.host"].contains(flag));
    scripted(&rhumb, script, &flags).fails_with(6, "network.host");
}

#[test]
fn what_a_script_says_comes_before_the_command_line() {
    let rhumb = Rhumb::with_base();
    let script = "build::from(\"base:1\").run(\"cat /proc/sys/kernel/random/uuid > /id\").commit(\"made:1\", #{ no_cache: false, network: \"none\" });";
    scripted(&rhumb, script, &[]).ok();
    let id = rhumb.inspect("made:1")["Id"].clone();
    scripted(&rhumb, script, &["--no-cache", "--network", "host"]).ok();
    assert_eq!(rhumb.inspect("made:1")["Id"], id);
}

#[test]
fn a_failure_is_shown_once_and_in_any_form() {
    let rhumb = Rhumb::with_base();
    let script = "build::from(\"base:1\").run(\"echo told; exit 3\").solve();";
    for form in ["plain", "json", "quiet"] {
        let outcome = scripted(&rhumb, script, &["--progress", form]);
        assert!(outcome.code != 0 && outcome.stderr.matches("told\n").count() <= 1, "{form}: {outcome}");
        assert!(outcome.stderr.contains("ended with 3") && outcome.stderr.contains("build.rhai:1"), "{outcome}");
    }
}
