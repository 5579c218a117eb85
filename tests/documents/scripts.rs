//! Every script in `scripts/` runs to its end and leaves nothing behind.

use std::path::Path;
use std::time::Duration;

use crate::support::peers::skip;
use crate::support::process;
use crate::support::rhumb::Rhumb;

/// Arguments that make a script quick enough for a test.
fn quick(name: &str) -> &'static [&'static str] {
    match name {
        "bench" | "bench_build" | "bench_networks" | "load" => &["--quick"],
        "layout" => &["--out=/dev/null"],
        _ => &[],
    }
}

fn scripts() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let names = std::fs::read_dir(dir).expect("scripts/").map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    // The systemd unit is a script of another kind.
    names.retain(|name| name.ends_with(".rhai"));
    names.sort();
    names
}

#[test]
fn every_script_runs() {
    for file in scripts() {
        let rhumb = Rhumb::new();
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = rhumb.command([project.join("scripts").join(&file)]);
        command.current_dir(project);
        command.args(quick(file.trim_end_matches(".rhai")));
        let outcome = process::run(&mut command, None, Duration::from_secs(180));
        assert!(outcome.success(), "{file}:\n{outcome}");
        if outcome.stdout.contains("not installed") {
            skip(&format!("{file} had no peer to measure beside"));
        }
        assert_eq!(rhumb.run(["ps", "-aq"]).ok(), "", "{file} leaves a container");
    }
}

#[test]
fn the_script_of_the_first_command_is_there() {
    assert!(scripts().contains(&"quickstart.rhai".to_owned()));
}
