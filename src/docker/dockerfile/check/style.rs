//! Checks of how instructions are written.

use crate::docker::dockerfile::ast::{Command, Dockerfile, Instruction, InstructionKind, Span};
use crate::docker::dockerfile::check::Found;

pub(super) fn check(file: &Dockerfile, found: &mut Found<'_>) {
    for span in &file.empty_continuations {
        found.add("NoEmptyContinuation", *span, "Empty continuation line".to_owned());
    }
    casing(file, found);
    for instruction in &file.arguments {
        description(instruction, found);
    }
    for stage in &file.stages {
        if let (Some(keyword), Some(name)) = (&stage.as_keyword, &stage.name) {
            let (from, word) = (&stage.from.keyword.text, &keyword.text);
            let is_lower = |text: &str| !text.chars().any(|c| c.is_ascii_uppercase());
            if is_lower(from) != is_lower(word) {
                let message = format!("'{word}' and '{from}' keywords' casing do not match");
                found.add("FromAsCasing", stage.from.span, message);
            }
            if let Some(comment) = stage.from.comments.last() {
                describes(comment, &name.text, stage.from.span, found);
            }
        }
        once(&stage.instructions, found);
        let mut has_shell = false;
        for instruction in &stage.instructions {
            has_shell |= matches!(instruction.kind, InstructionKind::Shell(_));
            one(instruction, has_shell, found);
        }
    }
}

/// All names of instructions in capitals, or none.
fn casing(file: &Dockerfile, found: &mut Found<'_>) {
    let stages = || file.stages.iter().flat_map(|stage| std::iter::once(&stage.from).chain(&stage.instructions));
    let all = || file.arguments.iter().chain(stages()).map(|instruction| &instruction.keyword);
    let is_lower = |text: &str| text.chars().all(|c| c.is_ascii_lowercase());
    let is_upper = |text: &str| text.chars().all(|c| c.is_ascii_uppercase());
    let lower = all().filter(|word| is_lower(&word.text)).count();
    let upper = all().filter(|word| is_upper(&word.text)).count();
    let (wanted, fits): (&str, &dyn Fn(&str) -> bool) = match lower > upper {
        true => ("lowercase", &is_lower),
        false => ("uppercase", &is_upper),
    };
    for word in all().filter(|word| !fits(&word.text)) {
        let message = format!("Command '{}' should match the case of the command majority ({wanted})", word.text);
        found.add("ConsistentInstructionCasing", word.span, message);
    }
}

/// Instructions of which only the last one counts.
fn once(instructions: &[Instruction], found: &mut Found<'_>) {
    let name = |instruction: &Instruction| match &instruction.kind {
        InstructionKind::Cmd(_) => Some("CMD"),
        InstructionKind::Entrypoint(_) => Some("ENTRYPOINT"),
        InstructionKind::HealthCheck(_) => Some("HEALTHCHECK"),
        _ => None,
    };
    for wanted in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
        let all: Vec<&Instruction> = instructions.iter().filter(|one| name(one) == Some(wanted)).collect();
        for instruction in all.iter().rev().skip(1) {
            let message = format!(
                "Multiple {wanted} instructions should not be used in the same stage because only the last one will be used"
            );
            found.add("MultipleInstructionsDisallowed", instruction.span, message);
        }
    }
}

fn one(instruction: &Instruction, has_shell: bool, found: &mut Found<'_>) {
    let span = instruction.span;
    match &instruction.kind {
        InstructionKind::Maintainer(_) => {
            let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
            found.add("MaintainerDeprecated", span, message);
        }
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) if pairs.old => {
            let name = instruction.keyword.text.to_ascii_uppercase();
            let message = format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            found.add("LegacyKeyValueFormat", span, message);
        }
        InstructionKind::Cmd(Command::Shell(line)) | InstructionKind::Entrypoint(Command::Shell(line))
            if !has_shell && !line.text.is_empty() =>
        {
            let name = instruction.keyword.text.to_ascii_uppercase();
            let message =
                format!("JSON arguments recommended for {name} to prevent unintended behavior related to OS signals");
            found.add("JSONArgsRecommended", span, message);
        }
        InstructionKind::OnBuild(_, inner) => one(inner, has_shell, found),
        _ => {}
    }
}

/// The comment above an argument is about it.
fn description(instruction: &Instruction, found: &mut Found<'_>) {
    if let (InstructionKind::Arg(pairs), Some(comment)) = (&instruction.kind, instruction.comments.last())
        && let [pair] = pairs.as_slice()
    {
        describes(comment, &pair.name.text, instruction.span, found);
    }
}

fn describes(comment: &str, name: &str, span: Span, found: &mut Found<'_>) {
    if comment.split_whitespace().next().is_none_or(|word| word != name) {
        let message = "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. \
                       If this is not intended to be a description comment, add an empty line or comment between the \
                       instruction and the comment.";
        found.add("InvalidDefinitionDescription", span, message.to_owned());
    }
}
