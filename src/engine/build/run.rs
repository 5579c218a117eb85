//! A command of a build: its key, and its container.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::key::Inputs;
use super::state::State;
use super::{At, Solver};
use crate::base::error::CommandFailure;
use crate::base::{Digest, Error, Kind, Result};
use crate::engine::container::StepRun;
use crate::model::build::{BuildEvent, Command, Network, Run};
use crate::model::container::{ContainerOptions, NetworkMode};
use crate::model::image::{Image, ImageConfig, Layer};
use crate::model::log::{LogDriver, LogOptions, Stream};
use crate::sys::node;
use crate::sys::path::{Dir, EntryKind};

/// How much of each stream an error carries; the log has all of it.
const MOST_KEPT_BYTES: usize = 4 << 20;
/// How many lines of a failed command an error shows.
const SHOWN_LINES: usize = 40;
/// The host name of steps: the same on every machine.
const HOSTNAME: &str = "build";

impl Solver<'_> {
    /// What the command depends on besides what is below it.
    pub(super) fn run_inputs(&self, run: &Run, state: &State, inputs: &mut Inputs) -> Result<()> {
        inputs.add_json("the command", &arguments(run, state));
        inputs.add_json("the files of the command", &run.files);
        if let Command::Script(text) = &run.command {
            inputs.add("the script", text);
        }
        inputs.add_json("the environment", &state.variables(&run.env));
        inputs.add("the working directory", workdir(run, state));
        inputs.add("the user", run.user.as_ref().unwrap_or(&state.config.user));
        inputs.add_json("the network", &self.network(run));
        inputs.add_json("the rights", &run.insecure);
        inputs.add_json("the hosts", &(&run.extra_hosts, &self.options.extra_hosts));
        inputs.add("the epoch", state.epoch.as_secs().to_string());
        self.mount_inputs(run, state, inputs)
    }

    fn network(&self, run: &Run) -> Network {
        if run.network == Network::Default { self.options.network } else { run.network }
    }

    /// Runs it.
    pub(super) fn run(&self, at: At<'_>, run: &Run, state: &State) -> Result<Option<Layer>> {
        let mut run = run.clone();
        let args = arguments(&run, state);
        if let Command::Script(text) = &run.command
            && text.starts_with("#!")
        {
            run.files.push(script_file(text));
        }
        let prepared = self.prepare(&run, state)?;
        let options = ContainerOptions {
            command: Some(args),
            entrypoint: Some(Vec::new()),
            env: state.variables(&run.env).into_iter().chain(prepared.env.clone()).collect(),
            working_dir: Some(workdir(&run, state)),
            user: Some(run.user.clone().unwrap_or_else(|| state.config.user.clone())),
            hostname: Some(HOSTNAME.to_owned()),
            privileged: run.insecure,
            mounts: prepared.mounts.clone(),
            extra_hosts: hosts(run.extra_hosts.iter().chain(&self.options.extra_hosts))?,
            network_mode: match self.network(&run) {
                Network::Default => NetworkMode::default(),
                Network::None => NetworkMode::None,
                Network::Host => NetworkMode::Host,
            },
            log: LogOptions { driver: LogDriver::None, ..LogOptions::default() },
            ..ContainerOptions::default()
        };
        let begun = Instant::now();
        let deadline = run.timeout.map(|timeout| begun + timeout);
        let deadline = deadline.into_iter().chain(self.deadline).min();
        let mut seen = Seen::default();
        let secrets: Vec<&[u8]> = self.options.secrets.values().map(|secret| secret.0.as_slice()).collect();
        let mut output = |stream: Stream, bytes: &[u8]| {
            let bytes = masked(bytes, &secrets);
            seen.take(stream, &bytes);
            self.log(&bytes);
            (self.progress)(&BuildEvent::Output { stage: at.stage, step: at.index, stream, bytes: &bytes });
            Ok(())
        };
        let image = self.image_of(state);
        let step = StepRun {
            image: &image,
            options,
            secret_env: prepared.secret_env.clone(),
            output: &mut output,
            stdin: None,
            terminal: None,
            deadline,
            interrupt: &self.stop,
        };
        let targets: Vec<String> = prepared.mounts.iter().map(|mount| mount.target.clone()).collect();
        let ended = self.engine.container_step(step, |upper| {
            self.remove_stubs(upper, &targets, state)?;
            self.engine.layer_of_upper(upper, state.layers.last(), Some(state.epoch))
        });
        drop(prepared);
        let failure = |exit_code| CommandFailure {
            exit_code,
            stdout: String::from_utf8_lossy(&seen.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&seen.stderr).into_owned(),
        };
        match ended {
            Ok((0, layer)) => Ok(layer.flatten()),
            Ok((code, _)) => {
                let message = format!("the step {:?} ended with {code}", at.step.text);
                let error = Error::command_failed(message, failure(code));
                let said = if seen.stderr.is_empty() { &seen.stdout } else { &seen.stderr };
                match String::from_utf8_lossy(said).trim_end() {
                    "" => Err(error),
                    said => Err(error.with_source(Error::failed(last_lines(said)))),
                }
            }
            Err(error) if error.failure().is_some() => {
                let code = error.failure().map_or(1, |failure| failure.exit_code);
                let message = format!("the step {:?} cannot be run: {}", at.step.text, error.message());
                Err(Error::command_failed(message, failure(code)))
            }
            Err(error) if error.kind() == Kind::Timeout => {
                let message = format!("the step {:?} took longer than {:?}", at.step.text, begun.elapsed());
                Err(Error::timeout(message).with_hint("give it more time, or look at its output with build logs"))
            }
            Err(error) => Err(error),
        }
    }

    /// Layers and variables as an image; it is on no record.
    fn image_of(&self, state: &State) -> Image {
        let none = Digest::of(b"");
        Image {
            id: none.clone(),
            manifest: none,
            tags: Vec::new(),
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
            let parts: Vec<&[u8]> = target.split('/').filter(|part| !part.is_empty()).map(str::as_bytes).collect();
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

    pub(super) fn log(&self, bytes: &[u8]) {
        let mut log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(file) = log.as_mut() {
            // A log that cannot be written is no reason to fail a build: the error shows what was written anyway.
            let _ = file.write_all(bytes);
        }
    }
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

/// Output without the values of secrets.
fn masked(bytes: &[u8], secrets: &[&[u8]]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for secret in secrets {
        let secret = secret.trim_ascii_end();
        // One that is so short is no secret, and might be anywhere.
        if secret.len() < 4 {
            continue;
        }
        let mut at = 0;
        while let Some(found) = out[at..].windows(secret.len()).position(|window| window == secret) {
            let begin = at + found;
            out.splice(begin..begin + secret.len(), *b"***");
            at = begin + 3;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(masked(b"a hunter2 b hunter2", &[b"hunter2\n"]), b"a *** b ***");
        assert_eq!(masked(b"a b", &[b"a"]), b"a b");
    }
}
