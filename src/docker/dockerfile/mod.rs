//! Dockerfiles: the whole language of the `docker/dockerfile:1` front end, read, checked, and turned into a build's graph.
//!
//! ```text
//! text ─▶ lines   continued lines made one, comments and here-documents taken out, every byte with its place
//!      ─▶ parse   instructions with their flags and words: [`ast::Dockerfile`]
//!      ─▶ check   the build checks: warnings with places
//!      ─▶ translate  variables expanded, stages and files resolved: [`crate::model::build::Graph`]
//!                 └▶ print  the same graph as a build script
//! ```
//!
//! A file is somebody's text: it is read within limits ([`MAX_BYTES`], [`MAX_INSTRUCTIONS`], …), and whatever it holds
//! gives a [`ast::Dockerfile`] or an error with its line and column. Nothing here knows an image, and of a disk no more than
//! ignore files.

pub mod ast;
pub mod check;
pub(crate) mod contexts;
pub mod expand;
mod instruction;
mod lines;
pub mod mount;
pub mod print;
pub(crate) mod sources;
pub mod translate;
mod words;

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use crate::base::{Context as _, Error, Result, ignore};
use ast::{Dockerfile, Instruction, InstructionKind, Span, Stage};

/// What Dockerfiles are called, in the order in which they are looked for.
pub const FILE_NAMES: [&str; 3] = ["Dockerfile", "Containerfile", "dockerfile"];

/// The file in a folder that says what is not in it.
pub const IGNORE_FILE: &str = ".dockerignore";

/// The largest file, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// The most instructions of a file.
pub const MAX_INSTRUCTIONS: usize = 100_000;

/// Every instruction's name.
pub const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a Dockerfile; `file` is its name, for messages.
///
/// # Errors
/// `invalid_argument` with `file:line:column` in front.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Dockerfile> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::invalid(format!("{file} is larger than {MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| lines::not_text(file, bytes, error.valid_up_to()))?;
    let mut lines = lines::Lines::new(file, text)?;
    let mut dockerfile = Dockerfile {
        file: file.to_owned(),
        syntax: lines.syntax.take(),
        escape: lines.escape,
        check: lines.check.take(),
        arguments: Vec::new(),
        stages: Vec::new(),
        empty_continuations: Vec::new(),
    };
    let mut count = 0;
    while let Some(line) = lines.next() {
        count += 1;
        if count > MAX_INSTRUCTIONS {
            return Err(at(file, line.span(0, 0), format!("there are more than {MAX_INSTRUCTIONS} instructions")));
        }
        let (instruction, from) = instruction::read(file, &line, &mut lines)?;
        place(&mut dockerfile, instruction, from)?;
    }
    if dockerfile.stages.is_empty() {
        let what = if count == 0 { "has no instructions" } else { "has no FROM" };
        return Err(Error::invalid(format!("{file} {what}")).with_hint("it begins with FROM and the name of an image"));
    }
    dockerfile.empty_continuations = std::mem::take(&mut lines.empty_continuations);
    Ok(dockerfile)
}

/// Reads a trigger that an image carries.
///
/// # Errors
/// As [`parse_instruction`]; `invalid_argument` for what no trigger is.
pub fn parse_trigger(file: &str, text: &str) -> Result<Instruction> {
    let instruction = parse_instruction(file, text)?;
    match instruction.kind {
        InstructionKind::From | InstructionKind::OnBuild(..) | InstructionKind::Maintainer(_) => {
            let name = instruction.keyword.text.to_ascii_uppercase();
            Err(Error::invalid(format!("{file}: a trigger cannot be {name}")))
        }
        _ => Ok(instruction),
    }
}

/// Reads one instruction, as a trigger or a script has it.
///
/// # Errors
/// As [`parse`]; `invalid_argument` for several.
pub fn parse_instruction(file: &str, text: &str) -> Result<Instruction> {
    if text.len() > MAX_BYTES {
        return Err(Error::invalid(format!("{file} is larger than {MAX_BYTES} bytes")));
    }
    let mut lines = lines::Lines::new(file, text)?;
    let line = lines.next().ok_or_else(|| Error::invalid(format!("{file} has no instruction")))?;
    let (instruction, _) = instruction::read(file, &line, &mut lines)?;
    match lines.next() {
        None => Ok(instruction),
        Some(_) => Err(Error::invalid(format!("{file} has several instructions, and can have one"))),
    }
}

/// The patterns of an ignore file; none when there is no such file.
///
/// # Errors
/// What reading gives; `invalid_argument` with the line of what is no pattern.
pub fn ignore_lines(file: &Path) -> Result<Vec<String>> {
    let reading = || format!("reading {file:?}");
    let opened = match File::open(file) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        opened => opened.context(reading)?,
    };
    let mut bytes = Vec::new();
    opened.take(ignore::MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).context(reading)?;
    ignore_text(&file.to_string_lossy(), bytes)
}

/// The patterns of an ignore file that has been read.
///
/// # Errors
/// `invalid_argument` with the line of what is no pattern.
pub fn ignore_text(name: &str, bytes: Vec<u8>) -> Result<Vec<String>> {
    let reading = || format!("reading {name:?}");
    let text = String::from_utf8(bytes).map_err(|_| Error::invalid("it is not UTF-8").context(reading()))?;
    ignore::Ignore::parse(&text).context(reading)?;
    Ok(ignore::lines(&text))
}

/// Puts an instruction where it belongs.
fn place(dockerfile: &mut Dockerfile, instruction: Instruction, from: Option<Stage>) -> Result<()> {
    match (from, dockerfile.stages.last_mut()) {
        (Some(stage), _) => dockerfile.stages.push(stage),
        (None, Some(stage)) => stage.instructions.push(instruction),
        (None, None) if matches!(instruction.kind, InstructionKind::Arg(_)) => dockerfile.arguments.push(instruction),
        (None, None) => {
            let name = instruction.keyword.text.to_ascii_uppercase();
            let error = at(&dockerfile.file, instruction.keyword.span, format!("{name} stands before the first FROM"));
            return Err(error.with_hint("only ARG can stand there"));
        }
    }
    Ok(())
}

/// An error with its place in front.
pub(crate) fn at(file: &str, span: Span, message: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{file}:{}:{}: {message}", span.line, span.column))
}
