//! `rhumb --help`: the commands in groups, on eighty columns. Help of one command is clap's.

use std::ffi::OsString;

use clap::CommandFactory as _;

use crate::base::Result;
use crate::cli::Out;
use crate::cli::command::Cli;

/// The groups, and the commands in the order in which people need them.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Containers",
        &[
            "run", "ps", "exec", "logs", "stop", "rm", "create", "start", "restart", "kill", "wait", "attach", "pause",
            "unpause", "top", "stats", "update", "port", "rename", "cp", "diff", "commit", "export",
        ],
    ),
    ("Images", &["build", "images", "pull", "push", "load", "save", "import", "tag", "history", "rmi"]),
    ("Registries", &["login", "logout"]),
    ("Everything", &["inspect", "events", "info", "version"]),
    ("Groups", &["container", "image", "builder", "volume", "network", "system"]),
    ("Scripts", &["repl", "doc"]),
    ("Other engines", &["oci"]),
];

/// Whether the whole command line's help is asked for.
pub(crate) fn is_asked(args: &[OsString]) -> bool {
    matches!(args, [_, word] if word == "--help" || word == "-h" || word == "help")
}

/// Prints it.
pub(crate) fn print(out: &mut Out) -> Result<()> {
    let cli = Cli::command();
    out.line("A container engine that you script\n")?;
    out.line("Usage: rhumb [--root DIR] COMMAND [ARG]...")?;
    out.line("       rhumb FILE.rhai [ARG]...     run a script")?;
    out.line("       rhumb -e EXPRESSION          run a line of script")?;
    out.line("       rhumb -                      run a script from standard input")?;
    out.line("       rhumb                        explore at a prompt")?;
    for (group, names) in GROUPS {
        out.line(format!("\n{group}:"))?;
        for name in *names {
            let about = cli.find_subcommand(name).and_then(|command| command.get_about()).map(ToString::to_string);
            out.line(format!("  {name:<11} {}", about.unwrap_or_default()))?;
        }
    }
    out.line("\nOptions:")?;
    out.line("  --root DIR      Keep state in this folder, not in /var/lib/rhumb [RHUMB_ROOT]")?;
    out.line("  -h, --help      Print help")?;
    out.line("  -v, --version   Print the version")?;
    out.line("\nRun \"rhumb COMMAND --help\" for more about a command.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let mut listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let cli = Cli::command();
        let mut known: Vec<&str> = cli.get_subcommands().map(|command| command.get_name()).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn the_tree_of_commands_is_sound() {
        Cli::command().debug_assert();
    }
}
