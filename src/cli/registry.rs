//! The verbs of registries, and what this user knows of them.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{ArgAction, Args};

use crate::base::{Context as _, Digest, Error, Reference, Result, units};
use crate::cli::Session;
use crate::cli::flags::flag;
use crate::docker::registry::Places;
use crate::engine::Engine;
use crate::engine::image::PushOptions;
use crate::model::image::{LayerCompression, Recompress, Transfer, TransferState};
use crate::registry::access::{Credentials, Registries};
use crate::sys::terminal;

/// The variable with the folder of Docker's client.
const CONFIG_VARIABLE: &str = "DOCKER_CONFIG";
/// The variable with registries that may be insecure, between commas.
const INSECURE_VARIABLE: &str = "RHUMB_INSECURE_REGISTRIES";
/// The variable with a further folder of certificates, before the usual ones.
const CERTIFICATES_VARIABLE: &str = "RHUMB_CERTIFICATES";
/// Where certificates lie: ours, those of containers-common, and Docker's.
const CERTIFICATES: [&str; 3] = ["/etc/rhumb/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d"];
/// The registry of names without a host.
const HUB: &str = "docker.io";
/// How often a live view is drawn.
const TICK: Duration = Duration::from_millis(100);
/// What is wrong with a name that has a tag beside `--all-tags`.
const ONE_TAG: &str = "with --all-tags, a name has neither tag nor digest";
/// The longest password.
const MOST_PASSWORD_BYTES: u64 = 1 << 20;
/// The longest lines of a live view, and the most.
const BAR_WIDTH: usize = 30;
const MOST_BARS: usize = 8;

/// What this user knows of registries, read when a registry is asked.
pub(crate) fn registries() -> Registries {
    Registries::new(places())
}

fn places() -> Places {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let insecure = variable(INSECURE_VARIABLE).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
    let insecure = insecure.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned);
    Places {
        config: variable(CONFIG_VARIABLE).map(PathBuf::from).or_else(home),
        certificates: variable(CERTIFICATES_VARIABLE)
            .map(PathBuf::from)
            .into_iter()
            .chain(CERTIFICATES.iter().map(PathBuf::from))
            .collect(),
        insecure: insecure.collect(),
        search_path: std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect(),
    }
}

// `rhumb pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Fetch all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Fetch the image for this platform, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print the name only
    #[arg(short, long)]
    quiet: bool,
    /// Name, with a tag or a digest
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    image: String,
}

// What `rhumb push` and `rhumb save` say of layers, in podman's words.
#[derive(Debug, Args)]
pub(crate) struct CompressionFlags {
    /// Compress the layers there with gzip, zstd, or nothing: uncompressed
    #[arg(long, value_name = "FORMAT")]
    compression_format: Option<String>,
    /// Compress also those anew that came from elsewhere, compressed otherwise
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", action = ArgAction::Set, hide_possible_values = true)]
    #[arg(requires = "compression_format")]
    force_compression: bool,
}

// `rhumb push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Write all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    #[command(flatten)]
    compression: CompressionFlags,
    /// Print the name only
    #[arg(short, long)]
    quiet: bool,
    /// Name
    #[arg(value_name = "NAME[:TAG]")]
    image: String,
}

// `rhumb login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password; others can see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// The registry [default: docker.io]
    server: Option<String>,
}

// `rhumb logout`.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry [default: docker.io]
    server: Option<String>,
}

impl PullArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let engine = session.engine()?;
        let name = Reference::parse(&self.image)?;
        if !self.all_tags {
            if !self.quiet && is_repository(&self.image) {
                session.out.line("Using default tag: latest")?;
            }
            self.one(&engine, &name, session)?;
            return Ok(0);
        }
        if !is_repository(&self.image) {
            return Err(Error::invalid(ONE_TAG));
        }
        let tags = engine.registry_tags(&name.familiar_name())?;
        let names: Vec<String> = tags.iter().map(|tag| format!("{}:{tag}", name.familiar_name())).collect();
        Ok(session.each(&names, |session, name| self.one(&engine, &Reference::parse(name)?, session)))
    }

    fn one(&self, engine: &Engine, name: &Reference, session: &mut Session) -> Result<()> {
        if !self.quiet {
            let which = name.digest().map_or_else(|| name.tag().unwrap_or("latest"), Digest::as_str);
            session.out.line(format!("{which}: Pulling from {}", name.path()))?;
            session.out.flush()?;
        }
        let view = View::new(self.quiet, "Pull complete");
        let pulled = view.show(|hears| engine.image_pull(&name.to_string(), self.platform.as_deref(), hears))?;
        if !self.quiet {
            let name = name.familiar();
            session.out.line(format!("Digest: {}", pulled.digest))?;
            session.out.line(match pulled.is_new {
                true => format!("Status: Downloaded newer image for {name}"),
                false => format!("Status: Image is up to date for {name}"),
            })?;
        }
        session.out.line(name)
    }
}

impl CompressionFlags {
    /// What is asked for. Who names a compression means all layers, as for podman.
    pub(crate) fn read(&self) -> Result<Option<Recompress>> {
        let to = self.compression_format.as_deref().map(LayerCompression::parse);
        Ok(flag("--compression-format", to.transpose())?.map(|to| Recompress { to, force: self.force_compression }))
    }
}

impl PushArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let compression = self.compression.read()?;
        let engine = session.engine()?;
        let name = Reference::parse(&self.image)?;
        let names = match self.all_tags {
            false => vec![name.familiar()],
            true if !is_repository(&self.image) => return Err(Error::invalid(ONE_TAG)),
            true => {
                let repository = name.familiar_name();
                let images = engine.image_list(&Default::default())?;
                let tags = images.into_iter().flat_map(|image| image.tags);
                let mut names: Vec<String> = tags
                    .filter(|tag| Reference::parse(tag).is_ok_and(|tag| tag.familiar_name() == repository))
                    .collect();
                names.sort();
                names
            }
        };
        if names.is_empty() {
            return Err(Error::not_found(format!("there is no image of the repository {:?}", self.image)));
        }
        if !self.quiet {
            session.out.line(format!("The push refers to repository [{}/{}]", name.host(), name.path()))?;
            session.out.flush()?;
        }
        let options = PushOptions { compression, ..PushOptions::default() };
        for text in &names {
            let name = Reference::parse(text)?;
            let view = View::new(self.quiet, "Pushed");
            let digest = view.show(|hears| engine.image_push(text, &options, hears))?;
            match self.quiet {
                true => session.out.line(name)?,
                false => session.out.line(format!("{}: digest: {digest}", name.tag().unwrap_or("latest")))?,
            }
        }
        Ok(0)
    }
}

impl LoginArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let host = host(self.server.as_deref())?;
        if self.password.is_some() {
            crate::cli::report::note("a password on the command line can be seen by others: use --password-stdin");
        }
        let terminal = io::stdin().is_terminal();
        let user = match self.username {
            Some(user) => user,
            None if self.password_stdin || !terminal => {
                return Err(Error::invalid("the user's name is missing").with_hint("add --username NAME"));
            }
            None => ask("Username: ")?,
        };
        let password = match self.password {
            Some(password) => password,
            None if self.password_stdin => {
                let mut text = String::new();
                let read = io::stdin().lock().take(MOST_PASSWORD_BYTES).read_to_string(&mut text);
                read.context(|| "reading the password")?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            None if terminal => {
                let password = terminal::without_echo(io::stdin().as_fd(), || ask("Password: "))??;
                eprint_line("")?;
                password
            }
            None => {
                return Err(Error::invalid("there is no terminal to ask for the password")
                    .with_hint("send it through a pipe: --password-stdin"));
            }
        };
        if user.is_empty() || password.is_empty() {
            return Err(Error::invalid("the name and the password cannot be empty"));
        }
        let credentials = Credentials::Password { user, password };
        session.engine()?.registry_sign_in(&host, &credentials)?;
        if places().sign_in(&host, &credentials)? {
            crate::cli::report::note("the password is in config.json as it is: a credsStore there keeps it better");
        }
        session.out.line("Login Succeeded")?;
        Ok(0)
    }
}

impl LogoutArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let host = host(self.server.as_deref())?;
        session.out.line(match places().sign_out(&host)? {
            true => format!("Removing login credentials for {host}"),
            false => format!("Not logged in to {host}"),
        })?;
        Ok(0)
    }
}

/// Whether a name has neither tag nor digest: then it can get one.
fn is_repository(name: &str) -> bool {
    Reference::parse(&format!("{name}:x")).is_ok()
}

/// A registry as references name it, also from an address.
fn host(given: Option<&str>) -> Result<String> {
    let text = given.unwrap_or(HUB);
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let bare = bare.split('/').next().unwrap_or_default();
    // As part of a name it is checked by the grammar of names.
    let known = Reference::parse(&format!("{bare}/x")).ok().filter(|name| name.host() == bare);
    match (known, bare) {
        (_, "index.docker.io" | "registry-1.docker.io") => Ok(HUB.to_owned()),
        (Some(_), _) => Ok(bare.to_owned()),
        (None, _) => Err(Error::invalid(format!("{text:?} is not the host of a registry"))
            .with_hint("write it as names begin, such as registry.example:5000")),
    }
}

fn ask(question: &str) -> Result<String> {
    let asking = || "asking";
    let mut stderr = io::stderr().lock();
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).context(asking)?;
    let mut line = String::new();
    io::stdin().lock().take(MOST_PASSWORD_BYTES).read_line(&mut line).context(asking)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn eprint_line(text: &str) -> Result<()> {
    writeln!(io::stderr().lock(), "{text}").context(|| "writing to standard error")
}

/// What one sees of blobs on their way, on standard error.
pub(crate) enum View {
    /// Nothing.
    Quiet,
    /// A line for each that is there; it ends with these words.
    Plain(&'static str),
    /// Those that are on their way, drawn again in place, and a line as above.
    Live(&'static str),
}

#[derive(Default)]
struct Shown {
    /// How many bytes there are of each that moves, and of how many.
    moving: BTreeMap<Digest, (u64, u64)>,
    drawn: usize,
    last: Option<Instant>,
}

impl View {
    /// What suits standard error, unless one wants to see nothing.
    pub(crate) fn new(quiet: bool, done: &'static str) -> View {
        match quiet {
            true => View::Quiet,
            false if io::stderr().is_terminal() => View::Live(done),
            false => View::Plain(done),
        }
    }

    /// Does something, and shows what becomes of blobs meanwhile.
    pub(crate) fn show<T>(&self, work: impl FnOnce(&(dyn Fn(&Transfer) + Sync)) -> Result<T>) -> Result<T> {
        let shown = Mutex::new(Shown::default());
        let lock = || shown.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&|transfer| self.hear(&mut lock(), transfer));
        let mut shown = lock();
        shown.moving.clear();
        // A terminal that is gone shows nothing.
        let _ = shown.draw(&[], &[]);
        done
    }

    fn hear(&self, shown: &mut Shown, transfer: &Transfer) {
        let (View::Plain(done) | View::Live(done)) = self else { return };
        let short = transfer.digest.short();
        let line = match &transfer.state {
            TransferState::Waiting => return,
            TransferState::Moving { done_bytes, size_bytes } => {
                shown.moving.insert(transfer.digest.clone(), (*done_bytes, *size_bytes));
                None
            }
            TransferState::Exists => Some(format!("{short}: Already exists")),
            TransferState::Mounted(from) => Some(format!("{short}: Mounted from {from}")),
            TransferState::Done => Some(format!("{short}: {done}")),
        };
        if line.is_some() {
            shown.moving.remove(&transfer.digest);
        }
        let due = shown.last.is_none_or(|last| last.elapsed() >= TICK);
        let live = matches!(self, View::Live(_));
        if line.is_some() || (live && due) {
            shown.last = Some(Instant::now());
            let bars = if live { shown.bars() } else { Vec::new() };
            let lines: Vec<String> = line.into_iter().collect();
            let _ = shown.draw(&lines, &bars);
        }
    }
}

impl Shown {
    fn bars(&self) -> Vec<String> {
        let bar = |(digest, (done, size)): (&Digest, &(u64, u64))| {
            let filled = (*done as f64 / (*size).max(1) as f64 * BAR_WIDTH as f64) as usize;
            let bar: String = (0..BAR_WIDTH).map(|at| if at < filled { '=' } else { ' ' }).collect();
            format!("{}: [{bar}] {}/{}", digest.short(), units::human_size(*done), units::human_size(*size))
        };
        self.moving.iter().take(MOST_BARS).map(bar).collect()
    }

    /// Writes lines that stay, and below them those that are drawn again.
    fn draw(&mut self, lines: &[String], bars: &[String]) -> io::Result<()> {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\x1b[J", self.drawn));
        }
        lines.iter().chain(bars).for_each(|line| {
            text.push_str(line);
            text.push('\n');
        });
        self.drawn = bars.len();
        io::stderr().lock().write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_as_in_references() {
        for (given, wanted) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("r.example:5000"), "r.example:5000"),
            (Some("http://b.example:80/"), "b.example:80"),
            (Some("[::1]:5000"), "[::1]:5000"),
        ] {
            assert_eq!(host(given).unwrap(), wanted);
        }
        for given in ["", "a b", "word", "r.example:x", "-"] {
            assert!(host(Some(given)).is_err(), "{given:?}");
        }
    }
}
