//! `image::from_host`: a base made of this machine's own programs, which needs no network.
//!
//! Programs are looked up in the folders of [`DEFAULT_PATH`] first, then in those of the engine's search path. Each brings
//! what it loads ([`super::closure`]); a Python brings its standard library. Around them lies a minimal root. The same
//! files give the same image: a list of what was read is kept, and while none of it changed, the next call is a look at
//! that list.
//!
//! It does not look into a program: what one opens by itself at run time (data files, plug-ins, other programs) is not
//! there, except for Python's own library. Owners become root, extended attributes are left out.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::DEFAULT_PATH;
use super::closure::{Closure, Entry, Stat};
use super::import::new_config;
use crate::base::{Context as _, Digest, Error, Kind, Reference, Result, Timestamp};
use crate::engine::Engine;
use crate::model::image::Image;
use crate::store::archive::tarball::Tarball;
use crate::store::image::NewImage;
use crate::sys::fs::write_durably;

/// Changes whenever the same files would give another image.
const RECIPE: u32 = 1;
/// The most bytes of a kept list.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// The most programs of one call.
const MAX_PROGRAMS: usize = 1000;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// Asks a Python where it and its library really are, outside of any virtual environment.
const ASK_PYTHON: &str = "import json, os, sys, sysconfig\n\
    exe = getattr(sys, '_base_executable', None) or sys.executable\n\
    print(json.dumps([os.path.realpath(exe)] + [sysconfig.get_path(k) for k in ('stdlib', 'platstdlib')]))";
/// Parts of Python's library that no program needs at run time, or that need a display.
const PYTHON_LEAVES: [&str; 11] = [
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "site-packages",
    "dist-packages",
    "pydoc_data",
];

/// What a call was made of, kept in `<root>/cache/from_host/<key>.json`.
#[derive(Serialize, Deserialize)]
struct Kept {
    recipe: u32,
    image: Digest,
    found: Vec<(String, PathBuf)>,
    read: Vec<(PathBuf, Stat)>,
}

impl Engine {
    pub(super) fn make_from_host(&self, programs: &[String], tag: Option<&str>) -> Result<Image> {
        let tag = tag.map(Reference::parse).transpose()?;
        let mut names: Vec<String> = programs.to_vec();
        names.sort();
        names.dedup();
        if names.is_empty() || names.len() > MAX_PROGRAMS {
            return Err(Error::invalid(format!("from_host takes 1 to {MAX_PROGRAMS} programs, not {}", names.len())));
        }
        let folders = search_folders(&self.search_path);
        let found = find_all(&names, &folders)?;
        let key = Digest::of(serde_json::json!([RECIPE, names]).to_string().as_bytes());
        let list = self.paths().cache().join("from_host").join(format!("{}.json", key.hex()));
        if let Some(image) = self.kept_image(&list, &found)? {
            let names = tag.clone().into_iter().collect();
            match self.store.image_commit(&[NewImage::new(image, names)]) {
                // It was removed since, with its layer: it is made anew.
                Err(error) if error.kind() == Kind::NotFound => {}
                kept => {
                    let image = kept?.remove(0);
                    self.tell_imported(&image, tag.as_ref());
                    return Ok(image);
                }
            }
        }
        let closure = plan(&found, &folders)?;
        let read = closure.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::File(stat) => Some((path.clone(), *stat)),
            _ => None,
        });
        let mut read: Vec<(PathBuf, Stat)> = read.collect();
        let newest = read.iter().map(|(_, stat)| u64::try_from(stat.mtime.0).unwrap_or_default()).max();
        let links = closure.entries.iter().filter(|(_, entry)| matches!(entry, Entry::Link(_)));
        for path in links.map(|(path, _)| path).chain(&closure.walked) {
            // Links that we make up ourselves are not on this machine.
            if let Ok(metadata) = fs::symlink_metadata(path) {
                read.push((path.clone(), Stat::of(&metadata)));
            }
        }
        let mut layer = self.store.spool()?;
        write_layer(&closure, &mut layer)?;
        layer.seek(SeekFrom::Start(0))?;
        let created = Timestamp::from_nanos(newest.unwrap_or_default().saturating_mul(1_000_000_000));
        let mut parsed = new_config(Some(created), &format!("rhumb image from_host {}", names.join(" ")), None);
        parsed.config.env = vec![format!("PATH={DEFAULT_PATH}")];
        if found.iter().any(|(name, _)| name == "sh") {
            parsed.config.cmd = vec!["sh".to_owned()];
        }
        let image = self.import_one(&mut layer, tag, parsed)?;
        let kept = Kept { recipe: RECIPE, image: image.id.clone(), found, read };
        let folder = list.parent().expect("the list lies in a folder");
        fs::create_dir_all(folder).context(|| format!("making {folder:?}"))?;
        let text = serde_json::to_vec(&kept).map_err(|error| Error::failed("writing a list").with_source(error))?;
        write_durably(&list, 0o600, &text).context(|| format!("writing {list:?}"))?;
        Ok(image)
    }

    /// The image of an earlier call, when everything it was made of is as it was. A list that is not readable is no list.
    fn kept_image(&self, list: &Path, found: &[(String, PathBuf)]) -> Result<Option<Image>> {
        let Ok(file) = File::open(list) else { return Ok(None) };
        let mut text = Vec::new();
        file.take(MAX_LIST_BYTES).read_to_end(&mut text).context(|| format!("reading {list:?}"))?;
        let Ok(kept) = serde_json::from_slice::<Kept>(&text) else { return Ok(None) };
        let unchanged = |(path, stat): &(PathBuf, Stat)| {
            fs::symlink_metadata(path).is_ok_and(|metadata| Stat::of(&metadata) == *stat)
        };
        if kept.recipe != RECIPE || kept.found != found || !kept.read.iter().all(unchanged) {
            return Ok(None);
        }
        self.store.image_by_id(&kept.image)
    }
}

/// The folders that programs are looked up in.
pub(super) fn search_folders(more: &[PathBuf]) -> Vec<PathBuf> {
    let more = more.iter().filter(|folder| folder.is_absolute()).cloned();
    DEFAULT_PATH.split(':').map(PathBuf::from).chain(more).collect()
}

/// Every program with its path. A busybox that has them all stands for them, under its own name.
fn find_all(names: &[String], folders: &[PathBuf]) -> Result<Vec<(String, PathBuf)>> {
    if let Some(busybox) = find("busybox", folders)
        && let Some(applets) = applets(&busybox)
        && names.iter().all(|name| name == "busybox" || applets.contains(name))
    {
        return Ok(names.iter().map(|name| (name.clone(), busybox.clone())).collect());
    }
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let missing = || Error::not_found(format!("no program {name:?} on this machine"));
        let path = if name.starts_with('/') {
            Some(PathBuf::from(name)).filter(|path| is_program(path))
        } else if name.is_empty() || name.contains('/') || name.contains('\0') || name == "." || name == ".." {
            return Err(Error::invalid(format!("{name:?} is not the name of a program"))
                .with_hint("write a name such as \"ls\", or an absolute path"));
        } else {
            find(name, folders)
        };
        let hint = || match name.as_str() {
            "cd" | "export" | "exit" | "set" | "source" | "alias" => {
                format!("{name} is built into the shell: add \"sh\"")
            }
            _ => "install it, or give its absolute path".to_owned(),
        };
        found.push((name.clone(), path.ok_or_else(|| missing().with_hint(hint()))?));
    }
    Ok(found)
}

pub(super) fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| is_program(path))
}

/// The path of a program of this machine, in the usual folders or in these.
pub(in crate::engine) fn program(name: &str, more: &[PathBuf]) -> Option<PathBuf> {
    find(name, &search_folders(more))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// What a busybox can do; none when it does not say.
fn applets(busybox: &Path) -> Option<Vec<String>> {
    let output = Command::new(busybox).arg("--list").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// Everything that goes into the image.
fn plan(found: &[(String, PathBuf)], folders: &[PathBuf]) -> Result<Closure> {
    let mut closure = Closure::default();
    minimal_root(&mut closure)?;
    let find = |name: &str| find(name, folders);
    for (name, path) in found {
        let adding = || format!("adding the program {name:?}");
        let real = if is_python(name, path) {
            add_python(&mut closure, path, &find).context(adding)?
        } else {
            closure.add(path, &find).context(adding)?
        };
        let standing_in = path.file_name().is_some_and(|file| file != name.as_str()) && !name.starts_with('/');
        let reachable = DEFAULT_PATH.split(':').any(|folder| path.parent() == Some(Path::new(folder)));
        if standing_in {
            // An applet lies beside its busybox.
            let folder = real.parent().unwrap_or(Path::new("/"));
            closure.put(folder.join(name), Entry::Link(real.clone()))?;
        } else if !name.starts_with('/') && (!reachable || !closure.entries.contains_key(&*resolved(path))) {
            closure.put(PathBuf::from("/usr/local/bin").join(name), Entry::Link(real))?;
        }
    }
    if closure.needs_cache {
        closure.add_path(Path::new("/etc/ld.so.cache"))?;
    }
    Ok(closure)
}

/// The path with links in its folder, though not in its last part, followed: under which name the image has it.
fn resolved(path: &Path) -> std::borrow::Cow<'_, Path> {
    match (path.parent().and_then(|folder| fs::canonicalize(folder).ok()), path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name).into(),
        _ => path.into(),
    }
}

/// Folders and files that programs expect in any root.
fn minimal_root(closure: &mut Closure) -> Result<()> {
    for path in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        // On most machines these are links into /usr today, and then so they are in the image.
        if Path::new(path).exists() {
            closure.add_path(Path::new(path))?;
        } else if matches!(path, "/bin" | "/sbin" | "/lib") {
            closure.put(path.into(), Entry::Folder(0o755))?;
        }
    }
    let folders = [
        ("/dev", 0o755),
        ("/etc", 0o755),
        ("/home", 0o755),
        ("/proc", 0o755),
        ("/root", 0o700),
        ("/run", 0o755),
        ("/sys", 0o755),
        ("/tmp", 0o1777),
        ("/usr", 0o755),
        ("/usr/bin", 0o755),
        ("/usr/lib", 0o755),
        ("/usr/local", 0o755),
        ("/usr/local/bin", 0o755),
        ("/usr/sbin", 0o755),
        ("/var", 0o755),
        ("/var/tmp", 0o1777),
    ];
    for (path, mode) in folders {
        closure.put(path.into(), Entry::Folder(mode))?;
    }
    for (path, text) in [("/etc/passwd", PASSWD), ("/etc/group", GROUP), ("/etc/nsswitch.conf", NSSWITCH)] {
        closure.put(path.into(), Entry::Text(0o644, text.to_owned()))?;
    }
    // Every container mounts its own files here; where the image has them, a start need not make them.
    for path in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
        closure.put(path.into(), Entry::Text(0o644, String::new()))?;
    }
    Ok(())
}

fn is_python(name: &str, path: &Path) -> bool {
    let named = |name: &str| {
        name.strip_prefix("python").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    };
    let real = fs::canonicalize(path).unwrap_or_default();
    named(name.rsplit('/').next().unwrap_or_default()) || named(&real.file_name().unwrap_or_default().to_string_lossy())
}

/// Adds a Python with its standard library and all that its extension modules load.
fn add_python(closure: &mut Closure, path: &Path, find: &dyn Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let output = Command::new(path).args(["-I", "-S", "-c", ASK_PYTHON]).stdin(Stdio::null()).output();
    let output = output.context(|| format!("running {path:?}"))?;
    let answer: Vec<PathBuf> = match serde_json::from_slice(&output.stdout) {
        Ok(answer) if output.status.success() => answer,
        _ => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::failed(format!("{path:?} does not say where its library is: {said}")));
        }
    };
    let [program, library @ ..] = answer.as_slice() else {
        return Err(Error::failed(format!("{path:?} does not say where its library is")));
    };
    let real = closure.add(program, find)?;
    // What was asked for may be a script that picks one of several Pythons; then a link leads to the one picked.
    if fs::canonicalize(path).is_ok_and(|asked| asked == real) {
        closure.add_path(path)?;
    }
    let skip = |path: &Path, folder: bool| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if folder {
            PYTHON_LEAVES.contains(&&*name) || name.starts_with("config-")
        } else {
            name.ends_with(".pyc") || name.ends_with(".a") || name.starts_with("_tkinter.")
        }
    };
    for folder in library {
        for file in closure.add_tree(folder, &skip)? {
            let is_module = file.extension().is_some_and(|extension| extension == "so");
            if is_module && closure.add(&file, find).is_err() {
                // A module whose library is missing cannot be imported on this machine either.
                closure.entries.remove(&file);
            }
        }
    }
    Ok(real)
}

/// Writes the layer. Names of one file become hard links, as they are here.
fn write_layer(closure: &Closure, out: &mut File) -> Result<()> {
    let mut tar = Tarball::new(std::io::BufWriter::with_capacity(1 << 17, out));
    let mut written: HashMap<(u64, u64), String> = HashMap::new();
    for (path, entry) in &closure.entries {
        let text = |path: &Path| {
            let text = path.to_str().map(|text| text.trim_start_matches('/').to_owned());
            text.ok_or_else(|| Error::unsupported(format!("the name {path:?} is not UTF-8")))
        };
        let name = text(path)?;
        match entry {
            Entry::Folder(mode) => tar.folder(&name, *mode)?,
            Entry::Link(target) => {
                let target = target.to_str();
                tar.symlink(&name, target.ok_or_else(|| Error::unsupported(format!("{path:?} leads to odd bytes")))?)?;
            }
            Entry::Text(mode, text) => tar.bytes(&name, *mode, text.as_bytes())?,
            Entry::File(stat) => {
                let mtime = u64::try_from(stat.mtime.0).unwrap_or_default();
                match written.get(&stat.inode) {
                    Some(earlier) => tar.hard_link(&name, stat.mode, mtime, earlier)?,
                    None => {
                        let file = File::open(path).context(|| format!("opening {path:?}"))?;
                        tar.file(&name, stat.mode, mtime, stat.size, file)?;
                        written.insert(stat.inode, name);
                    }
                }
            }
        }
    }
    tar.finish()?.into_inner().map_err(|error| Error::from(error.into_error()).context("writing a layer"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn programs_are_found_by_name_or_path_and_missing_ones_are_named() {
        let folders = search_folders(&[]);
        let found = find_all(&names(&["sh", "/bin/sh"]), &folders).unwrap();
        assert_eq!(found.len(), 2);
        let error = find_all(&names(&["sh", "no-such-program-here"]), &folders).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains("no-such-program-here"), "{error}");
        for bad in ["", "a/b", "..", "./sh"] {
            assert_eq!(find_all(&names(&[bad]), &folders).unwrap_err().kind(), Kind::InvalidArgument, "{bad:?}");
        }
        assert!(find_all(&names(&["cd-does-not-exist"]), &folders).is_err());
    }

    #[test]
    fn the_layer_of_the_same_programs_is_the_same() {
        let folders = search_folders(&[]);
        let write = || {
            let found = find_all(&names(&["sh", "ls"]), &folders).unwrap();
            let mut file = tempfile::tempfile().unwrap();
            write_layer(&plan(&found, &folders).unwrap(), &mut file).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            Digest::of_reader(file).unwrap()
        };
        assert_eq!(write(), write());
    }

    #[test]
    fn a_busybox_stands_for_all_programs_that_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let busybox = folder.path().join("busybox");
        fs::write(&busybox, "#!/bin/sh\nprintf 'sh\\nls\\ncat\\n'\n").unwrap();
        fs::set_permissions(&busybox, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let folders = [vec![folder.path().to_owned()], search_folders(&[])].concat();
        let found = find_all(&names(&["ls", "sh"]), &folders).unwrap();
        assert!(found.iter().all(|(_, path)| *path == busybox), "{found:?}");
        let closure = plan(&found, &folders).unwrap();
        assert_eq!(closure.entries[&folder.path().join("ls")], Entry::Link(busybox.clone()));
        let more = find_all(&names(&["ls", "tar"]), &folders).unwrap();
        assert!(more.iter().all(|(_, path)| *path != busybox), "{more:?}");
    }
}
