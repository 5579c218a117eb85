//! `image::bootstrap`: a Debian base from the distribution's own tools.
//!
//! mmdebstrap writes a tar; debootstrap a folder, which is packed. Their output is kept for the error only. Neither runs
//! with a shell in between, and a name that starts with a dash never reaches them.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::BootstrapOptions;
use super::from_host::{find, search_folders};
use super::import::new_config;
use crate::base::error::CommandFailure;
use crate::base::{Context as _, Error, Reference, Result, Timestamp};
use crate::engine::Engine;
use crate::model::image::Image;

/// How much of a tool's output an error carries.
const TAIL_BYTES: u64 = 16 * 1024;
/// How often we look whether the tool is done.
const POLL: Duration = Duration::from_millis(50);

impl Engine {
    pub(super) fn make_bootstrap(&self, suite: &str, options: &BootstrapOptions) -> Result<Image> {
        let arguments = Arguments::check(suite, options)?;
        let tag = options.tag.clone().unwrap_or_else(|| format!("localhost/{suite}:latest"));
        let tag = Reference::parse(&tag)?;
        let folders = search_folders(&self.search_path);
        let mut layer = match (find("mmdebstrap", &folders), find("debootstrap", &folders)) {
            (Some(tool), _) => self.mmdebstrap(&tool, &arguments)?,
            (None, Some(tool)) => self.debootstrap(&tool, &arguments)?,
            (None, None) => {
                return Err(Error::unsupported("neither mmdebstrap nor debootstrap is installed")
                    .with_hint("install one of them, such as with apt-get install mmdebstrap"));
            }
        };
        layer.seek(SeekFrom::Start(0))?;
        let created = Some(Timestamp::now());
        let mut parsed = new_config(created, &format!("rhumb image bootstrap {suite}"), None);
        parsed.config.env = vec![format!("PATH={}", super::DEFAULT_PATH)];
        parsed.config.cmd = vec!["bash".to_owned()];
        self.import_one(&mut layer, Some(tag), parsed)
    }

    fn mmdebstrap(&self, tool: &Path, arguments: &Arguments<'_>) -> Result<File> {
        let tar = self.store.spool()?;
        let mut command = Command::new(tool);
        // "root" is the only mode that needs nothing else installed; the format is told since there is no file name.
        command.args(["--mode=root", "--format=tar", "--quiet"]);
        command.arg(format!("--variant={}", arguments.variant));
        if !arguments.packages.is_empty() {
            command.arg(format!("--include={}", arguments.packages.join(",")));
        }
        command.args([arguments.suite, "-"]).args(arguments.mirror);
        command.stdout(tar.try_clone()?);
        self.run_tool(command, "mmdebstrap")?;
        Ok(tar)
    }

    fn debootstrap(&self, tool: &Path, arguments: &Arguments<'_>) -> Result<File> {
        let scratch = self.store.scratch_dir("bootstrap")?;
        let root = scratch.path().join("root");
        let mut command = Command::new(tool);
        command.arg(format!("--variant={}", arguments.variant));
        if !arguments.packages.is_empty() {
            command.arg(format!("--include={}", arguments.packages.join(",")));
        }
        command.arg(arguments.suite).arg(&root).args(arguments.mirror).stdout(Stdio::null());
        self.run_tool(command, "debootstrap")?;
        let archives = root.join("var/cache/apt/archives");
        for entry in std::fs::read_dir(&archives).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "deb") {
                std::fs::remove_file(entry.path()).context(|| format!("removing {:?}", entry.path()))?;
            }
        }
        Ok(self.pack_dir(&root)?.0)
    }

    /// Runs a tool to its end; what it says goes to a file, so that it never waits for a reader.
    fn run_tool(&self, mut command: Command, name: &str) -> Result<()> {
        let mut output = self.store.spool()?;
        command.stdin(Stdio::null()).stderr(output.try_clone()?);
        // The superuser's folders are often missing in PATH.
        command.env("PATH", super::DEFAULT_PATH).env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
        let mut child = command.spawn().context(|| format!("starting {name}"))?;
        let status = loop {
            if let Some(status) = child.try_wait().context(|| format!("waiting for {name}"))? {
                break status;
            }
            if self.interrupt().load(Ordering::Relaxed) {
                end(&mut child, name)?;
                return Err(Error::interrupted(format!("{name} was interrupted")));
            }
            std::thread::sleep(POLL);
        };
        if status.success() {
            return Ok(());
        }
        let length = output.seek(SeekFrom::End(0))?;
        output.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        output.read_to_end(&mut tail)?;
        let stderr = String::from_utf8_lossy(&tail).into_owned();
        let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
        Err(Error::command_failed(
            format!("{name} failed: {last}"),
            CommandFailure { exit_code: code(status), stdout: String::new(), stderr },
        ))
    }
}

/// Asks the tool to end, so that it takes its mounts and folders away, and insists only after a while.
fn end(child: &mut std::process::Child, name: &str) -> Result<()> {
    crate::sys::child::terminate(child).context(|| format!("ending {name}"))?;
    for _ in 0..200 {
        if child.try_wait().context(|| format!("waiting for {name}"))?.is_some() {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    child.kill().context(|| format!("ending {name}"))?;
    child.wait().map(drop).context(|| format!("waiting for {name}"))
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// What goes to the tools, checked.
struct Arguments<'a> {
    suite: &'a str,
    variant: &'a str,
    mirror: Option<&'a str>,
    packages: &'a [String],
}

impl<'a> Arguments<'a> {
    fn check(suite: &'a str, options: &'a BootstrapOptions) -> Result<Arguments<'a>> {
        let word = |text: &str, more: &str| {
            text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.as_bytes().contains(&b))
        };
        let refuse = |what: &str, text: &str| Err(Error::invalid(format!("{text:?} is not {what}")));
        let variant = options.variant.as_deref().unwrap_or("minbase");
        if !word(suite, "-._") {
            return refuse("the name of a suite, such as bookworm", suite);
        }
        if !word(variant, "-_") {
            return refuse("a variant, such as minbase", variant);
        }
        if let Some(package) = options.packages.iter().find(|package| !word(package, "+-.:")) {
            return refuse("the name of a package", package);
        }
        let mirror = options.mirror.as_deref();
        if let Some(mirror) = mirror.filter(|mirror| {
            !["http://", "https://", "file:", "/"].iter().any(|start| mirror.starts_with(start))
                || mirror.contains(char::is_whitespace)
        }) {
            return refuse("the address of a mirror, such as http://deb.debian.org/debian", mirror);
        }
        Ok(Arguments { suite, variant, mirror, packages: &options.packages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_an_option_of_the_tool_is_refused() {
        let options = |packages: &[&str], mirror: Option<&str>, variant: Option<&str>| BootstrapOptions {
            packages: packages.iter().map(|p| (*p).to_owned()).collect(),
            mirror: mirror.map(str::to_owned),
            variant: variant.map(str::to_owned),
            tag: None,
        };
        let good = options(&["g++", "libc6:amd64"], Some("http://deb.debian.org/debian"), Some("buildd"));
        assert!(Arguments::check("bookworm", &good).is_ok());
        assert!(Arguments::check("--setup-hook=x", &options(&[], None, None)).is_err());
        for bad in [
            options(&["-x"], None, None),
            options(&["a,b"], None, None),
            options(&[""], None, None),
            options(&[], Some("deb [trusted=yes] http://x"), None),
            options(&[], Some("--x"), None),
            options(&[], None, Some("x --hook")),
        ] {
            assert!(Arguments::check("bookworm", &bad).is_err(), "{bad:?}");
        }
    }
}
