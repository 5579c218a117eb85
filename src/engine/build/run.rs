//! A command of a build: its key, and its container.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::binds::is_part;
use super::key::{self, Inputs};
use super::mask::Mask;
use super::mounts::Prepared;
use super::state::State;
use super::turn::{Outcome, brief};
use super::{At, Progress, Solved, Solver};
use crate::base::error::CommandFailure;
use crate::base::{Digest, Error, Kind, Result, units};
use crate::engine::Engine;
use crate::engine::container::{StepRun, cdi};
use crate::model::build::{
    BuildEvent, BuildOptions, BuildReport, Command, Device, Graph, MountKind, Network, Origin, Run,
};
use crate::model::container::{ContainerOptions, NetworkMode};
use crate::model::image::{Image, ImageConfig, Layer};
use crate::model::limits::Limits;
use crate::model::log::{LogDriver, LogOptions, Stream};
use crate::model::network::Attachment;
use crate::store::assemble::{Body, Piece};
use crate::sys::node::{self, Time};
use crate::sys::path::{Dir, EntryKind};

/// How much of each stream an error carries; the log has all of it.
const MOST_KEPT_BYTES: usize = 4 << 20;
/// The kernel's limit of one argument, with its end (MAX_ARG_STRLEN, execve(2)).
const MOST_ARGUMENT_BYTES: usize = 128 << 10;
/// What to do about one that is longer.
const TOO_LONG: &str = "one argument has less than 128 KiB: put the text into a file with COPY <<EOF, or begin the \
                        here-document of RUN with #!/bin/sh";
/// How many lines of a failed command an error shows.
const SHOWN_LINES: usize = 40;
/// The longest output that is captured.
const MOST_CAPTURED_BYTES: usize = 1 << 20;
/// The name of the file that it is in.
const CAPTURED: &[u8] = b"output";
/// The host name of steps: the same on every machine.
const HOSTNAME: &str = "build";
/// Another one, to see what depends on it.
const OTHER_HOSTNAME: &str = "elsewhere";
/// Another umask than the usual one: what a command makes, its group may write as well.
pub(super) const OTHER_UMASK: u32 = 0o002;

impl Engine {
    /// Builds the target, whose last step captures the output of its command, and gives that.
    ///
    /// # Errors
    /// As [`Engine::build_solve`]; `invalid_argument` for an output that is too long.
    pub fn build_capture(
        &self,
        graph: &Graph,
        options: &BuildOptions,
        progress: &Progress<'_>,
    ) -> Result<(Vec<u8>, BuildReport)> {
        use std::io::Read as _;
        let _lease = self.store.lease()?;
        let Solved { state, report, .. } = self.solve(graph, options, progress)?;
        let layer = state.layers.last().ok_or_else(|| Error::failed("nothing was captured"))?;
        let folder = Dir::open(&self.store.layer_diff(&layer.chain_id))?;
        let mut output = Vec::new();
        folder.open_file(CAPTURED)?.take(MOST_CAPTURED_BYTES as u64).read_to_end(&mut output)?;
        Ok((output, report))
    }
}

impl Solver<'_> {
    /// A command, by its key: recalled, or run.
    pub(super) fn run_step(&self, at: At<'_>, run: &Run, state: &mut State) -> Result<Outcome> {
        let mut quick = self.inputs("run", state);
        self.run_inputs(run, state, false, &mut quick)?;
        let sees_parts = run.mounts.iter().any(|mount| match &mount.kind {
            MountKind::Bind { from, source, .. } => !matches!(from, Origin::Context(_)) && is_part(source),
            _ => false,
        });
        if !sees_parts {
            return self.keyed(at, &quick, state, |state| self.run(at, run, state));
        }
        // What another stage came to has a digest: its files are looked at when that is another one.
        if let Some(outcome) = self.recall(at, &quick, state)? {
            return Ok(outcome);
        }
        let mut exact = self.inputs("run with parts of other stages", state);
        self.run_inputs(run, state, true, &mut exact)?;
        let outcome = self.keyed(at, &exact, state, |state| self.run(at, run, state))?;
        // What is noted must be there.
        self.keep_recalled(at.stage)?;
        self.remember(at, state.layers.last().filter(|_| outcome.changed), &quick, outcome.key.as_ref())?;
        Ok(outcome)
    }

    /// What the command depends on besides what is below it.
    fn run_inputs(&self, run: &Run, state: &State, exact: bool, inputs: &mut Inputs) -> Result<()> {
        match &run.command {
            Command::Shell(line) => {
                inputs.add_json("the shell", &state.shell());
                inputs.add("the command", line);
            }
            _ => inputs.add_json("the command", &arguments(run, state)),
        }
        inputs.add_json("the files of the command", &run.files);
        if let Command::Script(text) = &run.command {
            inputs.add("the script", text);
        }
        // A proxy is how one gets somewhere, not where: as with Docker, another one changes no key.
        let declared = state.variables(&BTreeMap::new());
        let mut own = run.env.clone();
        own.retain(|name, _| declared.contains_key(name) || !is_proxy(name));
        for (name, value) in state.variables(&own) {
            inputs.add(format!("the variable {name}"), value);
        }
        inputs.add("the working directory", workdir(run, state));
        inputs.add("the user", run.user.as_ref().unwrap_or(&state.config.user));
        inputs.add_json("the network", &self.network(run));
        inputs.add_json("the rights", &run.insecure);
        inputs.add_json("the hosts", &(&run.extra_hosts, &self.options.extra_hosts));
        inputs.add(key::EPOCH, state.epoch.as_secs().to_string());
        if !self.options.ulimits.is_empty() || self.options.shm_size_bytes.is_some() {
            inputs.add_json("the limits", &(&self.options.ulimits, self.options.shm_size_bytes));
        }
        for device in &run.devices {
            let known = if cdi::is_name(&device.name) { cdi::identity(&device.name)? } else { None };
            inputs.add_json(format!("the device {:?}", device.name), &known);
        }
        if run.capture {
            inputs.add("what is kept of it", "its output");
        }
        self.service_inputs(run, inputs)?;
        self.mount_inputs(run, state, exact, inputs)
    }

    pub(super) fn network(&self, run: &Run) -> Network {
        if run.network == Network::Default { self.options.network } else { run.network }
    }

    /// Runs it, with its services beside it.
    pub(super) fn run(&self, at: At<'_>, run: &Run, state: &State) -> Result<Option<Layer>> {
        self.with_services(at, run, |networks, stop| self.run_on(at, run, state, networks, stop))
    }

    fn run_on(
        &self,
        at: At<'_>,
        run: &Run,
        state: &State,
        networks: &[Attachment],
        stop: &AtomicBool,
    ) -> Result<Option<Layer>> {
        let mut run = run.clone();
        if let Command::Script(text) = &run.command
            && text.starts_with("#!")
        {
            run.files.push(script_file(text));
        }
        let prepared = self.prepare(&run, state)?;
        let options = self.container_options(&run, state, &prepared, networks)?;
        let of_devices = cdi::targets(&options.devices)?;
        let begun = Instant::now();
        let deadline = run.timeout.map(|timeout| begun + timeout);
        let deadline = deadline.into_iter().chain(self.deadline).min();
        let mut seen = Seen::default();
        let secrets = || self.options.credentials.secrets.values().map(|secret| secret.0.as_slice());
        let mut masks = [Mask::new(secrets()), Mask::new(secrets())];
        let mut show = |stream: Stream, bytes: &[u8]| {
            if !bytes.is_empty() {
                seen.take(stream, bytes);
                self.log.output((at.stage, at.index), bytes);
                (self.progress)(&BuildEvent::Output { stage: at.stage, step: at.index, stream, bytes });
            }
        };
        let mut output = |stream: Stream, bytes: &[u8]| {
            show(stream, &masks[usize::from(!matches!(stream, Stream::Stdout))].take(bytes));
            Ok(())
        };
        let image = self.image_of(state);
        let elsewhere = self.debug.elsewhere;
        let step = StepRun {
            image: &image,
            options,
            secret_env: prepared.secret_env.clone(),
            lower: if elsewhere { Some(self.disordered(&chain_ids(state))?) } else { None },
            umask: elsewhere.then_some(OTHER_UMASK),
            overlays: &prepared.overlays,
            mount_order: &prepared.targets,
            take_failed: self.debug.shell.is_some(),
            output: &mut output,
            stdin: None,
            terminal: None,
            deadline,
            interrupt: stop,
        };
        let files = run.files.iter().map(|file| super::state::clean("/dev/pipes", &file.name));
        let targets: Vec<String> = prepared.targets.iter().cloned().chain(files).chain(of_devices).collect();
        let ended = self.engine.container_step(step, |upper| {
            if run.capture {
                return Ok(None);
            }
            self.remove_stubs(upper, &targets, state)?;
            self.engine.layer_of_upper(upper, state.layers.last(), Some(state.epoch))
        });
        drop(prepared);
        let [stdout, stderr] = masks.each_mut().map(Mask::end);
        show(Stream::Stdout, &stdout);
        show(Stream::Stderr, &stderr);
        let failure = |exit_code| CommandFailure {
            exit_code,
            stdout: String::from_utf8_lossy(&seen.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&seen.stderr).into_owned(),
        };
        match ended {
            Ok((0, _)) if run.capture => self.captured(&seen.stdout, state).map(Some),
            Ok((0, layer)) => Ok(layer.flatten()),
            Ok((code, changed)) => {
                self.shell_of_failed(&at.step.text, &run, state, changed.flatten(), networks)?;
                let message = format!("the step {:?} ended with {code}", brief(&at.step.text));
                let error = Error::command_failed(message, failure(code));
                let said = if seen.stderr.is_empty() { &seen.stdout } else { &seen.stderr };
                match String::from_utf8_lossy(said).trim_end() {
                    "" => Err(error),
                    said => Err(error.with_source(Error::failed(last_lines(said)))),
                }
            }
            Err(error) if error.failure().is_some() => {
                let code = error.failure().map_or(1, |failure| failure.exit_code);
                let message = format!("the step {:?} cannot be run: {}", brief(&at.step.text), error.message());
                let failed = Error::command_failed(message, failure(code));
                Err(match arguments(&run, state).iter().any(|argument| argument.len() >= MOST_ARGUMENT_BYTES) {
                    true => failed.with_hint(TOO_LONG),
                    false => failed,
                })
            }
            Err(error) if error.kind() == Kind::Timeout => {
                let time = units::short_duration(begun.elapsed());
                let message = format!("the step {:?} took longer than {time}", brief(&at.step.text));
                Err(Error::timeout(message).with_hint("give it more time, or look at its output with build logs"))
            }
            Err(error) => Err(error),
        }
    }

    /// What a command wrote, as a layer of one file.
    fn captured(&self, output: &[u8], state: &State) -> Result<Layer> {
        if output.len() > MOST_CAPTURED_BYTES {
            return Err(Error::invalid(format!("the command wrote more than {} MiB", MOST_CAPTURED_BYTES >> 20))
                .with_hint("write it to a file, and copy that"));
        }
        let piece = Piece {
            path: CAPTURED.to_vec(),
            body: Body::Inline(output.to_vec()),
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: Time { seconds: 0, nanos: 0 },
            xattrs: Vec::new(),
        };
        let parent = state.layers.last().map(|layer| layer.chain_id.clone());
        self.layer_of_pieces(&[piece], &[], parent, None)
    }

    /// The container that a command runs in: on these networks, or where the step says.
    pub(super) fn container_options(
        &self,
        run: &Run,
        state: &State,
        prepared: &Prepared,
        networks: &[Attachment],
    ) -> Result<ContainerOptions> {
        Ok(ContainerOptions {
            command: Some(arguments(run, state)),
            entrypoint: Some(Vec::new()),
            env: state.variables(&run.env).into_iter().chain(prepared.env.clone()).collect(),
            working_dir: Some(workdir(run, state)),
            user: Some(run.user.clone().unwrap_or_else(|| state.config.user.clone())),
            hostname: Some(if self.debug.elsewhere { OTHER_HOSTNAME } else { HOSTNAME }.to_owned()),
            limits: Limits {
                cpuset_cpus: self.one_processor().or_else(|| self.options.limits.cpuset_cpus.clone()),
                ..self.options.limits.clone()
            },
            privileged: run.insecure,
            devices: devices(run)?,
            mounts: prepared.mounts.clone(),
            ulimits: self.options.ulimits.clone(),
            shm_size_bytes: self.options.shm_size_bytes,
            cgroup_parent: self.options.cgroup_parent.clone(),
            extra_hosts: hosts(run.extra_hosts.iter().chain(&self.options.extra_hosts))?,
            networks: networks.to_vec(),
            network_mode: match self.network(run) {
                _ if !networks.is_empty() => NetworkMode::Bridge,
                Network::Default => NetworkMode::default(),
                Network::None => NetworkMode::None,
                Network::Host => NetworkMode::Host,
            },
            log: LogOptions { driver: LogDriver::None, ..LogOptions::default() },
            ..ContainerOptions::default()
        })
    }

    /// A processor that there surely is, where a step is to see fewer than usually.
    fn one_processor(&self) -> Option<String> {
        let own = std::thread::available_parallelism().map_or(1, usize::from);
        (self.debug.elsewhere && own > 1).then(|| "0".to_owned())
    }

    /// Layers and variables as an image; it is on no record.
    pub(super) fn image_of(&self, state: &State) -> Image {
        let none = Digest::of(b"");
        Image {
            id: none.clone(),
            manifest: none,
            tags: Vec::new(),
            digests: Vec::new(),
            layers: state.layers.clone(),
            created: None,
            config: ImageConfig::default(),
            os: state.os.clone(),
            architecture: state.architecture.clone(),
            variant: state.variant.clone(),
            author: None,
            history: Vec::new(),
        }
    }

    /// Takes away the empty files and folders that were made to mount on.
    fn remove_stubs(&self, upper: &Path, targets: &[String], state: &State) -> Result<()> {
        let below = self.engine.build_view(&chain_ids(state))?;
        for target in targets {
            // The folders on the way may have been links: what was made is where they lead.
            let place = match &below {
                Some(below) => super::walk::resolve(below, target.as_bytes(), true)?.path,
                None => target.trim_matches('/').as_bytes().to_vec(),
            };
            let parts: Vec<&[u8]> = place.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
            for depth in (1..=parts.len()).rev() {
                let path = parts[..depth].join(&b'/');
                let known = match &below {
                    Some(below) => super::walk::resolve(below, &path, false)?.facts.is_some(),
                    None => false,
                };
                if known || !remove_empty(upper, &parts[..depth])? {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The devices of a command: of those that need not be there, those that are.
fn devices(run: &Run) -> Result<Vec<String>> {
    let mut devices = Vec::new();
    for Device { name, required } in &run.devices {
        if *required || !cdi::is_name(name) || cdi::identity(name)?.is_some() {
            devices.push(name.clone());
        }
    }
    Ok(devices)
}

/// The variables that Docker predefines.
fn is_proxy(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.strip_suffix("_proxy").is_some_and(|kind| matches!(kind, "http" | "https" | "ftp" | "no" | "all"))
}

pub(super) fn chain_ids(state: &State) -> Vec<Digest> {
    state.layers.iter().map(|layer| layer.chain_id.clone()).collect()
}

fn remove_empty(upper: &Path, parts: &[&[u8]]) -> Result<bool> {
    let Some((name, folders)) = parts.split_last() else { return Ok(false) };
    let mut dir = Dir::open(upper)?;
    for folder in folders {
        match dir.child(folder) {
            Ok(child) => dir = child,
            // The command removed it, or never had it.
            Err(_) => return Ok(false),
        }
    }
    let Ok(facts) = node::facts_at(&dir, name) else { return Ok(false) };
    let empty = match facts.kind {
        EntryKind::Dir => dir.child(name)?.entries()?.is_empty(),
        EntryKind::File => facts.size_bytes == 0,
        _ => false,
    };
    if empty {
        dir.remove(name)?;
    }
    Ok(empty)
}

fn arguments(run: &Run, state: &State) -> Vec<String> {
    match &run.command {
        Command::Exec(words) => words.clone(),
        Command::Script(text) if text.starts_with("#!") => vec![format!("/dev/pipes/{SCRIPT}")],
        Command::Shell(line) | Command::Script(line) => state.shell().into_iter().chain([line.clone()]).collect(),
    }
}

/// The name of a script that is executed itself.
const SCRIPT: &str = "script";

fn script_file(text: &str) -> crate::model::build::Inline {
    crate::model::build::Inline { name: SCRIPT.to_owned(), data: text.as_bytes().to_vec(), mode: Some(0o755) }
}

fn workdir(run: &Run, state: &State) -> String {
    state.path(run.workdir.as_deref().unwrap_or("."))
}

fn hosts<'a>(lines: impl Iterator<Item = &'a String>) -> Result<Vec<(String, String)>> {
    lines
        .map(|line| {
            let (name, address) = line
                .split_once([':', '='])
                .ok_or_else(|| Error::invalid(format!("{line:?} is not a host")).with_hint("write name:address"))?;
            Ok((name.to_owned(), address.to_owned()))
        })
        .collect()
}

/// The end of what a command wrote: the whole is in the log.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// What a command wrote, up to a limit: the end of it is what tells.
#[derive(Default)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Seen {
    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        let into = if matches!(stream, Stream::Stdout) { &mut self.stdout } else { &mut self.stderr };
        into.extend_from_slice(bytes);
        if into.len() > 2 * MOST_KEPT_BYTES {
            into.drain(..into.len() - MOST_KEPT_BYTES);
        }
    }
}
