//! Checks of stages' names and of what `FROM` begins with.

use std::collections::BTreeSet;

use crate::base::{Reference, suggest};
use crate::docker::dockerfile::ast::{Dockerfile, InstructionKind, Stage, Word};
use crate::docker::dockerfile::check::Found;
use crate::docker::dockerfile::expand;
use crate::docker::dockerfile::translate::PLATFORM_ARGUMENTS;

pub(super) fn check(file: &Dockerfile, found: &mut Found<'_>) {
    let mut seen = BTreeSet::new();
    let arguments = defaults(file);
    for stage in &file.stages {
        if let Some(name) = &stage.name {
            let lower = name.text.to_ascii_lowercase();
            if name.text != lower {
                found.add("StageNameCasing", name.span, format!("Stage name '{}' should be lowercase", name.text));
            }
            if matches!(lower.as_str(), "scratch" | "context") {
                let message = format!("Stage name should not use the same name as reserved stage '{lower}'");
                found.add("ReservedStageName", name.span, message);
            }
            if !seen.insert(lower.clone()) {
                let message = format!("Duplicate stage name '{lower}', stage names should be unique");
                found.add("DuplicateStageName", name.span, message);
            }
        }
        base(file, stage, &arguments, found);
        platform(stage, found);
    }
}

/// The global arguments and their defaults, in order.
fn defaults(file: &Dockerfile) -> Vec<(String, Option<String>)> {
    let mut known: Vec<(String, Option<String>)> = Vec::new();
    for instruction in &file.arguments {
        let InstructionKind::Arg(pairs) = &instruction.kind else { continue };
        for pair in pairs {
            let lookup = |name: &str| value(&known, name);
            let word = |word: &Word| expand::word(&word.text, file.escape, &lookup).ok().map(|(text, _)| text);
            let default = pair.value.as_ref().and_then(word);
            known.push((pair.name.text.clone(), default));
        }
    }
    known
}

fn value(known: &[(String, Option<String>)], name: &str) -> Option<String> {
    let own = known.iter().rev().find(|(own, _)| own == name).and_then(|(_, value)| value.clone());
    own.or_else(|| PLATFORM_ARGUMENTS.contains(&name).then(|| "linux".to_owned()))
}

fn base(file: &Dockerfile, stage: &Stage, known: &[(String, Option<String>)], found: &mut Found<'_>) {
    let used = |word: &Word| {
        let names = std::cell::RefCell::new(Vec::new());
        let lookup = |name: &str| {
            names.borrow_mut().push(name.to_owned());
            value(known, name)
        };
        let text = expand::word(&word.text, file.escape, &lookup);
        (names.into_inner(), text)
    };
    for word in [Some(&stage.base), stage.platform.as_ref()].into_iter().flatten() {
        let (names, text) = used(word);
        let declared = |name: &str| known.iter().any(|(own, _)| own == name) || PLATFORM_ARGUMENTS.contains(&name);
        let missing = text.as_ref().map(|(_, missing)| missing.clone()).unwrap_or_default();
        for name in missing.iter().filter(|name| !declared(name)) {
            let all = known.iter().map(|(own, _)| own.as_str()).chain(PLATFORM_ARGUMENTS);
            let near = suggest::nearest(name, all).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            let message = format!("FROM argument '{name}' is not declared{near}");
            found.add("UndefinedArgInFrom", stage.from.span, message);
        }
        if !std::ptr::eq(word, &stage.base) {
            continue;
        }
        let Ok((text, _)) = text else { continue };
        let good = !text.is_empty() && (text == "scratch" || Reference::parse(&text).is_ok());
        if !good && names.iter().any(|name| known.iter().any(|(own, _)| own == name)) {
            let message = format!("Default value for ARG {} results in empty or invalid base image name", word.text);
            found.add("InvalidDefaultArgInFrom", stage.from.span, message);
        }
    }
}

fn platform(stage: &Stage, found: &mut Found<'_>) {
    let Some(word) = &stage.platform else { return };
    if matches!(word.text.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            word.text
        );
        found.add("RedundantTargetPlatform", stage.from.span, message);
    }
    if !word.text.contains('$') {
        // A name with the platform in it says that the stage is for this platform alone.
        let name = stage.name.as_ref().map(|name| name.text.to_ascii_lowercase()).unwrap_or_default();
        let named = word.text.split('/').any(|part| !part.is_empty() && name.contains(&part.to_ascii_lowercase()));
        if !named {
            let message = format!("FROM --platform flag should not use constant value {:?}", word.text);
            found.add("FromPlatformFlagConstDisallowed", stage.from.span, message);
        }
    }
}
