//! Fills a new file system with what the root has in the place that it will cover (`tmpcopyup`).
//!
//! All by descriptor and without following a link: the place belongs to an image or a volume. Kept are names, kinds,
//! content, modes, owners, times and hard links; not extended attributes, which grant rights nobody asked for here.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::node::{self, Facts};
use crate::sys::path::{Dir, EntryKind};

/// How many folders deep it goes; two descriptors are open for each.
const MAX_DEPTH: usize = 200;

/// Copies everything below the folder `from` into the empty folder `to`, which nobody else can reach yet.
pub(super) fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let (from, to) = (Dir::from_fd(from)?, Dir::from_fd(to)?);
    let top = to.try_clone()?;
    Copy { top, links: HashMap::new() }.folder(&from, &to, &mut Vec::new(), 0)
}

struct Copy {
    top: Dir,
    /// The first copy of each file that has several names.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl Copy {
    fn folder(&mut self, from: &Dir, to: &Dir, path: &mut Vec<u8>, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!("folders more than {MAX_DEPTH} deep")));
        }
        for (name, _) in from.entries()? {
            let length = path.len();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            match self.entry(from, to, &name, path, depth) {
                // It went in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, from: &Dir, to: &Dir, name: &[u8], path: &mut Vec<u8>, depth: usize) -> io::Result<()> {
        let facts = node::facts_at(from, name)?;
        if facts.links > 1 && facts.kind != EntryKind::Dir {
            if let Some(first) = self.links.get(&facts.identity) {
                return node::make_hard_link(&self.top, first, to, name);
            }
            self.links.insert(facts.identity, path.clone());
        }
        match facts.kind {
            EntryKind::Dir => {
                let inner = from.child(name)?;
                to.make_dir(name, 0o700)?;
                let made = to.child(name)?;
                self.folder(&inner, &made, path, depth + 1)?;
                own(to, name, &facts)?;
                node::set_mode_of(&made, facts.mode)?;
                node::set_mtime_of(&made, facts.mtime)
            }
            EntryKind::File => {
                let mut content = from.open_file(name)?;
                let mut made = to.create_file(name, 0o600)?;
                io::copy(&mut content, &mut made)?;
                own(to, name, &facts)?;
                node::set_mode_of(&made, facts.mode)?;
                node::set_mtime_of(&made, facts.mtime)
            }
            EntryKind::Symlink => {
                node::make_symlink(to, name, &node::read_symlink(from, name)?)?;
                own(to, name, &facts)?;
                node::set_mtime(to, name, facts.mtime)
            }
            kind => {
                node::make_node(to, name, kind, facts.mode, facts.device)?;
                own(to, name, &facts)?;
                node::set_mtime(to, name, facts.mtime)
            }
        }
    }
}

fn own(to: &Dir, name: &[u8], facts: &Facts) -> io::Result<()> {
    if (facts.uid, facts.gid) == (0, 0) {
        return Ok(());
    }
    match node::set_owner(to, name, facts.uid, facts.gid) {
        // An owner without a number in this user namespace: its root owns the copy.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    #[test]
    fn a_copy_has_names_modes_owners_links_and_nothing_from_behind_links() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to, secret) = (dir.path().join("from"), dir.path().join("to"), dir.path().join("secret"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(&secret, "secret").unwrap();
        fs::write(from.join("a/b/file"), "content").unwrap();
        fs::set_permissions(from.join("a/b/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o1777)).unwrap();
        std::os::unix::fs::chown(from.join("a/b/file"), Some(12), Some(34)).unwrap();
        fs::set_permissions(from.join("a/b/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::hard_link(from.join("a/b/file"), from.join("second")).unwrap();
        symlink(&secret, from.join("link")).unwrap();
        symlink(dir.path(), from.join("folder")).unwrap();
        let open = |path| std::fs::File::open(path).unwrap();
        copy_up(open(&from).as_fd(), open(&to).as_fd()).unwrap();
        let facts = fs::metadata(to.join("second")).unwrap();
        assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777, facts.nlink()), (12, 34, 0o4751, 2));
        assert_eq!(facts.ino(), fs::metadata(to.join("a/b/file")).unwrap().ino());
        assert_eq!(facts.mtime_nsec(), fs::metadata(from.join("second")).unwrap().mtime_nsec());
        assert_eq!(fs::metadata(to.join("a")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_link(to.join("link")).unwrap(), secret);
        assert_eq!(fs::read_link(to.join("folder")).unwrap(), dir.path());
        assert_eq!(fs::read(to.join("a/b/file")).unwrap(), b"content");
    }

    #[test]
    fn folders_without_end_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&to).unwrap();
        fs::create_dir_all(from.join("d/".repeat(MAX_DEPTH + 5))).unwrap();
        let open = |path| std::fs::File::open(path).unwrap();
        assert!(copy_up(open(&from).as_fd(), open(&to).as_fd()).is_err());
    }
}
