//! Build contexts that are no folders of this machine: a stream, an archive behind an address, a commit of a repository.
//!
//! They lie in a folder of the store for the time of the build, and what is in them is hostile: a file of them is read
//! inside of that folder, wherever its links lead.

use std::io::{Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::fetch::{Fetched, Fetcher};
use super::walk;
use crate::base::{Context as _, Error, Result};
use crate::engine::Engine;
use crate::engine::pipe::Checked;
use crate::model::build::{Credentials, Source};
use crate::store::layer::is_tar;
use crate::store::scratch::Scratch;
use crate::sys::node::{self, Time};
use crate::sys::path::{Dir, EntryKind};

/// How deep a commit's folders may be.
const MOST_LEVELS: usize = 1000;

/// A context that was fetched or read, as long as this lives.
pub struct FetchedContext {
    content: Content,
    _held: Scratch,
}

enum Content {
    /// A folder.
    Tree(PathBuf),
    /// A Dockerfile alone.
    Dockerfile(Vec<u8>),
}

impl FetchedContext {
    /// The folder; none for a Dockerfile that came alone.
    pub fn path(&self) -> Option<&Path> {
        match &self.content {
            Content::Tree(path) => Some(path),
            Content::Dockerfile(_) => None,
        }
    }

    /// The Dockerfile that came alone.
    pub fn dockerfile(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Tree(_) => None,
            Content::Dockerfile(text) => Some(text),
        }
    }

    /// A file of the folder, and of one that is longer than `most_bytes` one byte more; none when there is no such file. Its
    /// path is never followed out of the folder.
    ///
    /// # Errors
    /// What reading gives.
    pub fn read(&self, path: &str, most_bytes: usize) -> Result<Option<Vec<u8>>> {
        let Some(folder) = self.path() else { return Ok(None) };
        let root = Dir::open(folder).context(|| format!("opening {folder:?}"))?;
        let place = walk::resolve(&root, path.as_bytes(), true)?;
        if place.facts.is_none_or(|facts| facts.kind != EntryKind::File) {
            return Ok(None);
        }
        let mut text = Vec::new();
        let file = root.open_file_in(&place.path).context(|| format!("opening {path:?}"))?;
        file.take(most_bytes as u64 + 1).read_to_end(&mut text).context(|| format!("reading {path:?}"))?;
        Ok(Some(text))
    }
}

impl Engine {
    /// Fetches a context: an archive or a Dockerfile behind an address, a folder of a commit.
    ///
    /// # Errors
    /// As fetching; `invalid_argument` for what is neither an archive nor a Dockerfile of at most `most_bytes`.
    pub fn build_context_fetch(
        &self,
        source: &Source,
        credentials: &Credentials,
        most_bytes: usize,
    ) -> Result<FetchedContext> {
        let fetched = Fetcher { engine: self, credentials, check: &|| self.check_interrupt() }.fetch(source)?;
        let Fetched { dir, path, modified, commit, scratch, .. } = fetched;
        if !commit {
            let mut file = dir.open_file_in(&path)?;
            return self.context_of(&mut file, most_bytes);
        }
        let shown = String::from_utf8_lossy(&path).into_owned();
        let root = match path.is_empty() {
            true => dir,
            false => dir.open_dir_in(&path).context(|| format!("opening the folder {shown:?} of the commit"))?,
        };
        let time = modified.unwrap_or(Time { seconds: 0, nanos: 0 });
        settle(&root, time, 0)?;
        node::set_mtime_of(&root, time)?;
        // Without links on the way: where they lead was found before.
        let folder = scratch.path().join("tree").join(shown);
        Ok(FetchedContext { content: Content::Tree(folder), _held: scratch })
    }

    /// Reads a context: an archive, or a Dockerfile of at most `most_bytes`.
    ///
    /// # Errors
    /// `invalid_argument` for what is neither; `corrupt` for an archive that is cut; `no_space`.
    pub fn build_context_read(&self, reader: &mut dyn Read, most_bytes: usize) -> Result<FetchedContext> {
        let mut spool = self.store.spool()?;
        let mut reader = Checked { stream: reader, check: &|| self.check_interrupt() };
        std::io::copy(&mut reader, &mut spool).context(|| "reading the build context")?;
        self.context_of(&mut spool, most_bytes)
    }

    fn context_of(&self, file: &mut std::fs::File, most_bytes: usize) -> Result<FetchedContext> {
        file.seek(SeekFrom::Start(0))?;
        let archive = is_tar(file);
        file.seek(SeekFrom::Start(0))?;
        let scratch = self.store.scratch_dir("context")?;
        if archive {
            let tree = scratch.path().join("tree");
            std::fs::create_dir(&tree)?;
            let root = Dir::open(&tree)?;
            let fresh = node::facts_of(&root)?.mtime.seconds;
            self.store.tree_unpack(file, &root).context(|| "unpacking the build context")?;
            // Most archives do not say what the folder itself has, and the time of now is no part of them.
            if node::facts_of(&root)?.mtime.seconds >= fresh {
                node::set_mtime_of(&root, Time { seconds: 0, nanos: 0 })?;
            }
            return Ok(FetchedContext { content: Content::Tree(tree), _held: scratch });
        }
        let mut text = Vec::new();
        file.take(most_bytes as u64 + 1).read_to_end(&mut text)?;
        if text.len() > most_bytes || text.contains(&0) {
            return Err(Error::invalid("the build context is neither an archive nor a Dockerfile")
                .with_hint("an archive is a tar, plain or compressed with gzip, zstd, xz or bzip2"));
        }
        Ok(FetchedContext { content: Content::Dockerfile(text), _held: scratch })
    }
}

/// Gives a commit's files the modes that git knows and the time of the commit: a checkout has the umask and the time of now.
fn settle(dir: &Dir, time: Time, level: usize) -> Result<()> {
    if level > MOST_LEVELS {
        return Err(Error::unsupported(format!("the commit is deeper than {MOST_LEVELS} folders")));
    }
    for (name, kind) in dir.entries()? {
        match kind {
            EntryKind::Dir => {
                settle(&dir.child(&name)?, time, level + 1)?;
                node::set_mode(dir, &name, 0o755)?;
            }
            EntryKind::File => {
                let executable = node::facts_at(dir, &name)?.mode & 0o100 != 0;
                node::set_mode(dir, &name, if executable { 0o755 } else { 0o644 })?;
            }
            _ => {}
        }
        node::set_mtime(dir, &name, time)?;
    }
    Ok(())
}
