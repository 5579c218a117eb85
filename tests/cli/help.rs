//! Help texts are pinned, and fit eighty columns.

use std::process::Command;

use crate::golden;
use crate::support::process::{self, PATIENCE};

fn help(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rhumb"));
    command.args(words).arg("--help").env_remove("COLUMNS").env_remove("RHUMB_ROOT").env("NO_COLOR", "1");
    process::run(&mut command, None, PATIENCE).ok() + "\n"
}

#[test]
fn help_of_every_command_is_pinned_and_fits_eighty_columns() {
    let whole = help(&[]);
    let (groups, flat): (Vec<String>, Vec<String>) = listed(&whole, |heading| heading == "Groups:");
    assert!(groups.len() >= 6 && flat.len() >= 40, "{groups:?} {flat:?}");
    let mut pages = vec![("help.txt".to_owned(), whole)];
    for name in &flat {
        pages.push((format!("help/{name}.txt"), help(&[name])));
    }
    for group in &groups {
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
        let is_elsewhere =
            |verb: &String| matches!(group.as_str(), "container" | "image" | "builder") && flat.contains(verb);
        for verb in verbs.iter().filter(|verb| !is_elsewhere(verb)) {
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

/// The commands that the whole help lists: those below headings that are chosen, and the others.
fn listed(whole: &str, is_chosen: impl Fn(&str) -> bool) -> (Vec<String>, Vec<String>) {
    let (mut chosen, mut others) = (Vec::new(), Vec::new());
    let mut heading = "";
    for line in whole.lines().skip_while(|line| *line != "Containers:").take_while(|line| *line != "Options:") {
        match line.strip_prefix("  ").and_then(|line| line.split_whitespace().next()) {
            Some(name) if is_chosen(heading) => chosen.push(name.to_owned()),
            Some(name) => others.push(name.to_owned()),
            None => heading = line,
        }
    }
    (chosen, others)
}
