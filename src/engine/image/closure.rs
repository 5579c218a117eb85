//! Which files of this machine a program needs: itself, its interpreters, and the libraries that they load.
//!
//! Follows ld.so(8): DT_RPATH of a file and of those that loaded it (unless DT_RUNPATH is there), DT_RUNPATH, the folders
//! of /etc/ld.so.conf, the standard folders. Every symbolic link on the way is kept as a link, and what it leads to as
//! well. It reads the machine only: [`super::from_host`] makes the image of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use super::elf::{self, Needs, Program};
use crate::base::{Context as _, Error, Result};

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// The most files of a closure: a Python with its library has 4,000.
const MAX_FILES: usize = 100_000;
/// How deep scripts may be interpreted by scripts.
const MAX_SCRIPTS: usize = 4;

/// A file in the image, by its absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A folder with its mode.
    Folder(u32),
    /// The file of this machine at the same path.
    File(Stat),
    /// A symbolic link.
    Link(PathBuf),
    /// A file with this mode and content.
    Text(u32, String),
}

/// What tells whether a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Stat {
    /// Permission bits.
    pub(super) mode: u32,
    /// Bytes.
    pub(super) size: u64,
    /// Modification time: seconds and nanoseconds.
    pub(super) mtime: (i64, i64),
    /// Device and inode.
    pub(super) inode: (u64, u64),
}

impl Stat {
    pub(super) fn of(metadata: &fs::Metadata) -> Stat {
        Stat {
            mode: metadata.permissions().mode() & 0o7777,
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

/// The files found so far.
#[derive(Default)]
pub(super) struct Closure {
    /// What goes into the image.
    pub(super) entries: BTreeMap<PathBuf, Entry>,
    /// Folders that were read as a whole; a change of one may add a file.
    pub(super) walked: BTreeSet<PathBuf>,
    /// Whether a library lies where only the loader's cache finds it.
    pub(super) needs_cache: bool,
    done: BTreeSet<PathBuf>,
    configured: Option<Vec<PathBuf>>,
}

impl Closure {
    /// Adds a program or library with everything that it needs; returns its path without links. `find` looks a bare
    /// program name up, for scripts that go through `env`.
    pub(super) fn add(&mut self, path: &Path, find: &dyn Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
        self.add_deep(path, find, &[], 0)
    }

    fn add_deep(
        &mut self,
        path: &Path,
        find: &dyn Fn(&str) -> Option<PathBuf>,
        loaders: &[(PathBuf, Needs)],
        scripts: usize,
    ) -> Result<PathBuf> {
        let real = self.add_path(path)?;
        if !self.done.insert(real.clone()) {
            return Ok(real);
        }
        let data = fs::read(&real).context(|| format!("reading {real:?}"))?;
        match elf::inspect(&data).context(|| format!("reading {real:?}"))? {
            Program::Elf(needs) => {
                if let Some(interpreter) = &needs.interpreter {
                    self.add_deep(Path::new(interpreter), find, &[], scripts)?;
                }
                let mut chain = loaders.to_vec();
                chain.push((real.clone(), needs.clone()));
                for library in &needs.libraries {
                    let file = self.find_library(library, &chain).ok_or_else(|| {
                        Error::not_found(format!("no library {library:?}, which {real:?} needs"))
                            .with_hint("is the program whole? \"ldd\" shows what it loads")
                    })?;
                    let file = self.add_deep(&file, find, &chain, scripts)?;
                    if library.starts_with("libc.so.") {
                        self.add_name_service(&file)?;
                    }
                }
            }
            Program::Script(interpreter, argument) if scripts < MAX_SCRIPTS => {
                self.add_deep(Path::new(&interpreter), find, &[], scripts + 1)?;
                if interpreter.ends_with("/env") {
                    let argument = argument.unwrap_or_default();
                    let name = argument.split_whitespace().find(|word| !word.starts_with('-') && !word.contains('='));
                    if let Some(file) = name.and_then(find) {
                        self.add_deep(&file, find, &[], scripts + 1)?;
                    }
                }
            }
            Program::Script(..) | Program::Other => {}
        }
        Ok(real)
    }

    /// Libraries that the C library of older systems loads when users or hosts are looked up.
    fn add_name_service(&mut self, libc: &Path) -> Result<()> {
        for name in ["libnss_files.so.2", "libnss_dns.so.2"] {
            let file = libc.with_file_name(name);
            if file.is_file() {
                self.add_path(&file)?;
            }
        }
        Ok(())
    }

    /// Adds every file below a folder, except those that `skip` names.
    pub(super) fn add_tree(&mut self, folder: &Path, skip: &dyn Fn(&Path, bool) -> bool) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let real = self.add_path(folder)?;
        let mut pending = vec![real];
        while let Some(folder) = pending.pop() {
            self.walked.insert(folder.clone());
            for entry in fs::read_dir(&folder).context(|| format!("reading {folder:?}"))? {
                let path = entry?.path();
                let metadata = fs::symlink_metadata(&path).context(|| format!("reading {path:?}"))?;
                if skip(&path, metadata.is_dir()) {
                    continue;
                }
                if metadata.is_dir() {
                    self.put(path.clone(), Entry::Folder(Stat::of(&metadata).mode))?;
                    pending.push(path);
                } else if metadata.is_symlink() {
                    // A dangling link is kept out: nothing needs it.
                    if path.exists() {
                        self.add_path(&path)?;
                    }
                } else if metadata.is_file() {
                    self.put(path.clone(), Entry::File(Stat::of(&metadata)))?;
                    files.push(path);
                }
            }
        }
        Ok(files)
    }

    /// Adds a path with the folders and links on the way; returns where it really is.
    pub(super) fn add_path(&mut self, path: &Path) -> Result<PathBuf> {
        if !path.is_absolute() {
            return Err(Error::invalid(format!("{path:?} is not an absolute path")));
        }
        let mut pending: VecDeque<OsString> = names(path);
        let mut real = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&name);
            let metadata = fs::symlink_metadata(&next).context(|| format!("reading {next:?}"))?;
            if metadata.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::invalid(format!("{path:?} leads through more than {MAX_LINKS} links")));
                }
                let target = fs::read_link(&next).context(|| format!("reading {next:?}"))?;
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    pending.push_front(name);
                }
                self.put(next, Entry::Link(target))?;
            } else if metadata.is_dir() {
                self.put(next.clone(), Entry::Folder(Stat::of(&metadata).mode))?;
                real = next;
            } else if metadata.is_file() {
                if !pending.is_empty() {
                    return Err(Error::invalid(format!("{next:?} is not a folder")));
                }
                self.put(next.clone(), Entry::File(Stat::of(&metadata)))?;
                real = next;
            } else {
                return Err(Error::invalid(format!("{next:?} is neither a file nor a folder")));
            }
        }
        Ok(real)
    }

    /// Puts an entry where none is yet.
    pub(super) fn put(&mut self, path: PathBuf, entry: Entry) -> Result<()> {
        self.entries.entry(path).or_insert(entry);
        if self.entries.len() > MAX_FILES {
            return Err(Error::invalid(format!("the programs need more than {MAX_FILES} files")));
        }
        Ok(())
    }

    /// Where the loader finds a library; the last of `chain` asks, those before it loaded it.
    fn find_library(&mut self, name: &str, chain: &[(PathBuf, Needs)]) -> Option<PathBuf> {
        let (asking, needs) = chain.last()?;
        if name.contains('/') {
            return Some(PathBuf::from(name));
        }
        let suits = |folder: &Path| {
            let file = folder.join(name);
            let same =
                |data: Vec<u8>| matches!(elf::inspect(&data), Ok(Program::Elf(other)) if other.kind == needs.kind);
            (file.is_file() && fs::read(&file).is_ok_and(same)).then_some(file)
        };
        let mut folders: Vec<PathBuf> = Vec::new();
        if needs.runpath.is_empty() {
            for (file, needs) in chain.iter().rev().filter(|(_, needs)| needs.runpath.is_empty()) {
                folders.extend(needs.rpath.iter().map(|path| expand(path, file)));
            }
        }
        folders.extend(needs.runpath.iter().map(|path| expand(path, asking)));
        if let Some(file) = folders.iter().find_map(|folder| suits(folder)) {
            return Some(file);
        }
        if let Some(file) = standard_folders().iter().find_map(|folder| suits(folder)) {
            return Some(file);
        }
        let configured = self.configured.get_or_insert_with(|| configured_folders(Path::new("/etc/ld.so.conf"), 0));
        let file = configured.iter().find_map(|folder| suits(folder))?;
        self.needs_cache = true;
        Some(file)
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

/// Replaces the tokens of ld.so(8), "Dynamic string tokens".
fn expand(path: &str, file: &Path) -> PathBuf {
    let origin = file.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let library = if Path::new("/lib64").is_dir() { "lib64" } else { "lib" };
    let platform = std::env::consts::ARCH;
    let mut path = path.to_owned();
    for (token, value) in [("ORIGIN", &*origin), ("LIB", library), ("PLATFORM", platform)] {
        path = path.replace(&format!("${{{token}}}"), value).replace(&format!("${token}"), value);
    }
    PathBuf::from(path)
}

/// The folders that a loader knows without any configuration.
fn standard_folders() -> Vec<PathBuf> {
    let triplet = match std::env::consts::ARCH {
        "x86" => "i386-linux-gnu".to_owned(),
        "arm" => "arm-linux-gnueabihf".to_owned(),
        "powerpc64" => "powerpc64le-linux-gnu".to_owned(),
        other => format!("{other}-linux-gnu"),
    };
    let multiarch = ["/lib", "/usr/lib"].map(|folder| Path::new(folder).join(&triplet));
    multiarch.into_iter().chain(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from)).collect()
}

/// The folders of ldconfig(8)'s configuration, with its `include` lines.
fn configured_folders(file: &Path, depth: usize) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let Ok(text) = fs::read_to_string(file) else { return folders };
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        match line.strip_prefix("include").filter(|rest| rest.starts_with(char::is_whitespace)) {
            Some(pattern) if depth < 4 => {
                let pattern = file.parent().unwrap_or(Path::new("/")).join(pattern.trim());
                for file in matching(&pattern) {
                    folders.extend(configured_folders(&file, depth + 1));
                }
            }
            Some(_) => {}
            None => folders.extend(line.starts_with('/').then(|| PathBuf::from(line))),
        }
    }
    // Where musl's loader looks when it is not told otherwise.
    if depth == 0 {
        folders.push("/usr/local/lib".into());
    }
    folders
}

/// The files that a pattern with one `*` in its last part names, sorted.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some((before, after)) = name.split_once('*') else { return vec![pattern.to_owned()] };
    let entries = fs::read_dir(pattern.parent().unwrap_or(Path::new("/"))).into_iter().flatten().flatten();
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
    };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(fits).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_brings_its_loader_libraries_and_links() {
        let mut closure = Closure::default();
        let real = closure.add(Path::new("/bin/sh"), &|_| None).unwrap();
        assert!(matches!(closure.entries[&real], Entry::File(_)), "{real:?}");
        // Whatever the chain of links is here, it is kept link by link.
        let mut path = PathBuf::from("/bin/sh");
        while let Ok(target) = fs::read_link(&path) {
            let parent = fs::canonicalize(path.parent().unwrap()).unwrap();
            let link = parent.join(path.file_name().unwrap());
            assert_eq!(closure.entries[&link], Entry::Link(target.clone()));
            path = parent.join(target);
        }
        let loaded = |word: &str| closure.entries.keys().any(|path| path.to_string_lossy().contains(word));
        if let Program::Elf(Needs { interpreter: Some(_), .. }) = elf::inspect(&fs::read(&real).unwrap()).unwrap() {
            assert!(loaded("libc") && loaded("ld-"), "{:?}", closure.entries.keys());
        }
    }

    #[test]
    fn tokens_in_search_paths_are_replaced() {
        assert_eq!(expand("$ORIGIN/../lib", Path::new("/opt/x/bin/tool")), Path::new("/opt/x/bin/../lib"));
        assert_eq!(expand("${ORIGIN}", Path::new("/opt/tool")), Path::new("/opt"));
    }

    #[test]
    fn includes_of_the_loaders_configuration_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("main", "include conf.d/*.conf\n/last # remark\n");
        fs::create_dir(folder.path().join("conf.d")).unwrap();
        write("conf.d/b.conf", "/b\n");
        write("conf.d/a.conf", "/a\n# nothing\n");
        write("conf.d/a.txt", "/never\n");
        let found = configured_folders(&folder.path().join("main"), 0);
        assert_eq!(found, ["/a", "/b", "/last", "/usr/local/lib"].map(PathBuf::from));
    }
}
