//! Dockerfiles as build scripts: what `--to-rhai` prints comes to the same layers and the same config.

use std::path::Path;
use std::process::Command;

use crate::support::Rhumb;
use crate::support::process::{self, PATIENCE};

/// Cases that need more than the base image of the tests.
const LEFT_OUT: [&str; 3] = ["02_c_multi_stage", "03_python_pip", "13_add_remote"];

#[test]
fn a_dockerfile_and_the_script_of_it_come_to_one_image() {
    let rhumb = Rhumb::with_base();
    rhumb.run_with_input(["build", "-q", "-t", "other:2", "-"], b"FROM base:1\nRUN echo m > /etc/marker\n").ok();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build/interop");
    let mut done = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let source = entry.unwrap().path();
        let name = source.file_name().unwrap().to_str().unwrap().to_owned();
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let context = rhumb.path(&name);
        process::run(Command::new("cp").args(["-a", "--"]).args([&source, &context]), None, PATIENCE).ok();
        let token = rhumb.path("token");
        std::fs::write(&token, "hunter22").unwrap();
        let secret = format!("id=token,src={}", token.display());
        let assets = format!("assets={}", context.join("assets").display());
        let mut flags = match name.as_str() {
            "04_vendored" | "15_secrets" => vec!["--secret", &secret],
            "17_named_contexts" => vec!["--build-context", &assets],
            "19_unused_stages" => vec!["--target", "final"],
            _ => Vec::new(),
        };
        if name == "12_old_style" {
            let mut tar = Command::new("tar");
            process::run(tar.args(["-czf", "files.tar.gz", "plain.txt"]).current_dir(&context), None, PATIENCE).ok();
        }
        flags.push(".");
        let build = |more: &[&str]| {
            let mut command = rhumb.command(["build"]);
            process::run(command.args(more).args(&flags).current_dir(&context), None, PATIENCE)
        };
        build(&["-q", "-t", "plain:1"]).ok();
        let script = build(&["--to-rhai", "-t", "script:1"]).ok();
        std::fs::write(rhumb.path("made.rhai"), &script).unwrap();
        let mut command = rhumb.command([rhumb.path("made.rhai")]);
        let outcome = process::run(command.current_dir(&context).env("TOKEN", "hunter22"), None, PATIENCE);
        assert!(outcome.success(), "{name}: {outcome}\n{script}");
        let (plain, of_script) = (rhumb.inspect("plain:1"), rhumb.inspect("script:1"));
        for part in ["RootFS", "Config"] {
            assert_eq!(plain[part], of_script[part], "{name}:\n{script}");
        }
        done += 1;
    }
    assert_eq!(done, 17);
}
