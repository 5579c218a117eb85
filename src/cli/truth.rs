//! Switches with a value, as Docker's client takes them: `--rm=true` is `--rm`, and `--rm=false` is as if it was not there.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// The arguments with every such switch made plain; what is behind a program's name in `run` and `exec` is the program's.
pub(super) fn plain(root: &Command, args: &[OsString]) -> Vec<OsString> {
    let mut command = root;
    let mut rest = args.iter();
    let mut all: Vec<OsString> = rest.next().into_iter().cloned().collect();
    while let Some(arg) = rest.next() {
        let Some(text) = arg.to_str().filter(|text| *text != "--") else {
            all.push(arg.clone());
            break;
        };
        if let Some(long) = text.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let known = command.get_arguments().chain(root.get_arguments()).find(|known| is_called(known, name));
            match (known, value.and_then(truth)) {
                (Some(switch), Some(on)) if matches!(switch.get_action(), ArgAction::SetTrue) => {
                    if on {
                        all.push(format!("--{name}").into());
                    }
                    continue;
                }
                (Some(known), _) if value.is_none() && takes_next(known) => {
                    all.push(arg.clone());
                    all.extend(rest.next().cloned());
                    continue;
                }
                _ => {}
            }
        } else if let Some(letters) = text.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            let of = |letter: char| {
                let is = move |known: &&Arg| known.get_short() == Some(letter);
                command.get_arguments().chain(root.get_arguments()).find(is)
            };
            // The first letter that takes a value has the rest of the word, or the next one.
            let taking = letters.char_indices().find(|(_, letter)| of(*letter).is_some_and(takes_next));
            if taking.is_some_and(|(at, letter)| at + letter.len_utf8() == letters.len()) {
                all.push(arg.clone());
                all.extend(rest.next().cloned());
                continue;
            }
        } else if let Some(sub) = command.find_subcommand(text) {
            command = sub;
        } else if command.get_positionals().any(Arg::is_trailing_var_arg_set) {
            all.push(arg.clone());
            break;
        }
        all.push(arg.clone());
    }
    all.extend(rest.cloned());
    all
}

fn is_called(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|all| all.contains(&name))
}

/// Whether the next word is its value.
fn takes_next(arg: &Arg) -> bool {
    let least = arg.get_num_args().map_or(1, |range| range.min_values());
    arg.get_action().takes_values() && !arg.is_require_equals_set() && least > 0
}

/// What Go's `strconv.ParseBool` reads.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Whether anything is to be made plain: most command lines have no such switch, and a command costs time to make.
pub(super) fn may_have(args: &[OsString]) -> bool {
    let ends = |arg: &OsString| {
        let text = arg.as_os_str().to_str().unwrap_or_default();
        text.starts_with("--") && text.split_once('=').is_some_and(|(_, value)| truth(value).is_some())
    };
    args.iter().skip(1).take_while(|arg| arg.as_os_str() != OsStr::new("--")).any(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn switches_have_values_up_to_the_program() {
        for (line, wanted) in [
            ("run --rm=true -d=1 x --rm=false", "run --rm -d=1 x --rm=false"),
            ("run --rm=false --name --rm=true x", "run --name --rm=true x"),
            ("run -v --rm=true --rm=t x", "run -v --rm=true --rm x"),
            ("build --no-cache=false --push=true . --check=1", "build --push . --check"),
            ("build --pull=false --label a=true -- --push=true", "build --pull=false --label a=true -- --push=true"),
            ("image build --no-cache=maybe .", "image build --no-cache=maybe ."),
            ("container ls --no-trunc=true", "container ls --no-trunc"),
        ] {
            let args: Vec<OsString> = ["rhumb"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
            let mut command = Cli::command();
            command.build();
            let made = plain(&command, &args).join(OsStr::new(" "));
            assert_eq!(made, OsString::from(format!("rhumb {wanted}")));
            assert!(may_have(&args) || line.contains("maybe"), "{line}");
        }
    }
}
