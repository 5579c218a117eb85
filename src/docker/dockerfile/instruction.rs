//! One instruction: from its line to what it says.

use std::ops::Range;

use crate::base::{Error, Result, suggest};
use crate::docker::dockerfile::ast::*;
use crate::docker::dockerfile::lines::{Line, Lines};
use crate::docker::dockerfile::words::{self, Flag, Json};
use crate::docker::dockerfile::{INSTRUCTIONS, at, mount};

/// The most here-documents of one instruction.
const MAX_DOCUMENTS: usize = 100;

/// The most pieces of a line that an error quotes.
const MAX_QUOTED: usize = 60;

/// What is read: the line, where its arguments are, its flags.
struct Reader<'a> {
    file: &'a str,
    line: &'a Line,
    escape: char,
    name: String,
    keyword: Range<usize>,
    args: Range<usize>,
    flags: Vec<Flag>,
}

/// Reads an instruction; for `FROM` its stage besides. Here-documents are taken from the lines that follow.
///
/// # Errors
/// `invalid_argument` with the place.
pub(crate) fn read(file: &str, line: &Line, lines: &mut Lines<'_>) -> Result<(Instruction, Option<Stage>)> {
    let (kind, keyword, stage, documents) = {
        let reader = Reader::new(file, line, 0, lines.escape)?;
        let documents = reader.documents(lines)?;
        let mut stage = None;
        let kind = match reader.name.as_str() {
            "FROM" => {
                stage = Some(reader.from()?);
                InstructionKind::From
            }
            _ => reader.kind(&documents, false)?,
        };
        (kind, line.word(reader.keyword.start, reader.keyword.end), stage, documents)
    };
    let text = with_bodies(line.text.trim(), &documents);
    let start = line.text.len() - line.text.trim_start().len();
    let mut span = line.span(start, line.text.trim_end().len());
    if !documents.is_empty() {
        (span.end_line, span.end_column) = (lines.line(), 1);
    }
    let instruction = Instruction { keyword, span, comments: line.comments.clone(), text, kind };
    if let Some(stage) = &mut stage.as_ref() {
        let stage = Stage { from: instruction.clone(), ..(*stage).clone() };
        return Ok((instruction, Some(stage)));
    }
    Ok((instruction, None))
}

/// A line with its here-documents, as it was.
fn with_bodies(line: &str, documents: &[HereDocument]) -> String {
    let mut text = line.to_owned();
    for document in documents {
        text.push('\n');
        text.push_str(&document.body);
        text.push_str(&document.name);
    }
    text
}

impl<'a> Reader<'a> {
    /// Reads name and flags of what begins at `start`.
    fn new(file: &'a str, line: &'a Line, start: usize, escape: char) -> Result<Reader<'a>> {
        let text = line.text.trim_end();
        let from = start + text[start..].len() - text[start..].trim_start().len();
        let to = text[from..].find(char::is_whitespace).map_or(text.len(), |length| from + length);
        let name = text[from..to].to_ascii_uppercase();
        if !INSTRUCTIONS.contains(&name.as_str()) {
            let shown: String = text[from..to].chars().take(MAX_QUOTED).collect();
            let error = at(file, line.span(from, to), format!("unknown instruction {shown:?}"));
            let near = if name.len() > MAX_QUOTED { None } else { suggest::hint(&name, INSTRUCTIONS) };
            return Err(near.into_iter().fold(error, Error::with_hint));
        }
        let flagged = !matches!(name.as_str(), "CMD" | "ENTRYPOINT" | "SHELL" | "ENV" | "LABEL" | "ARG");
        let (flags, begin) = match flagged {
            true => words::flags(text, to..text.len(), escape),
            false => (Vec::new(), to + text[to..].len() - text[to..].trim_start().len()),
        };
        Ok(Reader { file, line, escape, name, keyword: from..to, args: begin..text.len(), flags })
    }

    fn text(&self) -> &'a str {
        &self.line.text[self.args.clone()]
    }

    fn word(&self, range: Range<usize>) -> Word {
        self.line.word(range.start, range.end)
    }

    /// An error at the instruction's name.
    fn error(&self, message: impl std::fmt::Display) -> Error {
        at(self.file, self.line.span(self.keyword.start, self.keyword.end), format!("{} {message}", self.name))
    }

    /// An error at a part of it.
    fn error_at(&self, range: &Range<usize>, message: impl std::fmt::Display) -> Error {
        at(self.file, self.line.span(range.start, range.end), message)
    }

    /// The here-documents that the line names, with their bodies.
    fn documents(&self, lines: &mut Lines<'_>) -> Result<Vec<HereDocument>> {
        let mut args = self.args.clone();
        let mut name = self.name.clone();
        if name == "ONBUILD" && !args.is_empty() {
            let inner = Reader::new(self.file, self.line, args.start, self.escape)?;
            (name, args) = (inner.name, inner.args);
        }
        let text = &self.line.text[args.clone()];
        let able = matches!(name.as_str(), "RUN" | "COPY" | "ADD");
        if !able || !text.contains("<<") || matches!(words::json(text), Json::Strings(_)) {
            return Ok(Vec::new());
        }
        let mut documents = Vec::new();
        for range in words::quoted(&self.line.text, args, self.escape) {
            if let Some(mut document) = words::document(&self.line.text[range.clone()]) {
                if documents.len() == MAX_DOCUMENTS {
                    return Err(self.error(format!("has more than {MAX_DOCUMENTS} here-documents")));
                }
                lines.body(&mut document, self.line.span(range.start, range.end))?;
                documents.push(document);
            }
        }
        Ok(documents)
    }

    /// Refuses flags that the instruction does not know, and those without the value that they need.
    fn check_flags(&self, with_value: &[&str], switches: &[&str]) -> Result<()> {
        for flag in &self.flags {
            let name = flag.name.as_str();
            if switches.contains(&name) {
                if !matches!(flag.value.as_deref(), None | Some("true" | "false")) {
                    return Err(self.error_at(&flag.range, format!("--{name} is true or false")));
                }
            } else if !with_value.contains(&name) {
                let error = self.error_at(&flag.range, format!("{} has no flag \"--{name}\"", self.name));
                let known = with_value.iter().chain(switches).copied();
                let near = if name.len() > MAX_QUOTED { None } else { suggest::nearest(name, known) };
                let hint = near.map(|near| format!("did you mean \"--{near}\"?"));
                return Err(hint.into_iter().fold(error, Error::with_hint));
            } else if flag.value.is_none() {
                return Err(self
                    .error_at(&flag.range, format!("--{name} needs a value"))
                    .with_hint("write --name=value"));
            }
            let again = self.flags.iter().filter(|other| other.name == name).count() > 1;
            if again && !["mount", "exclude", "device"].contains(&name) {
                return Err(self.error_at(&flag.range, format!("--{name} is there twice")));
            }
        }
        Ok(())
    }

    fn values(&self, name: &str) -> Vec<Word> {
        let of_name = self.flags.iter().filter(|flag| flag.name == name);
        let word = |flag: &Flag| {
            let span = self.line.span(flag.value_range.start, flag.value_range.end);
            Word { text: flag.value.clone().unwrap_or_default(), span }
        };
        of_name.map(word).collect()
    }

    fn value(&self, name: &str) -> Option<Word> {
        self.values(name).pop()
    }

    fn switch(&self, name: &str) -> Option<bool> {
        self.flags.iter().find(|flag| flag.name == name).map(|flag| flag.value.as_deref() != Some("false"))
    }

    fn from(&self) -> Result<Stage> {
        self.check_flags(&["platform"], &[])?;
        let words = words::plain(&self.line.text, self.args.clone());
        let (base, as_keyword, name) = match words.as_slice() {
            [base] => (base, None, None),
            [base, keyword, name] if self.line.text[keyword.clone()].eq_ignore_ascii_case("as") => {
                let text = self.line.text[name.clone()].to_ascii_lowercase();
                let good = text.starts_with(|c: char| c.is_ascii_lowercase())
                    && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
                if !good {
                    let error = self.error_at(name, format!("{text:?} cannot be the name of a stage"));
                    return Err(error.with_hint("a letter, then letters, digits, \"-\", \"_\" and \".\""));
                }
                (base, Some(self.word(keyword.clone())), Some(self.word(name.clone())))
            }
            [_, keyword, _] => {
                return Err(self.error_at(keyword, "FROM has AS in front of the stage's name"));
            }
            _ => return Err(self.error("takes an image, and AS with a name")),
        };
        Ok(Stage {
            from: Instruction {
                keyword: Word::default(),
                span: Span::default(),
                comments: Vec::new(),
                text: String::new(),
                kind: InstructionKind::From,
            },
            platform: self.value("platform"),
            base: self.word(base.clone()),
            as_keyword,
            name,
            instructions: Vec::new(),
        })
    }

    fn kind(&self, documents: &[HereDocument], triggered: bool) -> Result<InstructionKind> {
        let is_health = self.name == "HEALTHCHECK";
        if !matches!(self.name.as_str(), "RUN" | "COPY" | "ADD") && !is_health {
            self.check_flags(&[], &[])?;
        }
        Ok(match self.name.as_str() {
            "ARG" => InstructionKind::Arg(self.arguments()?),
            "ENV" => InstructionKind::Env(self.pairs()?),
            "LABEL" => InstructionKind::Label(self.pairs()?),
            "RUN" => InstructionKind::Run(Box::new(self.run(documents)?)),
            "COPY" | "ADD" => InstructionKind::Copy(Box::new(self.copy(documents)?)),
            "CMD" => InstructionKind::Cmd(self.command(self.args.clone())?),
            "ENTRYPOINT" => InstructionKind::Entrypoint(self.command(self.args.clone())?),
            "SHELL" => match words::json(self.text()) {
                Json::Strings(words) if !words.is_empty() => InstructionKind::Shell(words),
                _ => return Err(self.error("takes a list in JSON").with_hint("such as SHELL [\"/bin/sh\", \"-c\"]")),
            },
            "EXPOSE" => InstructionKind::Expose(self.some_words()?),
            "VOLUME" => InstructionKind::Volume(self.volumes()?),
            "USER" => InstructionKind::User(self.one()?),
            "WORKDIR" => InstructionKind::Workdir(self.one()?),
            "STOPSIGNAL" => InstructionKind::StopSignal(self.one()?),
            "MAINTAINER" => InstructionKind::Maintainer(self.one()?),
            "HEALTHCHECK" => InstructionKind::HealthCheck(Box::new(self.health()?)),
            "ONBUILD" if !triggered => self.trigger(documents)?,
            other => return Err(self.error(format!("cannot hold {other}"))),
        })
    }

    /// The rest of the line, which must not be empty.
    fn one(&self) -> Result<Word> {
        match self.args.is_empty() {
            true => Err(self.error("needs an argument")),
            false => Ok(self.word(self.args.clone())),
        }
    }

    fn some_words(&self) -> Result<Vec<Word>> {
        let words = words::plain(&self.line.text, self.args.clone());
        match words.is_empty() {
            true => Err(self.error("needs an argument")),
            false => Ok(words.into_iter().map(|range| self.word(range)).collect()),
        }
    }

    /// Strings in JSON, each with the place of the list, or none when it is no list.
    fn list(&self) -> Result<Option<Vec<Word>>> {
        match words::json(self.text()) {
            Json::Strings(words) => {
                let span = self.line.span(self.args.start, self.args.end);
                Ok(Some(words.into_iter().map(|text| Word { text, span }).collect()))
            }
            Json::Others => Err(self.error_at(&self.args, "a list in JSON holds strings only")),
            Json::Text => Ok(None),
        }
    }

    fn volumes(&self) -> Result<Vec<Word>> {
        match self.list()? {
            Some(words) if words.is_empty() => Err(self.error("needs an argument")),
            Some(words) => Ok(words),
            None => self.some_words(),
        }
    }

    fn command(&self, range: Range<usize>) -> Result<Command> {
        match words::json(&self.line.text[range.clone()]) {
            Json::Strings(words) => Ok(Command::Exec(words)),
            Json::Others => Err(self.error_at(&range, "a list in JSON holds strings only")),
            Json::Text => Ok(Command::Shell(self.word(range))),
        }
    }

    fn arguments(&self) -> Result<Vec<Pair>> {
        let words = words::quoted(&self.line.text, self.args.clone(), self.escape);
        if words.is_empty() {
            return Err(self.error("needs a name"));
        }
        words.into_iter().map(|range| self.pair(range)).collect()
    }

    /// `name` or `name=value`.
    fn pair(&self, range: Range<usize>) -> Result<Pair> {
        let text = &self.line.text[range.clone()];
        let (name, value) = match text.find('=') {
            Some(index) => (range.start..range.start + index, Some(range.start + index + 1..range.end)),
            None => (range.clone(), None),
        };
        if name.is_empty() {
            return Err(self.error_at(&range, format!("{text:?} has no name")));
        }
        Ok(Pair { name: self.word(name), value: value.map(|range| self.word(range)) })
    }

    fn pairs(&self) -> Result<Pairs> {
        let words = words::quoted(&self.line.text, self.args.clone(), self.escape);
        let Some(first) = words.first() else { return Err(self.error("needs a name and a value")) };
        if !self.line.text[first.clone()].contains('=') {
            // The old form: a name, and everything behind it is the value.
            let name = words::plain(&self.line.text, self.args.clone())[0].clone();
            let rest = &self.line.text[name.end..self.args.end];
            let start = name.end + rest.len() - rest.trim_start().len();
            if start == self.args.end {
                return Err(self.error("needs a name and a value").with_hint("write name=value"));
            }
            let pair = Pair { name: self.word(name), value: Some(self.word(start..self.args.end)) };
            return Ok(Pairs { pairs: vec![pair], old: true });
        }
        let mut pairs = Vec::with_capacity(words.len());
        for range in words {
            let pair = self.pair(range.clone())?;
            if pair.value.is_none() {
                let error = self.error_at(&range, format!("{:?} has no \"=\"", pair.name.text));
                return Err(error.with_hint("write name=value, and quotes around a value with spaces"));
            }
            pairs.push(pair);
        }
        Ok(Pairs { pairs, old: false })
    }

    fn run(&self, documents: &[HereDocument]) -> Result<Run> {
        self.check_flags(&["mount", "network", "security", "device"], &[])?;
        if self.args.is_empty() {
            return Err(self.error("needs a command"));
        }
        let run = Run {
            command: self.command(self.args.clone())?,
            mounts: self.values("mount"),
            network: self.value("network"),
            security: self.value("security"),
            devices: self.values("device"),
            documents: documents.to_vec(),
        };
        if matches!(&run.command, Command::Exec(words) if words.first().is_none_or(String::is_empty)) {
            return Err(self.error("needs a command").with_hint("the first word of a list is a program"));
        }
        for mount in &run.mounts {
            mount::check(self.file, mount)?;
        }
        Ok(run)
    }

    fn copy(&self, documents: &[HereDocument]) -> Result<Copy> {
        let add = self.name == "ADD";
        match add {
            true => self.check_flags(
                &["chown", "chmod", "exclude", "checksum"],
                &["link", "keep-git-dir", "unpack", "parents"],
            )?,
            false => self.check_flags(&["from", "chown", "chmod", "exclude"], &["link", "parents"])?,
        }
        let mut words = match self.list()? {
            Some(words) => words,
            None => {
                words::plain(&self.line.text, self.args.clone()).into_iter().map(|range| self.word(range)).collect()
            }
        };
        if words.len() < 2 {
            return Err(self.error("takes at least one source, and a target"));
        }
        let target = words.pop().expect("at least two words");
        if !documents.is_empty() && words::document(&target.text).is_some() {
            return Err(at(self.file, target.span, "a here-document cannot be the target"));
        }
        let mut left = documents.iter();
        let source = |word: Word| match words::document(&word.text).and_then(|_| left.next()) {
            Some(document) => CopySource::Document(document.clone()),
            None => CopySource::Path(word),
        };
        Ok(Copy {
            add,
            sources: words.into_iter().map(source).collect(),
            target,
            from: self.value("from"),
            chown: self.value("chown"),
            chmod: self.value("chmod"),
            exclude: self.values("exclude"),
            checksum: self.value("checksum"),
            link: self.switch("link").unwrap_or(false),
            parents: self.switch("parents").unwrap_or(false),
            keep_git_dir: self.switch("keep-git-dir").unwrap_or(false),
            unpack: self.switch("unpack"),
        })
    }

    fn health(&self) -> Result<HealthCheck> {
        self.check_flags(&["interval", "timeout", "start-period", "start-interval", "retries"], &[])?;
        let words = words::plain(&self.line.text, self.args.clone());
        let Some(first) = words.first() else { return Err(self.error("takes NONE, or CMD and a command")) };
        let command = match self.line.text[first.clone()].to_ascii_uppercase().as_str() {
            "NONE" if words.len() > 1 => return Err(self.error_at(&words[1], "HEALTHCHECK NONE takes nothing more")),
            "NONE" => None,
            "CMD" if words.len() < 2 => return Err(self.error_at(first, "HEALTHCHECK CMD needs a command")),
            "CMD" => match self.command(words[1].start..self.args.end)? {
                Command::Exec(words) if words.is_empty() => return Err(self.error("CMD needs a command")),
                command => Some(command),
            },
            other => {
                let error = self.error_at(first, format!("HEALTHCHECK takes NONE or CMD, not {other:?}"));
                return Err(error);
            }
        };
        Ok(HealthCheck {
            command,
            interval: self.value("interval"),
            timeout: self.value("timeout"),
            start_period: self.value("start-period"),
            start_interval: self.value("start-interval"),
            retries: self.value("retries"),
        })
    }

    fn trigger(&self, documents: &[HereDocument]) -> Result<InstructionKind> {
        if self.args.is_empty() {
            return Err(self.error("needs an instruction"));
        }
        let inner = Reader::new(self.file, self.line, self.args.start, self.escape)?;
        if matches!(inner.name.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            return Err(self.error_at(&inner.keyword, format!("ONBUILD cannot hold {}", inner.name)));
        }
        let kind = inner.kind(documents, true)?;
        let text = with_bodies(self.text(), documents);
        let instruction = Instruction {
            keyword: self.word(inner.keyword.clone()),
            span: self.line.span(self.args.start, self.args.end),
            comments: Vec::new(),
            text: text.clone(),
            kind,
        };
        Ok(InstructionKind::OnBuild(text, Box::new(instruction)))
    }
}
