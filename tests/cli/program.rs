//! The ways into scripts: a file with arguments, a shebang, an expression, standard input, the documentation.

use crate::support::Rhumb;

#[test]
fn scripts_come_from_files_expressions_and_standard_input() {
    let rhumb = Rhumb::new();
    assert_eq!(rhumb.run(["-e", "40 + 2"]).ok(), "42");
    assert_eq!(
        rhumb.run(["-e", "print(args())", "--help", "x"]).ok(),
        rhumb.run(["-e", "print([\"--help\", \"x\"])"]).ok()
    );
    assert_eq!(rhumb.run_with_input(["-"], b"print(1 + 1)").ok(), "2");
    assert_eq!(rhumb.run_with_input::<&str>([], b"print(1 + 2)").ok(), "3");
    let file = rhumb.path("hello");
    std::fs::write(&file, "#!/usr/bin/env rhumb\nprint(`hello ${args()[0]}`);\nexit(7);\n").unwrap();
    let outcome = rhumb.run([file.to_str().unwrap(), "you"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (7, "hello you\n"), "{outcome}");
}

#[test]
fn a_script_runs_on_the_given_root_and_its_error_kind_is_the_exit_code() {
    let rhumb = Rhumb::new();
    let root = rhumb.path("other");
    rhumb.run(["--root", root.to_str().unwrap(), "-e", "volume::create(\"there\")"]).ok();
    assert_eq!(rhumb.sh("volume ls -q").ok(), "");
    assert_eq!(rhumb.run(["--root", root.to_str().unwrap(), "volume", "ls", "-q"]).ok(), "there");
    rhumb.run(["-e", "container::get(\"nosuch\")"]).fails_with(3, "nosuch");
}

#[test]
fn the_script_api_is_printed() {
    let rhumb = Rhumb::new();
    assert!(rhumb.sh("doc").ok().contains("container::run"));
    assert!(rhumb.sh("doc container::run").ok().contains("container::run"));
    rhumb.sh("doc container::rnu").fails_with(3, "rnu");
}
