//! A stage's instructions, made steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::{Error, Result, units};
use crate::docker::devices;
use crate::docker::dockerfile::ast::{self, Dockerfile, Instruction, InstructionKind, Pair, Word};
use crate::docker::dockerfile::translate::variables::{Globals, Variables};
use crate::docker::dockerfile::translate::{Options, PROXIES, stages, value};
use crate::docker::dockerfile::{at, expand, mount, parse_trigger, sources, words};
use crate::model::build::{
    Action, Base, CacheMount, Change, Command, Context, Copy, Device, Inline, Mount, MountKind, Network, Origin,
    Position, Run, Sharing, Source, Stage, Step,
};
use crate::model::health::{HealthCheck, MIN_TIME};
use crate::model::image::ImageConfig;

/// The mode of a secret and of an agent's socket.
const SECRET_MODE: u32 = 0o400;
const SOCKET_MODE: u32 = 0o600;

/// The search path of an image that says none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage leaves for those on top of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    variables: Variables,
    /// Instructions that wait for the next stage, and where they stand.
    triggers: Vec<(String, Option<Position>)>,
}

impl State {
    /// What an image says, or what is likely when nobody knows.
    pub(crate) fn of_image(config: Option<&ImageConfig>) -> State {
        let Some(config) = config else {
            return State { variables: Variables::of_image(&[format!("PATH={DEFAULT_PATH}")]), triggers: Vec::new() };
        };
        let triggers = config.on_build.iter().map(|text| (text.clone(), None)).collect();
        State { variables: Variables::of_image(&config.env), triggers }
    }
}

/// The walk through one stage.
pub(crate) struct Walk<'a> {
    pub(crate) file: &'a Dockerfile,
    /// What messages call the text that is read: the file, or a trigger of its base.
    pub(crate) shown: String,
    pub(crate) options: &'a Options,
    pub(crate) globals: &'a Globals,
    pub(crate) plan: &'a stages::Plan,
    /// Its index in the file.
    pub(crate) stage: usize,
    pub(crate) state: State,
    pub(crate) used: &'a mut BTreeSet<String>,
}

impl Walk<'_> {
    /// The stage of the graph.
    ///
    /// # Errors
    /// `invalid_argument` with the place.
    pub(crate) fn stage(&mut self, contexts: &[Context]) -> Result<Stage> {
        let written = &self.file.stages[self.stage];
        let mut steps = Vec::new();
        let base = match &self.plan.bases[self.stage] {
            stages::From::Scratch => Base::Scratch,
            stages::From::Stage(stage) => Base::Stage(self.plan.place(*stage)),
            stages::From::Image(reference) => Base::Image(reference.clone()),
            stages::From::Folder(name) => {
                let index = contexts.iter().position(|context| &context.name == name).unwrap_or(0);
                let from = Origin::Context(index);
                let all = Source::Path { from, pattern: ".".to_owned(), optional: false, unpack: false };
                let copy = Copy { sources: vec![all], target: "/".to_owned(), ..Copy::default() };
                let position = Some(self.position(&written.from));
                steps.push(Step { action: Action::Copy(Box::new(copy)), text: written.from.text.clone(), position });
                Base::Scratch
            }
        };
        let triggers = std::mem::take(&mut self.state.triggers);
        if !triggers.is_empty() {
            steps.push(config(Change::ClearOnBuild, "ONBUILD".to_owned(), Some(self.position(&written.from))));
        }
        for (text, position) in triggers {
            self.shown = stages::trigger_name(&written.base.text);
            let instruction = parse_trigger(&self.shown, &text)?;
            let position = position.or_else(|| Some(self.position(&written.from)));
            self.instruction(&instruction, position, &mut steps)?;
        }
        self.shown.clone_from(&self.file.file);
        for instruction in &written.instructions {
            self.instruction(instruction, Some(self.position(instruction)), &mut steps)?;
        }
        Ok(Stage {
            name: written.name.as_ref().map(|name| name.text.to_ascii_lowercase()),
            base,
            position: Some(self.position(&written.from)),
            platform: self.plan.platforms[self.stage].clone(),
            steps,
        })
    }

    fn position(&self, instruction: &Instruction) -> Position {
        let span = instruction.span;
        // The end of a here-document is behind its last line.
        Position { file: self.file.file.clone(), line: span.line, end_line: span.end_line.max(span.line) }
    }

    fn instruction(
        &mut self,
        instruction: &Instruction,
        position: Option<Position>,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        let text = instruction.text.clone();
        let action = match &instruction.kind {
            InstructionKind::Arg(pairs) => {
                for pair in pairs {
                    if let Some(change) = self.argument(pair)? {
                        steps.push(config(change, text.clone(), position.clone()));
                    }
                }
                return Ok(());
            }
            InstructionKind::Run(run) => Action::Run(Box::new(self.run(run)?)),
            InstructionKind::Copy(copy) => Action::Copy(Box::new(self.copy(copy)?)),
            InstructionKind::OnBuild(trigger, _) => {
                self.state.triggers.push((trigger.clone(), position.clone()));
                Action::Config(Box::new(Change::OnBuild(trigger.clone())))
            }
            other => Action::Config(Box::new(self.change(other)?)),
        };
        steps.push(Step { action, text, position });
        Ok(())
    }

    fn expand(&self, word: &Word) -> Result<String> {
        value(&self.shown, self.file.escape, word, &|name| self.state.variables.get(name))
    }

    fn expand_all(&self, words: &[Word]) -> Result<Vec<String>> {
        words.iter().map(|word| self.expand(word)).collect()
    }

    fn optional(&self, word: &Option<Word>) -> Result<Option<String>> {
        let text = word.as_ref().map(|word| self.expand(word)).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    fn error(&self, word: &Word, message: impl std::fmt::Display) -> Error {
        at(&self.shown, word.span, message)
    }

    fn argument(&mut self, pair: &Pair) -> Result<Option<Change>> {
        let name = self.expand(&pair.name)?;
        self.used.insert(name.clone());
        let value = match self.options.arguments.get(&name) {
            Some(value) => Some(value.clone()),
            None => match &pair.value {
                Some(value) => Some(self.expand(value)?),
                None => self.globals.get(&name),
            },
        };
        let Some(value) = value else { return Ok(None) };
        self.state.variables.set_argument(name.clone(), value.clone());
        Ok(Some(Change::Arg(name, value)))
    }

    /// An instruction that changes what the image says of itself.
    fn change(&mut self, kind: &InstructionKind) -> Result<Change> {
        Ok(match kind {
            InstructionKind::Env(pairs) => {
                let pairs = self.pairs(&pairs.pairs)?;
                // All of one instruction see what was before it.
                for (name, value) in &pairs {
                    self.state.variables.set_env(name.clone(), value.clone());
                }
                Change::Env(pairs)
            }
            InstructionKind::Label(pairs) => Change::Label(BTreeMap::from_iter(self.pairs(&pairs.pairs)?)),
            InstructionKind::Cmd(command) => {
                let (words, shell) = command_words(command);
                Change::Cmd { words, shell }
            }
            InstructionKind::Entrypoint(command) => {
                let (words, shell) = command_words(command);
                Change::Entrypoint { words, shell }
            }
            InstructionKind::Shell(words) => Change::Shell(words.clone()),
            InstructionKind::Expose(ports) => {
                let mut all = Vec::new();
                for word in ports {
                    let lookup = |name: &str| self.state.variables.get(name);
                    let expanded = expand::words(&word.text, self.file.escape, &lookup);
                    let words = expanded.map_err(|why| self.error(word, why))?.words;
                    for port in words {
                        let port = exposed(&port.to_ascii_lowercase()).map_err(|why| self.error(word, why))?;
                        all.push(port);
                    }
                }
                Change::Expose(all)
            }
            InstructionKind::Volume(words) => {
                let targets = self.expand_all(words)?;
                if let Some(index) = targets.iter().position(String::is_empty) {
                    return Err(self.error(&words[index], "VOLUME has an empty target"));
                }
                Change::Volume(targets)
            }
            InstructionKind::User(word) => Change::User(self.expand(word)?),
            InstructionKind::Workdir(word) => match self.expand(word)? {
                path if path.is_empty() => return Err(self.error(word, "WORKDIR comes to no path")),
                path => Change::Workdir(path),
            },
            InstructionKind::StopSignal(word) => {
                let signal = self.expand(word)?;
                crate::base::signal::parse(&signal).map_err(|error| self.error(word, error))?;
                Change::StopSignal(signal)
            }
            InstructionKind::Maintainer(word) => Change::Author(word.text.clone()),
            InstructionKind::HealthCheck(check) => Change::HealthCheck(self.health(check)?),
            InstructionKind::From
            | InstructionKind::Arg(_)
            | InstructionKind::Run(_)
            | InstructionKind::Copy(_)
            | InstructionKind::OnBuild(..) => unreachable!("they are no changes of the config alone"),
        })
    }

    fn pairs(&self, pairs: &[Pair]) -> Result<Vec<(String, String)>> {
        let mut all = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let name = self.expand(&pair.name)?;
            if name.is_empty() {
                return Err(self.error(&pair.name, format!("{:?} comes to no name", pair.name.text)));
            }
            let value = pair.value.as_ref().map(|value| self.expand(value)).transpose()?;
            all.push((name, value.unwrap_or_default()));
        }
        Ok(all)
    }

    fn health(&self, check: &ast::HealthCheck) -> Result<HealthCheck> {
        let Some(command) = &check.command else { return Ok(HealthCheck::none()) };
        let (words, shell) = command_words(command);
        let kind = if shell { "CMD-SHELL" } else { "CMD" };
        let time = |word: &Option<Word>| -> Result<Option<Duration>> {
            let Some(word) = word else { return Ok(None) };
            let time = match word.text.as_str() {
                "" | "0" => Duration::ZERO,
                text if text.parse::<f64>().is_ok() => {
                    return Err(self
                        .error(word, format!("the time {text:?} has no unit"))
                        .with_hint(format!("write {text}s for seconds")));
                }
                text => units::parse_duration(text).map_err(|error| self.error(word, error))?,
            };
            match time {
                Duration::ZERO => Ok(None),
                short if short < MIN_TIME => Err(self.error(word, "the shortest time is 1ms")),
                time => Ok(Some(time)),
            }
        };
        let retries = match &check.retries {
            None => None,
            Some(word) => {
                let number = word.text.parse::<u32>().ok().filter(|number| i32::try_from(*number).is_ok());
                Some(number.ok_or_else(|| self.error(word, format!("--retries is a number, not {:?}", word.text)))?)
            }
        };
        Ok(HealthCheck {
            test: std::iter::once(kind.to_owned()).chain(words).collect(),
            interval: time(&check.interval)?,
            timeout: time(&check.timeout)?,
            start_period: time(&check.start_period)?,
            start_interval: time(&check.start_interval)?,
            retries: retries.filter(|retries| *retries > 0),
        })
    }

    fn run(&self, run: &ast::Run) -> Result<Run> {
        let command = match &run.command {
            ast::Command::Exec(words) => Command::Exec(words.clone()),
            ast::Command::Shell(line) => match run.documents.as_slice() {
                [] => Command::Shell(line.text.clone()),
                [one] if words::document(line.text.trim()).is_some() => match one.content() {
                    script if script.starts_with("#!") => Command::Script(script),
                    lines => Command::Shell(lines),
                },
                several => {
                    let mut full = line.text.clone();
                    for document in several {
                        full.extend(["\n", &document.body, &document.name]);
                    }
                    Command::Shell(full)
                }
            },
        };
        let network = match self.optional(&run.network)?.as_deref() {
            None | Some("default") => Network::Default,
            Some("none") => Network::None,
            Some("host") => Network::Host,
            Some(other) => {
                let word = run.network.as_ref().expect("it has a value");
                let error = self.error(word, format!("there is no network {other:?} for a step"));
                return Err(error.with_hint("it is default, none or host"));
            }
        };
        let insecure = match self.optional(&run.security)?.as_deref() {
            None | Some("sandbox") => false,
            Some("insecure") => true,
            Some(other) => {
                let word = run.security.as_ref().expect("it has a value");
                let error = self.error(word, format!("--security cannot be {other:?}"));
                return Err(error.with_hint("it is sandbox or insecure"));
            }
        };
        let devices = run.devices.iter().map(|word| self.device(word)).collect::<Result<Vec<Device>>>()?;
        let mounts = run.mounts.iter().map(|word| self.mount(word)).collect::<Result<Vec<Mount>>>()?;
        // Proxies are there without being declared; what is declared is an argument already.
        let given = PROXIES.iter().filter(|name| self.state.variables.get(name).is_none());
        let env = given.filter_map(|name| Some(((*name).to_owned(), self.options.arguments.get(*name)?.clone())));
        Ok(Run { command, mounts, network, insecure, devices, env: env.collect(), ..Run::default() })
    }

    /// `--device=NAME[,required]`, or `name=NAME,required=true`: the name that a vendor gives, `vendor.com/class=name`.
    fn device(&self, word: &Word) -> Result<Device> {
        let text = self.expand(word)?;
        let (mut name, mut required) = (None, false);
        for field in text.split(',') {
            match field.split_once('=') {
                None if field == "required" => required = true,
                Some(("required", value)) => {
                    required = match value {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => return Err(self.error(word, format!("required is true or false, not {value:?}"))),
                    };
                }
                Some(("name", value)) if name.is_none() => name = Some(value.to_owned()),
                _ if name.is_none() => name = Some(field.to_owned()),
                _ => return Err(self.error(word, format!("--device has no field {field:?}"))),
            }
        }
        let name = name.unwrap_or_default();
        match name.starts_with('/') || devices::device(&name).is_err() {
            true => Err(self
                .error(word, format!("{name:?} is no device"))
                .with_hint("write the name that its vendor gives it: vendor.com/class=name")),
            false => Ok(Device { name, required }),
        }
    }

    fn mount(&self, word: &Word) -> Result<Mount> {
        let lookup = |name: &str| self.state.variables.get(name);
        let mut expand = |text: &str| {
            expand::word(text, self.file.escape, &lookup).map(|(text, _)| text).map_err(|why| self.error(word, why))
        };
        let fields = mount::parse(&self.shown, word, &mut expand)?;
        let from = fields.from.as_deref().map(|from| self.origin(word, from)).transpose()?;
        let source = fields.source.clone().unwrap_or_else(|| "/".to_owned());
        let (uid, gid) = (fields.uid.unwrap_or(0), fields.gid.unwrap_or(0));
        let target = fields.target.clone().unwrap_or_default();
        let kind = match fields.kind.as_str() {
            "bind" => MountKind::Bind {
                from: from.unwrap_or(Origin::Context(0)),
                source,
                writable: fields.read_only == Some(false),
            },
            "cache" => MountKind::Cache(CacheMount {
                id: fields.id.unwrap_or_default(),
                sharing: match fields.sharing.as_deref() {
                    Some("private") => Sharing::Private,
                    Some("locked") => Sharing::Locked,
                    _ => Sharing::Shared,
                },
                read_only: fields.read_only.unwrap_or(false),
                from,
                source,
                mode: fields.mode.unwrap_or(0o755),
                uid,
                gid,
            }),
            "secret" => {
                let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
                let id = fields.id.or(fields.source).unwrap_or_else(|| last(&target));
                let (env, required, mode) = (fields.env, fields.required, fields.mode.unwrap_or(SECRET_MODE));
                MountKind::Secret { id, env, required, mode, uid, gid }
            }
            "ssh" => {
                let id = fields.id.unwrap_or_else(|| "default".to_owned());
                MountKind::Ssh { id, required: fields.required, mode: fields.mode.unwrap_or(SOCKET_MODE), uid, gid }
            }
            _ => MountKind::Tmpfs { size_bytes: fields.size_bytes },
        };
        Ok(Mount { target, kind })
    }

    /// What a name behind `from` means.
    fn origin(&self, word: &Word, from: &str) -> Result<Origin> {
        self.plan
            .origin(self.stage, from, self.options)
            .ok_or_else(|| self.error(word, format!("the stage {from:?} cannot be used here")))
    }

    fn copy(&self, copy: &ast::Copy) -> Result<Copy> {
        let from = match &copy.from {
            None => None,
            Some(word) => {
                let text = value(&self.shown, self.file.escape, word, &|name| self.globals.get(name))?;
                Some(self.origin(word, &text)?)
            }
        };
        let checksum = self.optional(&copy.checksum)?;
        let target = self.expand(&copy.target)?;
        if target.is_empty() {
            return Err(self.error(&copy.target, "the target comes to no path"));
        }
        let mut all = Vec::with_capacity(copy.sources.len());
        for source in &copy.sources {
            all.push(match source {
                ast::CopySource::Document(document) => {
                    let lookup = |name: &str| self.state.variables.get(name);
                    let content = document.content();
                    let data = match document.expand {
                        false => content,
                        true => {
                            expand::document(&content, self.file.escape, &lookup)
                                .map_err(|why| at(&self.shown, document.span, why))?
                                .0
                        }
                    };
                    Source::Inline(Inline { name: document.name.clone(), data: data.into_bytes(), mode: None })
                }
                ast::CopySource::Path(word) => self.path(copy, word, &from, &checksum)?,
            });
        }
        if let Some(word) = copy.checksum.as_ref().filter(|_| copy.sources.len() > 1) {
            return Err(self.error(word, "--checksum is for one source"));
        }
        // A path of several names is one source that the engine counts.
        if all.len() > 1 && !target.ends_with('/') && !matches!(target.as_str(), "." | "..") {
            let error = self.error(&copy.target, format!("several sources need a folder, and {target:?} may be none"));
            return Err(error.with_hint(format!("write {target}/")));
        }
        Ok(Copy {
            sources: all,
            target,
            chown: self.optional(&copy.chown)?,
            chmod: self.optional(&copy.chmod)?,
            exclude: self.expand_all(&copy.exclude)?,
            parents: copy.parents,
            link: copy.link,
        })
    }

    fn path(&self, copy: &ast::Copy, word: &Word, from: &Option<Origin>, checksum: &Option<String>) -> Result<Source> {
        let pattern = self.expand(word)?;
        if pattern.is_empty() {
            return Err(self.error(word, format!("{:?} comes to no path", word.text)));
        }
        if copy.add && sources::is_remote(&pattern) {
            return sources::remote(&pattern, checksum.clone(), copy.keep_git_dir, copy.unpack == Some(true))
                .map_err(|error| self.error(copy.checksum.as_ref().unwrap_or(word), error));
        }
        if let Some(word) = &copy.checksum {
            return Err(self.error(word, "--checksum is for what ADD fetches"));
        }
        let from = from.clone().unwrap_or(Origin::Context(0));
        Ok(Source::Path { from, pattern, optional: false, unpack: copy.add && copy.unpack != Some(false) })
    }
}

/// A step that changes the config.
fn config(change: Change, text: String, position: Option<Position>) -> Step {
    Step { action: Action::Config(Box::new(change)), text, position }
}

/// The words of a command, and whether it is one line for the shell.
fn command_words(command: &ast::Command) -> (Vec<String>, bool) {
    match command {
        ast::Command::Exec(words) => (words.clone(), false),
        ast::Command::Shell(line) if line.text.is_empty() => (Vec::new(), false),
        ast::Command::Shell(line) => (vec![line.text.clone()], true),
    }
}

/// The port of the container: Docker takes `[ADDRESS:]HOST:PORT` as well, of which the rest means nothing.
fn exposed(text: &str) -> Result<String, String> {
    let Some((host, port)) = text.rsplit_once(':') else { return check_port(text).map(|()| text.to_owned()) };
    let (address, outside) = host.rsplit_once(':').unwrap_or(("", host));
    let wrong = || format!("{text:?} is no port");
    let address = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(wrong());
    }
    let count = |range: &str| -> Option<u16> {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        high.parse::<u16>().ok()?.checked_sub(low.parse::<u16>().ok()?)
    };
    check_port(port).map_err(|_| wrong())?;
    let inside = count(port.split('/').next().unwrap_or_default());
    // A range outside is for a single port as well, or as many.
    if !outside.is_empty() && count(outside).is_none_or(|outside| inside != Some(0) && inside != Some(outside)) {
        return Err(wrong());
    }
    Ok(port.to_owned())
}

/// `80`, `80/udp`, `8000-8010/tcp`.
pub(crate) fn check_port(text: &str) -> Result<(), String> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (number(low), number(high)) {
        (Some(low), Some(high)) if low <= high && matches!(protocol, "tcp" | "udp" | "sctp") => Ok(()),
        _ => Err(format!("{text:?} is no port")),
    }
}
