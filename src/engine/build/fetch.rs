//! What a copy or a build takes from elsewhere: a file behind an address, a commit of a git repository. It lies in a folder
//! as long as it is needed.
//!
//! git is the host's own program. It gets no user's or system's configuration, runs no hooks, speaks only the protocols
//! that an address can name, and nothing that a Dockerfile says can be an option of it (CVE-2019-13139).

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::agent::Signer;
use super::{Solver, credentials};
use crate::base::reference::without_user;
use crate::base::{Context as _, Digest, Error, Result};
use crate::engine::Engine;
use crate::engine::image::program;
use crate::model::build::{Credentials, Source};
use crate::registry::http;
use crate::store::scratch::Scratch;
use crate::sys::node::Time;
use crate::sys::path::{Dir, remove_tree};

/// The name of a fetched file in its folder.
const FILE: &str = "file";
/// Fetched files are their owner's alone, as with Docker.
const FILE_MODE: u32 = 0o600;
/// How often one looks whether git is done.
const POLL: Duration = Duration::from_millis(20);
/// How much of what git says an error carries.
const TAIL_BYTES: u64 = 16 * 1024;

/// What helps when git, or the ssh that it starts, says such words.
const HINTS: [(&[&str], &str); 4] = [
    (
        &["Host key verification failed"],
        "ssh does not know the host: look at its key, and add it with ssh-keyscan HOST >> ~/.ssh/known_hosts",
    ),
    (
        &["could not read Username", "Authentication failed"],
        "give a token: --secret id=GIT_AUTH_TOKEN.HOST,env=VARIABLE",
    ),
    (&["returned error: 30"], "it leads elsewhere, where no token is sent: give the address that it leads to"),
    (&["Permission denied ("], "give a key or an agent: --ssh default=FILE"),
];

/// Who one is to a repository's host.
struct Who {
    is_here: bool,
    settings: Vec<(String, String)>,
    signer: Option<Signer>,
}

/// What was fetched.
pub(super) struct Fetched {
    /// The folder that it is in.
    pub(super) dir: Dir,
    /// Its path there; empty for all of it.
    pub(super) path: Vec<u8>,
    /// What a file is called when the target is a folder.
    pub(super) name: Option<String>,
    /// When all of it changed; none is the step's time.
    pub(super) modified: Option<Time>,
    /// An archive that is unpacked.
    pub(super) unpack: bool,
    /// A commit: modes are what git knows of them.
    pub(super) commit: bool,
    /// Keeps it.
    pub(super) scratch: Scratch,
}

/// Who fetches.
pub(super) struct Fetcher<'a> {
    pub(super) engine: &'a Engine,
    /// What it may show.
    pub(super) credentials: &'a Credentials,
    /// Is asked again and again, and its error ends it.
    pub(super) check: &'a dyn Fn() -> Result<()>,
}

impl Solver<'_> {
    pub(super) fn fetch(&self, source: &Source) -> Result<Fetched> {
        Fetcher { engine: self.engine, credentials: &self.options.credentials, check: &|| self.check() }.fetch(source)
    }
}

impl Fetcher<'_> {
    /// Fetches what a source names; not for paths and texts.
    pub(super) fn fetch(&self, source: &Source) -> Result<Fetched> {
        match source {
            Source::Url { url, checksum, unpack } => self.fetch_file(url, checksum.as_ref(), *unpack),
            Source::Git { url, reference, folder, checksum, keep_git_dir } => self
                .fetch_commit(url, reference.as_deref(), folder.as_deref(), checksum.as_deref(), *keep_git_dir)
                .context(|| format!("fetching the repository {:?}", without_user(url))),
            Source::Path { .. } | Source::Inline(_) => Err(Error::failed("there is nothing to fetch")),
        }
    }

    fn fetch_file(&self, url: &str, checksum: Option<&Digest>, unpack: bool) -> Result<Fetched> {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = self.engine.store.scratch_dir("fetch")?;
        let path = scratch.path().join(FILE);
        let mut file = std::fs::File::create_new(&path).context(|| format!("making {path:?}"))?;
        file.set_permissions(std::fs::Permissions::from_mode(FILE_MODE))?;
        let authorization = credentials::of_file(&self.credentials.secrets, url)?;
        let fetched = http::fetch(url, authorization.as_deref(), self.check, &mut file)?;
        if let Some(wanted) = checksum {
            let found = Digest::of_reader(std::fs::File::open(&path)?)?;
            if found != *wanted {
                return Err(Error::corrupt(format!("{url:?} has the digest {found}, and not {wanted}")));
            }
        }
        let modified = fetched.modified.and_then(|time| i64::try_from(time.as_secs()).ok());
        Ok(Fetched {
            dir: Dir::open(scratch.path())?,
            path: FILE.into(),
            name: fetched.name,
            modified: modified.map(|seconds| Time { seconds, nanos: 0 }),
            unpack,
            commit: false,
            scratch,
        })
    }

    fn fetch_commit(
        &self,
        url: &str,
        reference: Option<&str>,
        folder: Option<&str>,
        checksum: Option<&str>,
        keep_git_dir: bool,
    ) -> Result<Fetched> {
        check_words(url, reference)?;
        let Some(tool) = program("git", &self.engine.search_path) else {
            return Err(Error::unsupported("git is not installed").with_hint("install it: apt-get install git"));
        };
        let who = Who {
            is_here: credentials::is_here(url),
            settings: credentials::of_git(&self.credentials.secrets, url)?,
            signer: match self.credentials.ssh.get("default") {
                Some(agent) if !url.starts_with("http") => Some(Signer::of(self.engine, agent)?),
                _ => None,
            },
        };
        let scratch = self.engine.store.scratch_dir("git")?;
        let tree = scratch.path().join("tree");
        std::fs::create_dir(&tree)?;
        let git = |words: &[&str]| self.git(&tool, &scratch, &tree, &who, words);
        git(&["init", "--quiet"])?;
        let wanted = reference.unwrap_or("HEAD");
        let commit = match git(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, wanted]) {
            Ok(_) => "FETCH_HEAD".to_owned(),
            // A server that gives no history in parts.
            Err(_) if git(&["fetch", "--quiet", "--no-tags", "--", url, wanted]).is_ok() => "FETCH_HEAD".to_owned(),
            // One that gives no single commit, or a short commit: everything, then.
            Err(first) => {
                (self.check)()?;
                let everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
                git(&["fetch", "--quiet", "--", url, everything[0], everything[1]]).map_err(|_| first)?;
                let names = [format!("refs/tags/{wanted}"), format!("refs/remotes/origin/{wanted}"), wanted.to_owned()];
                let found = names.into_iter().find(|name| {
                    git(&["rev-parse", "--quiet", "--verify", "--end-of-options", &format!("{name}^{{commit}}")])
                        .is_ok()
                });
                found.ok_or_else(|| Error::not_found(format!("it has no {wanted:?}")))?
            }
        };
        git(&["checkout", "--quiet", "--detach", "--force", &commit])?;
        let id = git(&["rev-parse", "HEAD"])?;
        if let Some(checksum) = checksum
            && (checksum.len() < 7 || !id.starts_with(checksum))
        {
            return Err(Error::corrupt(format!("{wanted:?} is the commit {id}, and not {checksum}")));
        }
        if tree.join(".gitmodules").is_file() {
            git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        let time = git(&["log", "-1", "--format=%ct"])?.parse().unwrap_or(0);
        if !keep_git_dir {
            remove_tree(&tree.join(".git"))?;
        }
        let dir = Dir::open(&tree)?;
        let place = super::walk::resolve(&dir, folder.unwrap_or("").as_bytes(), true)?;
        if place.facts.is_none() {
            return Err(Error::not_found(format!("the commit {id} has no {:?}", folder.unwrap_or(""))));
        }
        let modified = Some(Time { seconds: time, nanos: 0 });
        Ok(Fetched { dir, path: place.path, name: None, modified, unpack: false, commit: true, scratch })
    }

    /// Runs git to its end; gives what it wrote.
    fn git(&self, tool: &Path, scratch: &Scratch, tree: &Path, who: &Who, words: &[&str]) -> Result<String> {
        let mut said = tempfile(scratch)?;
        let mut out = tempfile(scratch)?;
        let mut command = Command::new(tool);
        command.env_clear().current_dir(tree).stdin(Stdio::null());
        command.stdout(out.try_clone()?).stderr(said.try_clone()?);
        for protocol in ["https", "http", "git", "ssh"] {
            command.args(["-c", &format!("protocol.{protocol}.allow=always")]);
        }
        for setting in ["protocol.allow=never", "core.hooksPath=/dev/null", "core.autocrlf=false", "gc.auto=0"] {
            command.args(["-c", setting]);
        }
        command.args(["-c", "advice.detachedHead=false", "-c", "init.defaultBranch=main"]).args(words);
        let path = std::env::join_paths(self.engine.search_path.iter()).unwrap_or_default();
        command.env("PATH", path).env("HOME", scratch.path()).env("LC_ALL", "C.UTF-8");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "true");
        command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        // Not as arguments, which everybody may read.
        command.env("GIT_CONFIG_COUNT", who.settings.len().to_string());
        for (place, (name, value)) in who.settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{place}"), name).env(format!("GIT_CONFIG_VALUE_{place}"), value);
        }
        if let Some(signer) = &who.signer {
            command.env("SSH_AUTH_SOCK", signer.socket());
        }
        if !who.is_here {
            command.envs(self.engine.proxies.iter().map(|(name, value)| (name, value)));
        }
        let mut child = command.spawn().context(|| "starting git")?;
        let status = loop {
            if let Some(status) = child.try_wait().context(|| "waiting for git")? {
                break status;
            }
            if let Err(error) = (self.check)() {
                child.kill().and_then(|()| child.wait()).context(|| "ending git")?;
                return Err(error);
            }
            std::thread::sleep(POLL);
        };
        let text = |file: &mut std::fs::File| -> Result<String> {
            let mut text = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.take(TAIL_BYTES).read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
        };
        if status.success() {
            return text(&mut out);
        }
        let said = text(&mut said)?;
        // What ssh says comes first, and then advice on two lines.
        let is_advice = |line: &str| line.starts_with("Please make sure") || line.starts_with("and the repository");
        let lines: Vec<&str> =
            said.lines().map(str::trim).filter(|line| !line.is_empty() && !is_advice(line)).collect();
        let words = if lines.is_empty() { "it said nothing".to_owned() } else { lines.join("; ") };
        let error = Error::unavailable(format!("git failed: {}", crate::base::error::quoted(&words)));
        let hint = HINTS.iter().find(|(signs, _)| signs.iter().any(|sign| said.contains(sign)));
        Err(hint.into_iter().fold(error, |error, (_, hint)| error.with_hint(*hint)))
    }
}

/// A file without a name that matters.
fn tempfile(scratch: &Scratch) -> Result<std::fs::File> {
    let path = scratch.path().join("said");
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// What goes to git, checked: nothing can be an option of it, or of what it starts.
fn check_words(url: &str, reference: Option<&str>) -> Result<()> {
    let host_is_option = || {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.rsplit_once('@').map_or(rest, |(_, host)| host).starts_with('-')
    };
    if url.starts_with('-') || host_is_option() || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::invalid(format!("{url:?} is no address of a repository")));
    }
    let good = |reference: &str| {
        !reference.starts_with(['-', '+', '^', '/'])
            && !reference.contains("..")
            && reference.chars().all(|c| c.is_alphanumeric() || "-_./+#".contains(c))
    };
    match reference {
        Some(reference) if !good(reference) => {
            Err(Error::invalid(format!("{reference:?} is no branch, tag or commit")))
        }
        _ => Ok(()),
    }
}

/// Whether the source's content is known from what it says.
pub(super) fn is_pinned(source: &Source) -> bool {
    let is_commit = |text: &str| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match source {
        Source::Url { checksum, .. } => checksum.is_some(),
        Source::Git { reference, checksum, .. } => {
            reference.as_deref().is_some_and(is_commit) || checksum.as_deref().is_some_and(is_commit)
        }
        Source::Path { .. } => false,
        Source::Inline(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_an_option_of_git() {
        for url in ["--upload-pack=x", "ssh://-oProxyCommand=x/y", "git@-oProxyCommand=x:y", "https://h/a b", "a\nb"] {
            assert!(check_words(url, None).is_err(), "{url}");
        }
        for reference in ["--upload-pack=x", "-x", "a..b", "+a", "a b", "a:b", "^a", "a~1", "a@{1}"] {
            assert!(check_words("https://h/x.git", Some(reference)).is_err(), "{reference}");
        }
        for reference in ["main", "v1.2", "feature/x-y", "0123456789abcdef"] {
            assert!(check_words("git@h:a/b.git", Some(reference)).is_ok(), "{reference}");
        }
    }
}
