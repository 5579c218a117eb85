//! The operands of `cp`, looked up: what is there, and where it really is.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::base::{Context as _, Error, Result};
use crate::engine::container::copy::paths::{self, Given, Into, There, fits, is_pattern};
use crate::engine::container::copy::visit::Visit;
use crate::model::content::printable;
use crate::store::pack::Top;
use crate::sys::node;
use crate::sys::path::{Dir, EntryKind};

/// The most links that one path may go through, as the kernel's own limit.
const MOST_LINKS: usize = 40;
/// The most names that a pattern may fit.
const MOST_MATCHES: usize = 100_000;

/// Something to be copied, pinned by the folder it is in.
pub(super) struct Source {
    dir: Dir,
    /// Empty for the folder itself.
    name: Vec<u8>,
    alias: Vec<u8>,
    /// It is a folder.
    pub(super) is_folder: bool,
}

impl Source {
    /// As an archive takes it, by another name if wanted.
    pub(super) fn top<'a>(&'a self, rename: Option<&'a [u8]>) -> Top<'a> {
        Top { dir: &self.dir, name: &self.name, alias: rename.unwrap_or(&self.alias) }
    }
}

/// A path for messages.
fn quoted(path: &[u8]) -> String {
    format!("\"{}\"", printable(path))
}

fn missing(visit: &Visit, path: &[u8]) -> Error {
    Error::not_found(format!("no such file or folder {} in the container {:?}", quoted(path), visit.name))
}

/// What nothing is there, and what a file is in the way of, is the same to a user.
fn in_the_way(visit: &Visit, path: &[u8], error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => missing(visit, path),
        io::ErrorKind::NotADirectory => {
            Error::invalid(format!("{} is not a folder in the container {:?}", quoted(path), visit.name))
        }
        _ => Error::from(error).context(format!("opening {} in the container {:?}", quoted(path), visit.name)),
    }
}

/// Opens a folder of the container.
pub(super) fn open_folder(visit: &Visit, path: &[u8]) -> Result<Dir> {
    visit.root.open_dir_in(path).map_err(|error| in_the_way(visit, path, error))
}

/// What is to be copied out of a container: one thing, or everything that fits a pattern.
pub(super) fn in_container(visit: &Visit, text: &[u8], follow_link: bool) -> Result<Vec<Source>> {
    let given = Given::parse(text)?;
    match source_in(visit, &given, follow_link) {
        Err(error) if error.kind() == crate::base::Kind::NotFound && is_pattern(&given.path) => {
            let found = matches(visit, &given)?;
            if found.is_empty() {
                return Err(Error::not_found(format!(
                    "nothing in the container {:?} fits {}",
                    visit.name,
                    quoted(&given.path)
                )));
            }
            found.iter().map(|path| source_in(visit, path, follow_link)).collect()
        }
        source => Ok(vec![source?]),
    }
}

fn source_in(visit: &Visit, given: &Given, follow_link: bool) -> Result<Source> {
    let alias = given.alias();
    let mut at = given.clone();
    for _ in 0..MOST_LINKS {
        if at.folder {
            let dir = open_folder(visit, &at.path)?;
            return Ok(Source { dir, name: Vec::new(), alias, is_folder: true });
        }
        let dir = visit.root.open_dir_in(at.parent()).map_err(|error| in_the_way(visit, &given.path, error))?;
        let name = at.name().to_vec();
        let kind = dir.kind_of(&name).map_err(|error| in_the_way(visit, &given.path, error))?;
        if kind != EntryKind::Symlink || !follow_link {
            return Ok(Source { dir, name, alias, is_folder: kind == EntryKind::Dir });
        }
        at = at.through(&node::read_symlink(&dir, &name)?)?;
    }
    Err(Error::invalid(format!("{} goes through too many links", quoted(&given.path))))
}

/// The paths that fit a pattern, sorted.
fn matches(visit: &Visit, pattern: &Given) -> Result<Vec<Given>> {
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    for part in pattern.path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in &found {
            if !is_pattern(part) {
                next.push([folder.as_slice(), b"/", part].concat());
                continue;
            }
            // What is no folder has nothing in it that could fit.
            let Ok(dir) = visit.root.open_dir_in(folder) else { continue };
            let names = dir.entries()?.into_iter().map(|(name, _)| name).filter(|name| fits(part, name));
            next.extend(names.map(|name| [folder.as_slice(), b"/", &name].concat()));
            if next.len() > MOST_MATCHES {
                return Err(Error::invalid(format!("{} fits more than {MOST_MATCHES} names", quoted(&pattern.path))));
            }
        }
        found = next;
    }
    found.sort();
    found.retain(|path| {
        Given::parse(path).is_ok_and(|given| {
            visit.root.open_dir_in(given.parent()).is_ok_and(|dir| dir.kind_of(given.name()).is_ok())
        })
    });
    found
        .iter()
        .map(|path| Ok(Given { folder: pattern.folder, content: pattern.content, ..Given::parse(path)? }))
        .collect()
}

/// A target in a container, links followed to where it really is.
pub(super) struct Target {
    pub(super) given: Given,
    pub(super) there: There,
    name: String,
}

impl Target {
    /// It for messages.
    pub(super) fn shown(&self) -> String {
        format!("{} in the container {:?}", quoted(&self.given.path), self.name)
    }

    /// Its path; it must be a folder that is there.
    pub(super) fn folder(&self) -> Result<&[u8]> {
        match self.there {
            There::Folder => Ok(&self.given.path),
            There::File => Err(Error::invalid(format!("{} must be a folder", self.shown()))),
            There::Nothing => Err(Error::not_found(format!("no such folder {}", self.shown()))),
        }
    }
}

/// Looks where something is to be copied to. What is not there is fine.
pub(super) fn target_in_container(visit: &Visit, given: &Given) -> Result<Target> {
    let target = |given: &Given, there| Ok(Target { given: given.clone(), there, name: visit.name.clone() });
    let mut at = given.clone();
    for _ in 0..MOST_LINKS {
        let dir = match visit.root.open_dir_in(at.parent()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(visit, at.parent())),
            dir => dir.map_err(|error| in_the_way(visit, at.parent(), error))?,
        };
        if at.path == b"/" {
            return target(&at, There::Folder);
        }
        match dir.kind_of(at.name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return target(&at, There::Nothing),
            Err(error) => return Err(in_the_way(visit, &at.path, error)),
            Ok(EntryKind::Dir) => return target(&at, There::Folder),
            Ok(EntryKind::File) => return target(&at, There::File),
            Ok(EntryKind::Symlink) => {
                let folder = at.folder;
                at = at.through(&node::read_symlink(&dir, at.name())?)?;
                at.folder |= folder;
            }
            Ok(_) => {
                return Err(Error::invalid(format!(
                    "{} in the container {:?} must be a folder or a regular file",
                    quoted(&at.path),
                    visit.name
                )));
            }
        }
    }
    Err(Error::invalid(format!("{} goes through too many links", quoted(&given.path))))
}

/// A path of the host made absolute, with what its end says.
fn of_host(path: &Path) -> Result<Given> {
    if path.as_os_str().is_empty() {
        return Err(Error::invalid("the path is empty"));
    }
    let whole = std::path::absolute(path).context(|| format!("finding {path:?}"))?;
    // What its end says is in the text that was given; `absolute` keeps a slash and drops a dot.
    let mut text = whole.into_os_string().into_vec();
    let bytes = path.as_os_str().as_bytes();
    if bytes.ends_with(b"/") || bytes.rsplit(|byte| *byte == b'/').next() == Some(b".") {
        text.push(b'/');
        text.extend(bytes.ends_with(b".").then_some(b'.'));
    }
    Given::parse(&text)
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// What is to be copied from the host. Its paths are the user's own: links on the way are followed.
pub(super) fn source_on_host(path: &Path, follow_link: bool) -> Result<Source> {
    let given = of_host(path)?;
    let alias = given.alias();
    let doing = || format!("opening {path:?}");
    let facts = std::fs::symlink_metadata(path_of(&given.path)).context(doing)?;
    let mut at = path_of(&given.path);
    if facts.is_symlink() && (follow_link || given.folder) {
        at = at.canonicalize().context(doing)?;
    }
    let facts = std::fs::symlink_metadata(&at).context(doing)?;
    if facts.is_dir() {
        return Ok(Source { dir: Dir::open(&at).context(doing)?, name: Vec::new(), alias, is_folder: true });
    }
    if given.folder {
        return Err(Error::invalid(format!("{path:?} is not a folder")));
    }
    let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else {
        return Err(Error::invalid(format!("{path:?} names no file")));
    };
    Ok(Source { dir: Dir::open(parent).context(doing)?, name: name.as_bytes().to_vec(), alias, is_folder: false })
}

/// The folder of the host into which the sources go, and by which name when not by their own.
pub(super) fn on_host(path: &Path, sources: &[Source]) -> Result<(PathBuf, Option<Vec<u8>>)> {
    let mut at = of_host(path)?;
    let mut there = There::Nothing;
    for _ in 0..MOST_LINKS {
        let place = path_of(&at.path);
        match std::fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(Error::from(error).context(format!("opening {path:?}"))),
            Ok(facts) if facts.is_symlink() => {
                let folder = at.folder;
                let link = std::fs::read_link(&place).context(|| format!("reading the link {place:?}"))?;
                at = at.through(link.as_os_str().as_bytes())?;
                at.folder |= folder;
                continue;
            }
            Ok(facts) if facts.is_dir() => there = There::Folder,
            Ok(facts) if facts.is_file() => there = There::File,
            Ok(_) => {
                return Err(Error::invalid(format!("{path:?} must be a folder or a regular file"))
                    .with_hint("\"-\" writes a tar to standard output"));
            }
        }
        break;
    }
    let parent = path_of(at.parent());
    if there == There::Nothing && !parent.is_dir() {
        return Err(Error::not_found(format!("no such folder {parent:?}")));
    }
    let shown = format!("{path:?}");
    let [source] = sources else {
        return match there {
            There::Folder => Ok((path_of(&at.path), None)),
            _ => Err(Error::invalid(format!("several files fit, and {shown} is not a folder"))),
        };
    };
    Ok(match paths::decide(source.is_folder, there, at.folder, &shown)? {
        Into::Target => (path_of(&at.path), None),
        Into::Parent => (parent, Some(at.name().to_vec())),
    })
}
