//! What a stage has come to at some step: layers, config, arguments; and how changes of the config change it. Pure.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::base::{Error, Result, Timestamp, signal};
use crate::engine::image::DEFAULT_PATH;
use crate::model::build::Change;
use crate::model::image::{History, Image, ImageConfig, Layer};

/// The shell of an image that names none.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Whether a change of the config makes sense, whatever it is a change of.
///
/// # Errors
/// As when it is done.
pub fn check(change: &Change) -> Result<()> {
    State::scratch(None).apply(change)
}

/// A stage so far.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) layers: Vec<Layer>,
    pub(super) config: ImageConfig,
    /// Variables for commands alone.
    pub(super) args: Vec<(String, String)>,
    pub(super) history: Vec<History>,
    pub(super) author: Option<String>,
    pub(super) os: String,
    pub(super) architecture: String,
    pub(super) variant: Option<String>,
    /// No file that a step makes, and no date of the image, is later.
    pub(super) epoch: Timestamp,
    /// The user gave the epoch: copied files are held to it, too.
    pub(super) clamp_copies: bool,
    /// The command was set in this build, and so outlives a new entrypoint.
    own_cmd: bool,
}

impl State {
    /// Nothing at all, for this machine.
    pub(super) fn scratch(epoch: Option<Timestamp>) -> State {
        let (architecture, variant) = crate::store::image::config::host_architecture();
        State {
            layers: Vec::new(),
            // As Docker has it: who puts a program there wants it found.
            config: ImageConfig { env: vec![format!("PATH={DEFAULT_PATH}")], ..ImageConfig::default() },
            args: Vec::new(),
            history: Vec::new(),
            author: None,
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            epoch: epoch.unwrap_or(Timestamp::from_nanos(0)),
            clamp_copies: epoch.is_some(),
            own_cmd: false,
        }
    }

    /// An image to begin with.
    pub(super) fn of_image(image: &Image, epoch: Option<Timestamp>) -> State {
        let created = image.created.unwrap_or(Timestamp::from_nanos(0));
        State {
            layers: image.layers.clone(),
            config: without_triggers(&image.config),
            history: image.history.clone(),
            author: image.author.clone(),
            os: image.os.clone(),
            architecture: image.architecture.clone(),
            variant: image.variant.clone(),
            // To the second, as layers keep times.
            epoch: epoch.unwrap_or(Timestamp::from_nanos(created.as_secs() * 1_000_000_000)),
            ..State::scratch(epoch)
        }
    }

    /// What a stage on top of it takes over: its arguments as well.
    pub(super) fn as_base(&self) -> State {
        State { own_cmd: false, config: without_triggers(&self.config), ..self.clone() }
    }

    /// The shell of string commands.
    pub(super) fn shell(&self) -> Vec<String> {
        match self.config.shell.is_empty() {
            true => DEFAULT_SHELL.map(str::to_owned).to_vec(),
            false => self.config.shell.clone(),
        }
    }

    /// A path below the working directory, clean.
    pub(super) fn path(&self, path: &str) -> String {
        clean(&self.config.working_dir, path)
    }

    /// The variables of a command: arguments, then the image's, then its own; each name once, sorted.
    pub(super) fn variables(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let pairs = self.config.env.iter().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
        let image = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let own = own.iter().map(|(name, value)| (name.clone(), value.clone()));
        self.args.iter().cloned().chain(image).chain(own).collect()
    }

    /// Notes a step in the image's history.
    pub(super) fn note(&mut self, text: &str, empty_layer: bool) {
        self.history.push(History {
            created: Some(self.epoch),
            created_by: text.to_owned(),
            empty_layer,
            ..History::default()
        });
    }

    /// Applies a change.
    ///
    /// # Errors
    /// `invalid_argument` for a name, a port or a signal that is none.
    pub(super) fn apply(&mut self, change: &Change) -> Result<()> {
        let config = &mut self.config;
        match change {
            Change::Env(pairs) => {
                for (name, value) in pairs {
                    check_name(name)?;
                    let start = format!("{name}=");
                    let entry = format!("{name}={value}");
                    match config.env.iter_mut().find(|old| old.starts_with(&start)) {
                        Some(old) => *old = entry,
                        None => config.env.push(entry),
                    }
                }
            }
            Change::Arg(name, value) => {
                check_name(name)?;
                self.args.retain(|(known, _)| known != name);
                self.args.push((name.clone(), value.clone()));
            }
            Change::Label(labels) => config.labels.extend(labels.clone()),
            Change::Cmd { words, shell } => {
                self.config.cmd = self.words(words, *shell);
                self.own_cmd = true;
            }
            Change::Entrypoint { words, shell } => {
                self.config.entrypoint = self.words(words, *shell);
                if !self.own_cmd {
                    self.config.cmd.clear();
                }
            }
            Change::Workdir(path) => config.working_dir = clean(&config.working_dir, path),
            Change::User(user) => config.user.clone_from(user),
            Change::Expose(ports) => {
                for text in ports {
                    let (ports, protocol) = ports_of(text)?;
                    ports.for_each(|port| add(&mut config.exposed_ports, format!("{port}/{protocol}")));
                }
            }
            Change::Volume(targets) => {
                for target in targets {
                    if target.trim().is_empty() {
                        return Err(Error::invalid("a volume needs a path"));
                    }
                    add(&mut config.volumes, target.clone());
                }
            }
            Change::Shell(words) => config.shell.clone_from(words),
            Change::StopSignal(signal) => {
                signal::parse(signal)?;
                config.stop_signal = Some(signal.clone());
            }
            Change::OnBuild(text) => config.on_build.push(text.clone()),
            Change::ClearOnBuild => config.on_build.clear(),
            Change::HealthCheck(check) => config.healthcheck = Some(check.clone()),
            Change::Author(author) => self.author = Some(author.clone()),
        }
        Ok(())
    }

    fn words(&self, words: &[String], shell: bool) -> Vec<String> {
        match shell {
            true => self.shell().into_iter().chain([words.join(" ")]).collect(),
            false => words.to_vec(),
        }
    }
}

/// What a base says for builds on top of it is for the next build alone: it is done, or left, but not handed on.
fn without_triggers(config: &ImageConfig) -> ImageConfig {
    ImageConfig { on_build: Vec::new(), ..config.clone() }
}

/// An absolute path without `.`, `..` and doubled slashes; a relative one is below `base`.
pub(super) fn clean(base: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Error::invalid(format!("{name:?} is not a name for an environment variable")));
    }
    Ok(())
}

fn add(list: &mut Vec<String>, item: String) {
    if let Err(at) = list.binary_search(&item) {
        list.insert(at, item);
    }
}

/// The ports of a text, each on its own as Docker notes them, and their protocol.
fn ports_of(text: &str) -> Result<(RangeInclusive<u16>, String)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let number = |port: &str| port.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last && matches!(protocol.as_str(), "tcp" | "udp" | "sctp") => {
            Ok((first..=last, protocol))
        }
        _ => Err(Error::invalid(format!("{text:?} is not a port")).with_hint("write 80, 80/tcp or 8000-8010/udp")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cmd(words: &[&str], shell: bool) -> Change {
        Change::Cmd { words: words.iter().map(|word| (*word).to_owned()).collect(), shell }
    }

    #[test]
    fn an_entrypoint_drops_the_commands_of_the_base_alone() {
        let mut state = State::scratch(None);
        state.config.cmd = vec!["of-the-base".to_owned()];
        let entrypoint = Change::Entrypoint { words: vec!["run me".to_owned()], shell: true };
        state.apply(&entrypoint).unwrap();
        assert_eq!(state.config.entrypoint, ["/bin/sh", "-c", "run me"]);
        assert!(state.config.cmd.is_empty());
        state.apply(&cmd(&["a"], false)).unwrap();
        state.apply(&entrypoint).unwrap();
        assert_eq!(state.config.cmd, ["a"]);
    }

    #[test]
    fn variables_win_in_order() {
        let mut state = State::scratch(None);
        state.apply(&Change::Arg("A".to_owned(), "arg".to_owned())).unwrap();
        state.apply(&Change::Arg("B".to_owned(), "arg".to_owned())).unwrap();
        state.apply(&Change::Env(vec![("A".to_owned(), "env".to_owned())])).unwrap();
        let own = BTreeMap::from([("C".to_owned(), "own".to_owned())]);
        let seen: Vec<String> =
            state.variables(&own).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(seen, ["A=env", "B=arg", "C=own", &format!("PATH={DEFAULT_PATH}")]);
        assert_eq!(state.as_base().args, state.args);
    }

    #[test]
    fn paths_are_clean_and_ports_are_checked() {
        for (base, path, clean_path) in
            [("/a", "b/../c", "/a/c"), ("", "x", "/x"), ("/a", "/b//", "/b"), ("/", "..", "/"), ("/w", ".", "/w")]
        {
            assert_eq!(clean(base, path), clean_path);
        }
        let mut state = State::scratch(None);
        state.apply(&Change::Expose(vec!["80".to_owned(), "53/UDP".to_owned()])).unwrap();
        assert_eq!(state.config.exposed_ports, ["53/udp", "80/tcp"]);
        state.apply(&Change::Expose(vec!["81-83".to_owned()])).unwrap();
        assert_eq!(state.config.exposed_ports, ["53/udp", "80/tcp", "81/tcp", "82/tcp", "83/tcp"]);
        for bad in ["x", "0", "9-8", "1-2-3", "1/icmp"] {
            assert!(state.apply(&Change::Expose(vec![bad.to_owned()])).is_err(), "{bad}");
        }
        assert!(state.apply(&Change::StopSignal("SIGNOPE".to_owned())).is_err());
    }
}
