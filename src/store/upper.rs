//! An overlay's upper folder: what it changes of the layers below, and how large it is.
//!
//! ```text
//! on disk in the upper folder              means
//! character device 0:0                     the name is gone
//! folder with trusted.overlay.opaque=y     what the layers below have in it is gone
//! anything else                            it is there: new, or changed when the layers below have it too
//! ```
//!
//! Only the upper folder is walked, so the work grows with what changed and not with the image. What differs is decided
//! by facts, as Docker does: type, mode, owner, device and capabilities; of what is no folder also size and time. Contents
//! are not read. It does not know what a container is, and mounts nothing.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use crate::base::{Context as _, Result};
use crate::model::content::{Change, ChangeKind};
use crate::store::layer::whiteout;
use crate::store::tar::shown;
use crate::sys::node::{self, Facts};
use crate::sys::path::{Dir, EntryKind};

/// How deep a tree may be; every level holds two descriptors.
const MOST_LEVELS: usize = 400;
/// The attribute of file capabilities.
const CAPABILITY: &str = "security.capability";

/// How the tree of `upper` over `lower` differs from `lower` alone, sorted by path.
///
/// # Errors
/// `unsupported` when it is deeper than 400 levels; what reading gives. What vanishes meanwhile is left out.
pub fn changes(upper: &Path, lower: BorrowedFd<'_>) -> Result<Vec<Change>> {
    let doing = || format!("reading {upper:?}");
    let upper = Dir::open(upper).context(doing)?;
    let lower = Dir::from_fd(lower).context(doing)?;
    let mut walk = Walk { found: Vec::new(), path: vec![b'/'] };
    walk.folder(&upper, Some(&lower), 0).context(doing)?;
    let mut found = walk.found;
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let change = |(path, kind): (Vec<u8>, ChangeKind)| Change { path: OsString::from_vec(path).into(), kind };
    Ok(found.into_iter().map(change).collect())
}

/// The sizes of all files in an upper folder, those with several names once. Folders and whiteouts count as nothing.
///
/// # Errors
/// What reading gives. What vanishes meanwhile is left out.
pub fn size_bytes(upper: &Path) -> Result<u64> {
    let doing = || format!("measuring {upper:?}");
    let mut total = 0u64;
    let mut seen = HashSet::new();
    let mut pending = vec![Dir::open(upper).context(doing)?];
    while let Some(dir) = pending.pop() {
        for (name, kind) in dir.entries().context(doing)? {
            if kind == EntryKind::Dir {
                pending.extend(unless_gone(dir.child(&name)).context(doing)?);
                continue;
            }
            let Some(facts) = unless_gone(node::facts_at(&dir, &name)).context(doing)? else { continue };
            if facts.links < 2 || seen.insert(facts.identity) {
                total = total.saturating_add(facts.size_bytes);
            }
        }
    }
    Ok(total)
}

struct Walk {
    found: Vec<(Vec<u8>, ChangeKind)>,
    /// Where it stands, with a slash behind.
    path: Vec<u8>,
}

impl Walk {
    /// Everything in a folder of the upper tree, beside the folder of the same path in the lower one.
    fn folder(&mut self, upper: &Dir, lower: Option<&Dir>, level: usize) -> io::Result<()> {
        if level > MOST_LEVELS {
            let text = format!("{} is deeper than {MOST_LEVELS} folders", shown(&self.path));
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let opaque = lower.is_some() && node::xattr(upper, b"", whiteout::OPAQUE_ATTRIBUTE)?.is_some_and(|v| v == b"y");
        let mut names = upper.entries()?;
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, _) in &names {
            let Some(facts) = unless_gone(node::facts_at(upper, name))? else { continue };
            let below = match lower {
                Some(lower) => unless_gone(node::facts_at(lower, name))?,
                None => None,
            };
            self.name(upper, lower, name, &facts, below.as_ref(), level)?;
        }
        if let (true, Some(lower)) = (opaque, lower) {
            let kept: BTreeSet<Vec<u8>> = names.into_iter().map(|(name, _)| name).collect();
            for (name, _) in lower.entries()? {
                if !kept.contains(&name) {
                    self.note(&name, ChangeKind::Deleted);
                }
            }
        }
        Ok(())
    }

    fn name(
        &mut self,
        upper: &Dir,
        lower: Option<&Dir>,
        name: &[u8],
        facts: &Facts,
        below: Option<&Facts>,
        level: usize,
    ) -> io::Result<()> {
        if whiteout::is_whiteout(facts) {
            if below.is_some() {
                self.note(name, ChangeKind::Deleted);
            }
            return Ok(());
        }
        let is_dir = facts.kind == EntryKind::Dir;
        let was_dir = below.is_some_and(|below| below.kind == EntryKind::Dir);
        let before = self.found.len();
        let kind = match (below, lower) {
            (Some(below), Some(lower)) if !self.differ(upper, lower, name, facts, below)? => None,
            (Some(_), _) => Some(ChangeKind::Changed),
            (None, _) => Some(ChangeKind::Added),
        };
        if let Some(kind) = kind {
            self.note(name, kind);
        }
        if !is_dir {
            return Ok(());
        }
        let Some(inner) = unless_gone(upper.child(name))? else { return Ok(()) };
        let inner_lower = match lower {
            Some(lower) if was_dir => unless_gone(lower.child(name))?,
            _ => None,
        };
        let length = self.path.len();
        self.path.extend_from_slice(name);
        self.path.push(b'/');
        let walked = self.folder(&inner, inner_lower.as_ref(), level + 1);
        self.path.truncate(length);
        walked?;
        // A folder in which something changed is shown as changed, so that the paths above a change are all there.
        if kind.is_none() && self.found.len() > before {
            self.note(name, ChangeKind::Changed);
        }
        Ok(())
    }

    fn note(&mut self, name: &[u8], kind: ChangeKind) {
        self.found.push(([self.path.as_slice(), name].concat(), kind));
    }

    fn differ(&self, upper: &Dir, lower: &Dir, name: &[u8], facts: &Facts, below: &Facts) -> io::Result<bool> {
        let of_node = |facts: &Facts| (facts.kind, facts.mode, facts.uid, facts.gid, facts.device);
        if of_node(facts) != of_node(below) {
            return Ok(true);
        }
        match facts.kind {
            // Its size and time say what is in it, which is looked at.
            EntryKind::Dir => Ok(false),
            EntryKind::File => Ok((facts.size_bytes, facts.mtime) != (below.size_bytes, below.mtime)
                || node::xattr(upper, name, CAPABILITY)? != node::xattr(lower, name, CAPABILITY)?),
            _ => Ok((facts.size_bytes, facts.mtime) != (below.size_bytes, below.mtime)),
        }
    }
}

/// None for what went in between.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// Files of `lower` and `upper` with what `make` does to them, and the lines that come of it.
    fn lines(make: impl Fn(&Path, &Path)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
        fs::create_dir(&lower).unwrap();
        fs::create_dir(&upper).unwrap();
        make(&lower, &upper);
        let changes = changes(&upper, fs::File::open(&lower).unwrap().as_fd()).unwrap();
        changes.iter().map(|change| format!("{} {}", change.kind.letter(), change.shown())).collect()
    }

    fn whiteout(folder: &Path, name: &str) {
        node::make_node(&Dir::open(folder).unwrap(), name.as_bytes(), EntryKind::CharDevice, 0, (0, 0)).unwrap();
    }

    #[test]
    fn new_changed_and_deleted_names_show_with_the_folders_above() {
        let seen = lines(|lower, upper| {
            for folder in ["etc/deep", "same", "gone"] {
                fs::create_dir_all(lower.join(folder)).unwrap();
            }
            fs::create_dir_all(upper.join("etc/deep")).unwrap();
            fs::create_dir_all(upper.join("same")).unwrap();
            fs::write(lower.join("etc/deep/file"), "old").unwrap();
            fs::write(lower.join("etc/other"), "old").unwrap();
            fs::write(upper.join("etc/deep/file"), "newer").unwrap();
            fs::write(upper.join("etc-new"), "x").unwrap();
            symlink("etc", upper.join("link")).unwrap();
            whiteout(&upper.join("etc"), "other");
            whiteout(&upper.join("etc"), "never-was");
            whiteout(upper, "gone");
        });
        assert_eq!(
            seen,
            ["C /etc", "A /etc-new", "C /etc/deep", "C /etc/deep/file", "D /etc/other", "D /gone", "A /link"]
        );
    }

    #[test]
    fn a_folder_made_anew_lacks_what_it_had() {
        let seen = lines(|lower, upper| {
            fs::create_dir(lower.join("d")).unwrap();
            fs::write(lower.join("d/kept"), "").unwrap();
            fs::write(lower.join("d/lost"), "").unwrap();
            fs::create_dir(upper.join("d")).unwrap();
            fs::write(upper.join("d/new"), "").unwrap();
            fs::hard_link(lower.join("d/kept"), upper.join("d/kept")).unwrap();
            node::set_xattr(&Dir::open(upper).unwrap(), b"d", whiteout::OPAQUE_ATTRIBUTE.as_bytes(), b"y").unwrap();
        });
        assert_eq!(seen, ["C /d", "D /d/lost", "A /d/new"]);
    }

    #[test]
    fn what_changed_its_kind_or_its_mode_alone_is_changed() {
        let seen = lines(|lower, upper| {
            fs::create_dir_all(lower.join("was-folder/below")).unwrap();
            fs::write(upper.join("was-folder"), "").unwrap();
            fs::write(lower.join("was-file"), "").unwrap();
            fs::create_dir_all(upper.join("was-file/below")).unwrap();
            fs::create_dir(lower.join("mode")).unwrap();
            fs::create_dir(upper.join("mode")).unwrap();
            fs::set_permissions(upper.join("mode"), fs::Permissions::from_mode(0o700)).unwrap();
        });
        assert_eq!(seen, ["C /mode", "C /was-file", "A /was-file/below", "C /was-folder"]);
    }

    #[test]
    fn sizes_count_each_file_once_and_holes_as_bytes() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), "12345").unwrap();
        fs::hard_link(dir.path().join("d/a"), dir.path().join("b")).unwrap();
        fs::File::create(dir.path().join("hole")).unwrap().set_len(1000).unwrap();
        whiteout(dir.path(), "gone");
        assert_eq!(size_bytes(dir.path()).unwrap(), 1005);
    }
}
