//! `rhumb cp`.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;

use crate::base::{Error, Result, units};
use crate::cli::container::refuse_terminal;
use crate::cli::{Session, report};
use crate::engine::container::{CopySource, CopyTarget};
use crate::model::content::{Copied, CopyOptions};

/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(100);

// `rhumb cp`.
#[derive(Debug, Args)]
#[command(override_usage = "rhumb cp [OPTIONS] CONTAINER:PATH PATH|-\n       rhumb cp [OPTIONS] PATH|- CONTAINER:PATH")]
pub(crate) struct CopyArgs {
    /// Keep owners, and out of a container also devices and set-id bits
    #[arg(short, long)]
    archive: bool,
    /// Follow a link that the source is
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not show progress on a terminal
    #[arg(short, long)]
    quiet: bool,
    /// A path, CONTAINER:PATH, a pattern in a container, or - for a tar
    #[arg(value_name = "SOURCE")]
    source: OsString,
    /// A path, CONTAINER:PATH, or - for a tar
    #[arg(value_name = "TARGET")]
    target: OsString,
}

impl CopyArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        let options = CopyOptions { archive: self.archive, follow_link: self.follow_link };
        let copied = match (split(&self.source)?, split(&self.target)?) {
            (Some((container, path)), None) if self.target == "-" => {
                refuse_terminal("a tar", "a path")?;
                let engine = session.engine()?;
                let mut out = std::io::stdout();
                let target = CopyTarget::Tar(&mut out);
                engine.container_copy_from(container, path, target, options, &AtomicU64::new(0))?
            }
            (Some((container, path)), None) => {
                let engine = session.engine()?;
                let target = Path::new(&self.target);
                self.shown(&self.target, |moved| {
                    engine.container_copy_from(container, path, CopyTarget::Path(target), options, moved)
                })?
            }
            (None, Some((container, path))) if self.source == "-" => {
                let engine = session.engine()?;
                let mut stdin = std::io::stdin().lock();
                let source = CopySource::Tar(&mut stdin);
                engine.container_copy_to(container, source, path, options, &AtomicU64::new(0))?
            }
            (None, Some((container, path))) => {
                let engine = session.engine()?;
                let source = Path::new(&self.source);
                self.shown(&self.target, |moved| {
                    engine.container_copy_to(container, CopySource::Path(source), path, options, moved)
                })?
            }
            (Some(_), Some(_)) => {
                return Err(Error::unsupported("copying between containers is not supported")
                    .with_hint("send one into the other: rhumb cp ONE:PATH - | rhumb cp - OTHER:PATH"));
            }
            (None, None) => {
                return Err(Error::invalid("neither side is in a container").with_hint("write CONTAINER:PATH for one"));
            }
        };
        if copied.skipped_devices > 0 {
            let count = copied.skipped_devices;
            report::note(&format!("{count} device nodes were left out; --archive makes them"));
        }
        if copied.skipped_sockets > 0 {
            report::note(&format!("{} sockets were left out", copied.skipped_sockets));
        }
        Ok(0)
    }

    /// Shows how much was copied while it is, on a terminal.
    fn shown(&self, target: &OsStr, copy: impl FnOnce(&AtomicU64) -> Result<Copied>) -> Result<Copied> {
        let moved = AtomicU64::new(0);
        if self.quiet || !std::io::stderr().is_terminal() {
            return copy(&moved);
        }
        let over = AtomicBool::new(false);
        let copied = std::thread::scope(|scope| {
            let showing = scope.spawn(|| {
                std::thread::park_timeout(SHOWN_EVERY);
                while !over.load(Ordering::Relaxed) {
                    let bytes = units::human_size(moved.load(Ordering::Relaxed));
                    // A terminal that cannot be written to shows nothing, and the copy goes on.
                    let _ = write!(std::io::stderr(), "\r\x1b[KCopying: {bytes}");
                    std::thread::park_timeout(SHOWN_EVERY);
                }
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            });
            let copied = copy(&moved);
            over.store(true, Ordering::Relaxed);
            showing.thread().unpark();
            copied
        })?;
        let bytes = units::human_size(copied.content_bytes);
        report::note(&format!("Successfully copied {bytes} to {}", target.to_string_lossy().escape_debug()));
        Ok(copied)
    }
}

/// Docker's rule: what begins with a slash or a dot is a path of the host, and so is what has no colon.
fn split(operand: &OsStr) -> Result<Option<(&str, &[u8])>> {
    let bytes = operand.as_bytes();
    if bytes.is_empty() {
        return Err(Error::invalid("an operand is empty"));
    }
    if bytes.starts_with(b"/") || bytes.starts_with(b".") {
        return Ok(None);
    }
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else { return Ok(None) };
    let container = std::str::from_utf8(&bytes[..colon])
        .map_err(|_| Error::not_found(format!("no such container {:?}", String::from_utf8_lossy(&bytes[..colon]))))?;
    Ok((!container.is_empty()).then_some((container, &bytes[colon + 1..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_told_apart_as_docker_does() {
        let split = |text: &str| split(OsStr::new(text)).unwrap().map(|(c, p)| (c.to_owned(), p.to_vec()));
        assert_eq!(split("box:/etc"), Some(("box".to_owned(), b"/etc".to_vec())));
        assert_eq!(split("box:a:b"), Some(("box".to_owned(), b"a:b".to_vec())));
        for host in ["/a:b", "./a:b", "../x", "plain", "-", ":x"] {
            assert_eq!(split(host), None, "{host}");
        }
    }
}
