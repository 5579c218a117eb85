//! Health checks end to end: results, status, listings, what a pause and an end do to them, and what is done about an
//! unhealthy container.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::process::{PATIENCE, eventually};
use crate::support::rhumb::string;
use crate::support::{BASE, Rhumb};

/// The flags of a check that needs no patience.
const FAST: &str = "--health-interval=50ms --health-start-interval=50ms";

fn run(rhumb: &Rhumb, name: &str, flags: &str, check: &str) {
    let words = ["run", "-d", "--name", name].into_iter().chain(FAST.split(' ')).chain(flags.split_whitespace());
    rhumb.run(words.chain(["--health-cmd", check, BASE, "sleep", "1000"])).ok();
}

fn health(rhumb: &Rhumb, name: &str) -> Value {
    rhumb.inspect(name)["State"]["Health"].clone()
}

#[track_caller]
fn becomes(rhumb: &Rhumb, name: &str, status: &str) -> Value {
    eventually(&format!("{name} becomes {status}"), PATIENCE, || {
        Some(health(rhumb, name)).filter(|health| health["Status"] == status)
    })
}

fn status_cell(rhumb: &Rhumb, name: &str) -> String {
    let rows = rhumb.rows(&format!("ps -a --filter name={name}"));
    string(&rows[0]["Status"])
}

#[test]
fn a_probe_runs_in_the_container_and_its_last_five_results_are_kept() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "box", "--health-retries=2 -e SAY=here", "echo $SAY; echo there >&2; test -e /ready");
    let sick = becomes(&rhumb, "box", "unhealthy");
    assert!(sick["FailingStreak"].as_u64().unwrap() >= 2, "{sick}");
    assert_eq!((&sick["Log"][0]["ExitCode"], &sick["Log"][0]["Output"]), (&json!(1), &json!("here\nthere\n")));
    assert!(status_cell(&rhumb, "box").ends_with(" (unhealthy)"));
    assert_eq!(rhumb.sh("ps -q --filter health=healthy").ok(), "");
    rhumb.sh("exec box touch /ready").ok();
    becomes(&rhumb, "box", "healthy");
    assert!(status_cell(&rhumb, "box").ends_with(" (healthy)"));
    assert_eq!(rhumb.sh("ps -q --filter health=healthy").lines().len(), 1);
    let well = eventually("five results", PATIENCE, || {
        Some(health(&rhumb, "box")).filter(|health| health["Log"].as_array().is_some_and(|log| log.len() == 5))
    });
    assert_eq!(well["FailingStreak"], 0);
    let times: Vec<String> = well["Log"].as_array().unwrap().iter().map(|result| string(&result["Start"])).collect();
    assert!(times.is_sorted(), "{times:?}");
    let config = &rhumb.inspect("box")["Config"]["Healthcheck"];
    assert_eq!(config["Test"], json!(["CMD-SHELL", "echo $SAY; echo there >&2; test -e /ready"]));
    assert_eq!((&config["Interval"], &config["Retries"]), (&json!(50_000_000), &json!(2)));
}

#[test]
fn failures_within_the_start_period_leave_it_starting() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "box", "--health-start-period=1h --health-retries=1", "test -e /ready");
    let starting = eventually("failures", PATIENCE, || {
        Some(health(&rhumb, "box")).filter(|health| health["Log"].as_array().is_some_and(|log| log.len() >= 3))
    });
    assert_eq!((&starting["Status"], &starting["FailingStreak"]), (&json!("starting"), &json!(0)));
    assert!(status_cell(&rhumb, "box").ends_with(" (health: starting)"));
    rhumb.sh("exec box touch /ready").ok();
    becomes(&rhumb, "box", "healthy");
    // Once it was healthy, the start is over.
    rhumb.sh("exec box rm /ready").ok();
    becomes(&rhumb, "box", "unhealthy");
}

#[test]
fn a_probe_that_takes_too_long_is_killed_with_what_it_started() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "box", "--health-timeout=100ms --health-retries=1", "echo begun; sleep 999 & sleep 888");
    let sick = becomes(&rhumb, "box", "unhealthy");
    assert_eq!(sick["Log"][0]["ExitCode"], -1);
    assert_eq!(sick["Log"][0]["Output"], "Health check exceeded timeout (100ms): begun\n");
    eventually("five results", PATIENCE, || (health(&rhumb, "box")["Log"].as_array()?.len() == 5).then_some(()));
    // The container's own, and those of a probe that is under way: they do not pile up. (A command that reaps nobody
    // keeps their numbers, which have no command line any more.)
    let left = rhumb.run(["exec", "box", "sh", "-c", r"cat /proc/[0-9]*/cmdline | tr '\0' '\n' | grep -cx sleep"]).ok();
    assert!(left.trim().parse::<u32>().unwrap() <= 3, "{left}");
}

#[test]
fn output_is_cut_and_nobody_waits_for_what_a_probe_leaves_behind() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "loud", "--health-retries=1", "head -c 9000 /dev/zero | tr '\\0' x; exit 1");
    let sick = becomes(&rhumb, "loud", "unhealthy");
    assert_eq!(sick["Log"][0]["Output"], format!("{}...", "x".repeat(4096)));
    run(&rhumb, "rude", "--health-timeout=30s", "sleep 5 & echo fine");
    let well = becomes(&rhumb, "rude", "healthy");
    assert_eq!(well["Log"][0]["Output"], "fine\n");
}

#[test]
fn a_probe_that_cannot_be_executed_says_so() {
    let rhumb = Rhumb::with_base();
    let script = r#"
        let check = #{ test: ["CMD", "surelynosuchprogram"], interval: 50.ms, retries: 1 };
        container::run("base:1", #{ name: "box", command: ["sleep", "1000"], healthcheck: check });
        "#;
    rhumb.script(script).ok();
    let sick = becomes(&rhumb, "box", "unhealthy");
    assert_eq!(sick["Log"][0]["ExitCode"], -1);
    assert!(string(&sick["Log"][0]["Output"]).contains("surelynosuchprogram"), "{sick}");
}

#[test]
fn a_paused_container_is_not_probed_and_a_stopped_one_is_remembered() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "box", "", "true");
    becomes(&rhumb, "box", "healthy");
    rhumb.sh("pause box").ok();
    let paused = health(&rhumb, "box");
    assert_eq!(paused["Status"], "unhealthy");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(health(&rhumb, "box"), paused);
    rhumb.sh("unpause box").ok();
    becomes(&rhumb, "box", "healthy");
    rhumb.sh("stop -t 0 box").ok();
    let last = health(&rhumb, "box");
    assert_eq!(last["Status"], "unhealthy");
    assert!(!last["Log"].as_array().unwrap().is_empty());
    // Also when the machine was restarted: the run folder does not outlive that.
    std::fs::remove_dir_all(rhumb.root().join("run")).unwrap();
    assert_eq!(health(&rhumb, "box"), last);
    rhumb.sh("start box").ok();
    let again = becomes(&rhumb, "box", "healthy");
    assert_eq!(again["FailingStreak"], 0);
}

/// The timer of a probe that had begun was set as if none had: the probe was called late when it fired.
#[test]
fn a_commit_makes_no_probe_late() {
    let rhumb = Rhumb::with_base();
    let flags = "--health-timeout=20s --health-retries=1 --health-on-unhealthy=kill";
    run(&rhumb, "box", flags, "touch /begun; sleep 0.5; rm /begun");
    becomes(&rhumb, "box", "healthy");
    eventually("a probe is under way", PATIENCE, || {
        rhumb.run(["exec", "box", "test", "-e", "/begun"]).success().then_some(())
    });
    rhumb.sh("commit box made:1").ok();
    let before = health(&rhumb, "box")["Log"].as_array().unwrap().len();
    let after = eventually("two more results", PATIENCE, || {
        let health = health(&rhumb, "box");
        let log = health["Log"].as_array().unwrap();
        (rhumb.states()["box"] != "running" || log.len() >= before + 2).then(|| log.clone())
    });
    assert!(after.iter().all(|result| result["ExitCode"] == 0), "{after:?}");
    assert_eq!(rhumb.states()["box"], "running");
    rhumb.sh("rm -f box").ok();
}

/// What it froze was thawed, and the timer of the check, which had fired meanwhile, was not set again.
#[test]
fn checks_go_on_after_a_commit_that_was_killed() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "box", "", "true");
    becomes(&rhumb, "box", "healthy");
    let mut command = rhumb.command(["commit", "box", "made:1"]);
    let mut commit = command.env("RHUMB_FAILPOINT", "container.commit.frozen=pause:60000").spawn().unwrap();
    eventually("it is frozen", PATIENCE, || (rhumb.states()["box"] == "paused").then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    commit.kill().unwrap();
    commit.wait().unwrap();
    eventually("it is thawed", PATIENCE, || (rhumb.states()["box"] == "running").then_some(()));
    let last = |rhumb: &Rhumb| health(rhumb, "box")["Log"].as_array().unwrap().last().unwrap()["Start"].clone();
    let before = last(&rhumb);
    eventually("another probe", Duration::from_secs(10), || (last(&rhumb) != before).then_some(()));
    rhumb.sh("rm -f box").ok();
}

#[test]
fn an_unhealthy_container_is_killed_when_asked_for() {
    let rhumb = Rhumb::with_base();
    run(&rhumb, "box", "--health-retries=1 --health-on-unhealthy=kill", "false");
    let ended = eventually("the end", PATIENCE, || {
        Some(rhumb.inspect("box")["State"].clone()).filter(|state| state["Status"] == "exited")
    });
    assert_eq!(ended["ExitCode"], 137);
    // On a busy machine a further probe fails before the end is seen.
    assert!(ended["Health"]["FailingStreak"].as_u64().unwrap() >= 1, "{ended}");
}

#[test]
fn an_unhealthy_container_is_restarted_or_stopped_when_asked_for() {
    let rhumb = Rhumb::with_base();
    // Well until it is told not to be, and again after its restart, since that is in memory.
    let flags = "--health-retries=1 --tmpfs /state --stop-timeout 1 --health-on-unhealthy";
    run(&rhumb, "again", &format!("{flags}=restart"), "! test -e /state/sick");
    becomes(&rhumb, "again", "healthy");
    let pid = rhumb.inspect("again")["State"]["Pid"].clone();
    rhumb.touch("again", "/state/sick");
    eventually("the restart", PATIENCE, || {
        let facts = rhumb.inspect("again");
        let renewed = facts["State"]["Pid"] != pid && facts["State"]["Health"]["Status"] == "healthy";
        (renewed && facts["RestartCount"] == 1).then_some(())
    });
    // Stopped is stopped, whatever the restart policy.
    run(&rhumb, "stay", &format!("{flags}=stop --restart=always"), "! test -e /state/sick");
    becomes(&rhumb, "stay", "healthy");
    rhumb.touch("stay", "/state/sick");
    eventually("the end", PATIENCE, || (rhumb.states()["stay"] == "exited").then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    let facts = rhumb.inspect("stay");
    assert_eq!((&facts["State"]["Status"], &facts["RestartCount"]), (&json!("exited"), &json!(0)));
    // Killed, it is the restart policy's.
    run(&rhumb, "kill", &format!("{flags}=kill --restart=on-failure:5"), "! test -e /state/sick");
    becomes(&rhumb, "kill", "healthy");
    rhumb.touch("kill", "/state/sick");
    eventually("the restart", PATIENCE, || (rhumb.inspect("kill")["RestartCount"] == 1).then_some(()));
    becomes(&rhumb, "kill", "healthy");
}

#[test]
fn a_probe_dies_with_its_monitor_and_its_container() {
    let rhumb = Rhumb::with_base();
    for victim in ["monitor", "init"] {
        run(&rhumb, victim, "--health-timeout=1h", "touch /begun; sleep 999");
        eventually("a probe is under way", PATIENCE, || {
            rhumb.run(["exec", victim, "test", "-e", "/begun"]).success().then_some(())
        });
        let init = rhumb.inspect(victim)["State"]["Pid"].to_string();
        let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
        let pid = if victim == "monitor" { parent } else { init.as_str() };
        crate::support::process::run(std::process::Command::new("kill").args(["-KILL", pid]), None, PATIENCE).ok();
        let end = if victim == "monitor" { "dead" } else { "exited" };
        eventually("the end", PATIENCE, || (rhumb.states()[victim] == end).then_some(()));
        // What nobody probes any more is not called healthy, and is not probed again until it is started.
        assert_eq!(health(&rhumb, victim)["Status"], "unhealthy");
        eventually("nothing of it is left", PATIENCE, || {
            let seen = rhumb.leaks().kernel();
            (!seen.iter().any(|line| line.contains("sleep"))).then_some(())
        });
        rhumb.sh(&format!("start {victim}")).ok();
        assert_eq!(health(&rhumb, victim)["Status"], "starting");
        rhumb.sh(&format!("rm -f {victim}")).ok();
    }
    rhumb.assert_consistent();
}

#[test]
fn options_win_over_the_image_and_turn_its_check_off() {
    let rhumb = Rhumb::with_base();
    // An image of our own config: what `save` wrote, with a check put in.
    let tar = rhumb.path("image.tar");
    rhumb.run(["save", "-o", tar.to_str().unwrap(), BASE]).ok();
    let folder = rhumb.path("image");
    std::fs::create_dir(&folder).unwrap();
    let unpacked = std::process::Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&folder).status().unwrap();
    assert!(unpacked.success());
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let path = folder.join(string(&manifest[0]["Config"]));
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["config"]["Healthcheck"] =
        json!({ "Test": ["CMD-SHELL", "echo of the image"], "Interval": 50_000_000, "Retries": 7 });
    config["config"]["Shell"] = json!(["/bin/sh", "-ec"]);
    std::fs::write(folder.join("checked.json"), config.to_string()).unwrap();
    manifest[0]["Config"] = json!("checked.json");
    manifest[0]["RepoTags"] = json!(["checked:1"]);
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    let members = ["checked.json", "manifest.json"].map(str::to_owned).into_iter();
    let layers = manifest[0]["Layers"].as_array().unwrap().iter().map(string);
    let packed = std::process::Command::new("tar")
        .arg("-cf")
        .arg(&tar)
        .arg("-C")
        .arg(&folder)
        .args(members.chain(layers))
        .status()
        .unwrap();
    assert!(packed.success());
    rhumb.run(["load", "-i", tar.to_str().unwrap()]).ok();
    assert_eq!(rhumb.inspect("checked:1")["Config"]["Healthcheck"]["Retries"], 7);

    rhumb.sh("run -d --name plain --health-timeout 9s checked:1 sleep 1000").ok();
    let config = rhumb.inspect("plain")["Config"].clone();
    assert_eq!(
        config["Healthcheck"],
        json!({
            "Test": ["CMD-SHELL", "echo of the image"], "Interval": 50_000_000, "Timeout": 9_000_000_000_u64, "Retries": 7
        })
    );
    assert_eq!(config["Shell"], json!(["/bin/sh", "-ec"]));
    assert_eq!(becomes(&rhumb, "plain", "healthy")["Log"][0]["Output"], "of the image\n");
    rhumb.sh("run -d --name off --no-healthcheck checked:1 sleep 1000").ok();
    let off = rhumb.inspect("off");
    assert_eq!((&off["Config"]["Healthcheck"]["Test"], &off["State"]["Health"]), (&json!(["NONE"]), &Value::Null));
    assert_eq!(rhumb.sh("ps -q --filter health=none").lines().len(), 1);
}

#[test]
fn mistakes_are_refused_before_anything_is_made() {
    let rhumb = Rhumb::with_base();
    for (flags, text) in [
        ("--no-healthcheck --health-cmd true", "conflicts with"),
        ("--health-interval 10us", "less than 1ms"),
        ("--health-interval soon", "\"soon\" is not a duration"),
        ("--health-timeout -1s", "not a duration"),
        ("--health-retries -1", "cannot be -1"),
        ("--health-on-unhealthy explode", "unknown action \"explode\""),
    ] {
        rhumb.sh(&format!("run -d {flags} {BASE} true")).fails_with(125, text);
    }
    rhumb.sh("ps --filter health=fine").fails_with(2, "unknown health \"fine\"");
    assert_eq!(rhumb.sh("ps -aq").ok(), "");
}
