//! Help texts are pinned, and fit eighty columns.

use std::process::Command;

use crate::golden;
use crate::support::process::{self, PATIENCE};

/// The flat commands without verbs of their own.
const FLAT: &str = "attach build create exec export history images import info inspect kill load logs oci pause ps rename restart rm rmi \
                    run save start stop tag unpause version wait doc repl";
const GROUPS: &str = "container image volume system";

fn help(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rhumb"));
    command.args(words).arg("--help").env_remove("COLUMNS").env_remove("RHUMB_ROOT").env("NO_COLOR", "1");
    process::run(&mut command, None, PATIENCE).ok() + "\n"
}

#[test]
fn help_of_every_command_is_pinned_and_fits_eighty_columns() {
    let whole = help(&[]);
    let mut pages = vec![("help.txt".to_owned(), whole)];
    for name in FLAT.split_whitespace() {
        pages.push((format!("help/{name}.txt"), help(&[name])));
    }
    for group in GROUPS.split_whitespace() {
        let mut page = help(&[group]);
        let verbs: Vec<String> = page
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .filter(|verb| verb != "help")
            .collect();
        // Verbs that are flat as well have the same page there.
        for verb in verbs.iter().filter(|verb| !FLAT.split_whitespace().any(|flat| flat == *verb) || group == "volume")
        {
            page.push_str(&format!("\n$ rhumb {group} {verb} --help\n{}", help(&[group, verb])));
        }
        pages.push((format!("help/{group}.txt"), page));
    }
    for (name, text) in &pages {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line:?}");
            assert!(!line.contains('\u{1b}') && line.trim_end() == line, "{name}: {line:?}");
        }
        golden::check(name, text);
    }
}

#[test]
fn the_whole_help_names_every_page() {
    let whole = help(&[]);
    for name in FLAT.split_whitespace().chain(GROUPS.split_whitespace()) {
        assert!(whole.lines().any(|line| line.starts_with(&format!("  {name} "))), "{name}");
    }
}
