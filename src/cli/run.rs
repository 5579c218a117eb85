//! `create`, `run`, `start` and `attach`: the verbs that make a container's streams the user's.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};

use crate::base::{Context as _, Error, Id, Kind, Result};
use crate::cli::attach::{Streams, attached};
use crate::cli::flags::{ContainerFlags, flag};
use crate::cli::{Session, out};
use crate::engine::container::AttachEnd;
use crate::model::container::{Attached, ContainerRemove};

// How a client is attached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Attachment")]
pub(crate) struct AttachFlags {
    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = true, action = ArgAction::Set, hide_possible_values = true)]
    sig_proxy: bool,
    /// Detach with these keys [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
}

// `rhumb create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    flags: ContainerFlags,
    /// Attach to STDIN, STDOUT or STDERR when it is started
    #[arg(short, long, value_name = "STREAM", hide = true)]
    attach: Vec<String>,
    #[arg(long, action = ArgAction::Help, help = "Print help")]
    help: Option<bool>,
    /// The image, and a command that replaces the image's
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND] [ARG]", hide = true)]
    image_and_command: Vec<String>,
}

impl CreateArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let (image, command) = split(&self.image_and_command)?;
        let mut options = self.flags.options(command)?;
        options.attached = attached_streams(streams(&self.attach)?, options.stdin_open);
        let mut cidfile = CidFile::create(self.flags.cidfile())?;
        let engine = session.engine()?;
        self.flags.fetch(&engine, image, &mut options)?;
        let id = engine.container_create(image, &options)?;
        cidfile.write(&id)?;
        session.out.line(id)?;
        Ok(0)
    }
}

// `rhumb run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Leave the container running and print its id
    #[arg(short, long)]
    detach: bool,
    /// Attach to STDIN, STDOUT or STDERR only
    #[arg(short, long, value_name = "STREAM")]
    attach: Vec<String>,
    #[arg(long, action = ArgAction::Help, help = "Print help")]
    help: Option<bool>,
    #[command(flatten)]
    attachment: AttachFlags,
    #[command(flatten)]
    flags: ContainerFlags,
    /// The image, and a command that replaces the image's
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND] [ARG]", hide = true)]
    image_and_command: Vec<String>,
}

impl RunArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let (image, command) = split(&self.image_and_command)?;
        if self.detach && !self.attach.is_empty() {
            return Err(Error::invalid("\"--detach\" and \"--attach\" exclude each other"));
        }
        let only = streams(&self.attach)?;
        let mut options = self.flags.options(command)?;
        let (interactive, tty) = self.flags.interactive();
        let attached_streams = attached_streams(only, interactive);
        options.stdin_open |= attached_streams.stdin;
        if !self.detach {
            options.attached = attached_streams;
        }
        let mut cidfile = CidFile::create(self.flags.cidfile())?;
        let engine = session.engine()?;
        self.flags.fetch(&engine, image, &mut options)?;
        if self.detach {
            let id = engine.container_run(image, &options)?;
            cidfile.write(&id)?;
            session.out.line(id)?;
            return Ok(0);
        }
        let streams = Streams {
            stdin: attached_streams.stdin,
            stdout: attached_streams.stdout,
            stderr: attached_streams.stderr,
            tty,
            sig_proxy: self.attachment.sig_proxy,
            detach_keys: self.attachment.detach_keys,
        };
        let mut made = None;
        let ended = attached(session, &streams, |attachment| {
            let mut created = |id: &Id| {
                made = Some(id.clone());
                cidfile.write(id)
            };
            engine.container_run_attached(image, &options, &mut created, attachment)
        });
        if out::is_broken()
            && options.auto_remove
            && let Some(id) = made
        {
            // The reader of a pipeline has gone, and nobody could ever see the container again: as in any pipeline, the
            // writer goes too. It may have ended by itself already.
            let _ = engine.container_remove(id.as_str(), ContainerRemove { force: true, volumes: true });
        }
        exit_code(ended?)
    }
}

// `rhumb start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Attach to the output, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach to standard input
    #[arg(short, long)]
    interactive: bool,
    #[command(flatten)]
    attachment: AttachFlags,
    /// Refused: containers are not checkpointed
    #[arg(long, hide = true)]
    checkpoint: Option<String>,
    /// Refused: containers are not checkpointed
    #[arg(long, hide = true)]
    checkpoint_dir: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl StartArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        for (name, given) in [("--checkpoint", &self.checkpoint), ("--checkpoint-dir", &self.checkpoint_dir)] {
            if given.is_some() {
                return Err(Error::unsupported(format!("option {name:?} is not supported"))
                    .with_hint("there are no checkpoints of running containers"));
            }
        }
        let engine = session.engine()?;
        if !self.attach && !self.interactive {
            return Ok(session.each(&self.containers, |session, name| {
                engine.container_start(name)?;
                session.out.line(name)
            }));
        }
        let [name] = self.containers.as_slice() else {
            return Err(Error::invalid("only one container can be started attached"));
        };
        let options = engine.container_get(name)?.record.options;
        let streams = Streams {
            stdin: self.interactive && options.stdin_open,
            stdout: true,
            stderr: true,
            tty: options.tty,
            sig_proxy: self.attachment.sig_proxy,
            detach_keys: self.attachment.detach_keys,
        };
        let ended = attached(session, &streams, |attachment| engine.container_start_attached(name, attachment))?;
        exit_code(ended)
    }
}

// `rhumb attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Do not attach to standard input
    #[arg(long)]
    no_stdin: bool,
    #[command(flatten)]
    attachment: AttachFlags,
    /// Name or id
    container: String,
}

impl AttachArgs {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        let engine = session.engine()?;
        let options = engine.container_get(&self.container)?.record.options;
        let streams = Streams {
            stdin: !self.no_stdin && options.stdin_open,
            stdout: true,
            stderr: true,
            tty: options.tty,
            sig_proxy: self.attachment.sig_proxy,
            detach_keys: self.attachment.detach_keys,
        };
        let ended = attached(session, &streams, |attachment| engine.container_attach(&self.container, attachment))?;
        exit_code(ended)
    }
}

/// The command's own exit code; detaching is success.
pub(crate) fn exit_code(end: AttachEnd) -> Result<u8> {
    match end {
        AttachEnd::Exited(code) => Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        AttachEnd::Detached => Ok(0),
    }
}

/// The image and the command of a trailing argument list.
fn split(words: &[String]) -> Result<(&str, &[String])> {
    match words.split_first() {
        Some((image, command)) if !image.is_empty() => Ok((image, command)),
        _ => Err(Error::invalid("the image is empty")),
    }
}

/// The streams that `-a` names, or else all that there are.
fn attached_streams(only: Option<Attached>, interactive: bool) -> Attached {
    only.unwrap_or(Attached { stdin: interactive, stdout: true, stderr: true })
}

/// Which streams `-a` names.
fn streams(names: &[String]) -> Result<Option<Attached>> {
    let mut only = Attached::default();
    for name in names {
        match name.to_ascii_lowercase().as_str() {
            "stdin" => only.stdin = true,
            "stdout" => only.stdout = true,
            "stderr" => only.stderr = true,
            _ => {
                return Err(Error::invalid(format!("option \"--attach\" takes STDIN, STDOUT or STDERR, not {name:?}")));
            }
        }
    }
    Ok((!names.is_empty()).then_some(only))
}

/// A new file for the id: made before the container, so that it cannot fail after, and removed when nothing is written.
struct CidFile(Option<(PathBuf, File)>);

impl CidFile {
    fn create(path: Option<&Path>) -> Result<CidFile> {
        let Some(path) = path else { return Ok(CidFile(None)) };
        let file = File::create_new(path).context(|| format!("making {path:?}")).map_err(|error| match error.kind() {
            Kind::AlreadyExists => error.with_hint("it may belong to another container; remove it or choose another"),
            _ => error,
        });
        Ok(CidFile(Some((path.to_owned(), flag("--cidfile", file)?))))
    }

    fn write(&mut self, id: &Id) -> Result<()> {
        let Some((path, mut file)) = self.0.take() else { return Ok(()) };
        file.write_all(id.as_str().as_bytes()).context(|| format!("writing {path:?}"))
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let Some((path, _)) = self.0.take() {
            // There is no container to name; a file that cannot be removed is empty.
            let _ = std::fs::remove_file(path);
        }
    }
}
