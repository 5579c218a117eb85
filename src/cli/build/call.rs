//! `--call`: what a Dockerfile says of itself, instead of a build: its warnings, its stages, what a stage takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::WARNED;
use crate::base::{Error, Result};
use crate::cli::table::Table;
use crate::cli::{Session, listing};
use crate::docker::build::fields;
use crate::docker::dockerfile::ast::{Dockerfile, Instruction, InstructionKind, Stage};
use crate::docker::dockerfile::check::{self, Checked};
use crate::model::build::{Action, Change, Graph, MountKind, Step};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A build.
    Build,
    /// The warnings of the build checks.
    Check,
    /// What the target takes: arguments, secrets, agents, caches.
    Outline,
    /// The stages.
    Targets,
}

/// Reads `--call`, and whether it asks for JSON.
///
/// # Errors
/// `unsupported` for another one.
pub(super) fn read(call: Option<&str>, check: bool) -> Result<(Call, bool)> {
    let Some(call) = call else { return Ok((if check { Call::Check } else { Call::Build }, false)) };
    let (name, rest) = call.split_once(',').map_or((call, None), |(name, rest)| (name, Some(rest)));
    let mut given = rest.map(|rest| fields("call", rest, &["format"])).transpose()?.unwrap_or_default();
    let is_json = match given.remove("format").as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => return Err(Error::invalid(format!("the format of --call is text or json, not {other:?}"))),
    };
    let what = match name {
        "build" => Call::Build,
        "check" | "lint" => Call::Check,
        "outline" => Call::Outline,
        "targets" => Call::Targets,
        _ => {
            return Err(Error::unsupported(format!("option \"--call\": {name:?} is not supported"))
                .with_hint("use check, outline or targets, or leave it out"));
        }
    };
    Ok((what, is_json))
}

/// Prints the warnings to standard output, since they are what was asked for; gives the exit code.
pub(super) fn checks(file: &Dockerfile, checked: &Checked, is_json: bool, session: &mut Session) -> Result<u8> {
    let warnings = &checked.warnings;
    if is_json {
        let warning = |warning: &check::Warning| {
            json!({
                "ruleName": warning.rule,
                "detail": warning.message,
                "location": {
                    "file": file.file,
                    "ranges": [{
                        "start": { "line": warning.span.line, "character": warning.span.column - 1 },
                        "end": { "line": warning.span.end_line, "character": warning.span.end_column - 1 },
                    }],
                },
            })
        };
        session
            .out
            .line(format_args!("{:#}", json!({ "warnings": warnings.iter().map(warning).collect::<Vec<_>>() })))?;
    } else {
        for warning in warnings {
            session.out.line(format_args!("{}: {}", super::place(file, warning), warning.message))?;
        }
        if warnings.is_empty() {
            session.out.line("No warnings.")?;
        }
    }
    Ok(if warnings.is_empty() { 0 } else { WARNED })
}

/// Prints the stages that can be asked for: those with a name, and the last one.
pub(super) fn targets(file: &Dockerfile, is_json: bool, session: &mut Session) -> Result<u8> {
    let last = file.stages.len().saturating_sub(1);
    let shown = file.stages.iter().enumerate().filter(|(index, stage)| stage.name.is_some() || *index == last);
    if is_json {
        let target = |(index, stage): (usize, &Stage)| {
            let mut facts = json!({ "base": stage.base.text, "default": index == last, "line": stage.from.span.line });
            put(&mut facts, "name", name(stage));
            put(&mut facts, "description", described(stage));
            put(&mut facts, "platform", stage.platform.as_ref().map(|word| word.text.clone()));
            facts
        };
        session.out.line(format_args!("{:#}", json!({ "targets": shown.map(target).collect::<Vec<_>>() })))?;
        return Ok(0);
    }
    let mut table = Table::new(&["TARGET", "DESCRIPTION"]);
    for (index, stage) in shown {
        let default = if index == last { " (default)" } else { "" };
        let name = name(stage).map_or_else(|| "(default)".to_owned(), |name| format!("{name}{default}"));
        table.row(vec![name, described(stage).unwrap_or_default()]);
    }
    table.print(&mut session.out)?;
    Ok(0)
}

/// Prints what the target takes.
pub(super) fn outline(
    file: &Dockerfile,
    graph: &Graph,
    given: &BTreeMap<String, String>,
    is_json: bool,
    session: &mut Session,
) -> Result<u8> {
    // The stages of the graph are those that the target needs; they stand where the file has them.
    let lines: BTreeSet<usize> = graph.stages.iter().filter_map(|stage| Some(stage.position.as_ref()?.line)).collect();
    let needed: Vec<&Stage> = file.stages.iter().filter(|stage| lines.contains(&stage.from.span.line)).collect();
    let target = graph.stages.get(graph.target).and_then(|stage| stage.position.as_ref());
    let target = needed.iter().find(|stage| target.is_some_and(|at| at.line == stage.from.span.line));
    let instructions = file.arguments.iter().chain(needed.iter().flat_map(|stage| &stage.instructions));
    let mut arguments: Vec<(String, Option<String>, Option<String>)> = Vec::new();
    for instruction in instructions {
        let InstructionKind::Arg(pairs) = &instruction.kind else { continue };
        for pair in pairs {
            let name = &pair.name.text;
            let value = given.get(name).cloned().or_else(|| value(graph, name));
            let value = value.or_else(|| pair.value.as_ref().map(|word| word.text.clone()));
            let description = (pairs.len() == 1).then(|| description(instruction, name)).flatten();
            match arguments.iter_mut().find(|(known, ..)| known == name) {
                None => arguments.push((name.clone(), value, description)),
                Some((_, old, about)) => {
                    *old = old.take().or(value);
                    *about = about.take().or(description);
                }
            }
        }
    }
    let (mut secrets, mut agents, mut caches) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    let runs = graph.stages.iter().flat_map(|stage| &stage.steps).filter_map(|step| match &step.action {
        Action::Run(run) => Some(run),
        _ => None,
    });
    for mount in runs.flat_map(|run| &run.mounts) {
        match &mount.kind {
            MountKind::Secret { id, required, .. } => *secrets.entry(id.clone()).or_insert(false) |= *required,
            MountKind::Ssh { id, required, .. } => *agents.entry(id.clone()).or_insert(false) |= *required,
            MountKind::Cache(cache) => {
                caches.insert(cache.id_at(&mount.target).to_owned());
            }
            MountKind::Bind { .. } | MountKind::Tmpfs { .. } => {}
        }
    }
    let (title, about) = (target.and_then(|stage| name(stage)), target.and_then(|stage| described(stage)));
    if is_json {
        let argument = |(name, value, about): (String, Option<String>, Option<String>)| {
            let mut facts = json!({ "name": name });
            put(&mut facts, "value", value);
            put(&mut facts, "description", about);
            facts
        };
        let asked = |all: BTreeMap<String, bool>| -> Vec<Value> {
            all.into_iter().map(|(name, required)| json!({ "name": name, "required": required })).collect()
        };
        let mut facts = json!({
            "args": arguments.into_iter().map(argument).collect::<Vec<_>>(),
            "secrets": asked(secrets),
            "ssh": asked(agents),
            "cache": caches.into_iter().map(|id| json!({ "ID": id })).collect::<Vec<_>>(),
        });
        put(&mut facts, "name", title);
        put(&mut facts, "description", about);
        session.out.line(format_args!("{facts:#}"))?;
        return Ok(0);
    }
    let mut parts = Vec::new();
    let mut table = Table::new(&["BUILD ARG", "VALUE", "DESCRIPTION"]);
    let count = arguments.len();
    for (name, value, about) in arguments {
        table.row(vec![name, value.unwrap_or_default(), about.unwrap_or_default()]);
    }
    parts.extend((count > 0).then_some(table));
    for (header, all) in [("SECRET", secrets), ("SSH", agents)] {
        let mut table = Table::new(&[header, "REQUIRED"]);
        let count = all.len();
        all.into_iter().for_each(|(id, required)| table.row(vec![id, required.to_string()]));
        parts.extend((count > 0).then_some(table));
    }
    let mut table = Table::new(&["CACHE MOUNT"]);
    let count = caches.len();
    caches.into_iter().for_each(|id| table.row(vec![id]));
    parts.extend((count > 0).then_some(table));
    session.out.line(format_args!("TARGET:      {}", title.as_deref().unwrap_or("default")))?;
    if let Some(about) = about {
        session.out.line(format_args!("DESCRIPTION: {}", listing::harmless_on_terminal(about)))?;
    }
    for table in parts {
        session.out.line("")?;
        table.print(&mut session.out)?;
    }
    Ok(0)
}

/// What an argument comes to.
fn value(graph: &Graph, wanted: &str) -> Option<String> {
    let argument = |step: &Step| match &step.action {
        Action::Config(change) => match change.as_ref() {
            Change::Arg(name, value) if name == wanted => Some(value.clone()),
            _ => None,
        },
        _ => None,
    };
    graph.stages.iter().flat_map(|stage| &stage.steps).find_map(argument)
}

fn name(stage: &Stage) -> Option<String> {
    stage.name.as_ref().map(|name| name.text.to_ascii_lowercase())
}

fn described(stage: &Stage) -> Option<String> {
    description(&stage.from, &stage.name.as_ref()?.text)
}

/// The comment right above what it describes: `# NAME what it is`.
fn description(instruction: &Instruction, name: &str) -> Option<String> {
    let (word, rest) = instruction.comments.last()?.split_once(char::is_whitespace)?;
    word.eq_ignore_ascii_case(name).then(|| rest.trim().to_owned())
}

fn put(facts: &mut Value, name: &str, value: Option<String>) {
    if let Some(value) = value {
        facts[name] = json!(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_as_docker_writes_them() {
        for (text, wanted) in [
            ("build", (Call::Build, false)),
            ("check", (Call::Check, false)),
            ("lint,format=json", (Call::Check, true)),
            ("outline,format=text", (Call::Outline, false)),
            ("targets,format=json", (Call::Targets, true)),
        ] {
            assert_eq!(read(Some(text), false).unwrap(), wanted, "{text}");
        }
        assert_eq!(read(None, true).unwrap(), (Call::Check, false));
        for text in ["", "x", "check,format=yaml", "check,x=1"] {
            assert!(read(Some(text), false).is_err(), "{text}");
        }
    }
}
