//! What is mounted while a command runs: caches that are kept, secrets and files of this machine.
//!
//! ```text
//! builds/caches/<digest of the id>[-n]/data     a cache; its lock is held while a command has it
//! tmp/secret-…                                  secrets and scripts: gone with the step, swept when it is killed
//! ```

use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Solver;
use super::key::Inputs;
use super::state::{State, clean};
use super::walk::{self, Memory};
use crate::base::{Context as _, Digest, Error, Result};
use crate::engine::Engine;
use crate::engine::container::disk_usage;
use crate::model::build::{CacheMount, Inline, Mount, MountKind, Origin, Run, Sharing};
use crate::model::mount;
use crate::store::scratch::Scratch;
use crate::sys::lock::{self, Lock, Mode};
use crate::sys::path::{Dir, remove_tree};

/// How many builds at one time may have a private cache of one id.
const MOST_PRIVATE: usize = 64;

/// What a command gets, and what is held meanwhile.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) mounts: Vec<mount::Mount>,
    pub(super) env: Vec<(String, String)>,
    pub(super) secret_env: Vec<(String, String)>,
    held: Vec<Lock>,
    scratch: Option<Scratch>,
    files: usize,
}

impl Prepared {
    fn bind(&mut self, path: &Path, target: String, read_only: bool) -> Result<()> {
        let path = path.to_str().ok_or_else(|| Error::invalid(format!("{path:?} is not valid text")))?.to_owned();
        let source = mount::MountSource::Bind { path, create: false, propagation: None, non_recursive: false };
        self.mounts.push(mount::Mount { source, target, read_only });
        Ok(())
    }

    /// A file that is there for the time of the command.
    fn file(&mut self, engine: &Engine, data: &[u8], mode: u32, owner: (u32, u32)) -> Result<PathBuf> {
        if self.scratch.is_none() {
            self.scratch = Some(engine.store.scratch_dir("secret")?);
        }
        let folder = self.scratch.as_ref().map(|scratch| scratch.path().to_owned()).unwrap_or_default();
        self.files += 1;
        let path = folder.join(self.files.to_string());
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(data)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        std::os::unix::fs::fchown(&file, Some(owner.0), Some(owner.1))?;
        Ok(path)
    }
}

impl Solver<'_> {
    /// Adds what the mounts are to the inputs of a step. Secrets are their ids alone.
    pub(super) fn mount_inputs(&self, run: &Run, state: &State, inputs: &mut Inputs) -> Result<()> {
        for mount in &run.mounts {
            inputs.add_json(format!("the mount {:?}", mount.target), mount);
            let MountKind::Bind { from, source, .. } = &mount.kind else { continue };
            match from {
                Origin::Context(index) => {
                    let (root, ignore) = self.context(*index)?;
                    let place = walk::resolve(&root, source.as_bytes(), true)?;
                    let none = crate::base::ignore::Ignore::default();
                    let memory = self.memory_of(*index);
                    let mut memory = super::lock(&memory);
                    for item in walk::list(&root, &place.path, &ignore, &none, &mut memory)? {
                        let shown = String::from_utf8_lossy(&item.path).into_owned();
                        inputs.add(format!("the file {shown:?}"), super::facts_text(&item));
                    }
                }
                Origin::Stage(_) | Origin::Image(_) => {
                    let layers = self.layers_of(from)?;
                    inputs.add("what is mounted", layers.iter().map(|id| id.to_string()).collect::<String>());
                }
            }
        }
        let _ = state; // targets are absolute by the working directory, which is an input of its own
        Ok(())
    }

    /// Makes what is mounted.
    pub(super) fn prepare(&self, run: &Run, state: &State) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        let workdir = state.path(run.workdir.as_deref().unwrap_or("."));
        for mount in &run.mounts {
            self.prepare_one(mount, &workdir, &mut prepared)
                .context(|| format!("preparing the mount {:?}", mount.target))?;
        }
        for Inline { name, data, mode } in &run.files {
            let path = prepared.file(self.engine, data, mode.unwrap_or(0o644), (0, 0))?;
            prepared.bind(&path, clean("/dev/pipes", name), true)?;
        }
        Ok(prepared)
    }

    fn prepare_one(&self, mount: &Mount, workdir: &str, prepared: &mut Prepared) -> Result<()> {
        let target = clean(workdir, &mount.target);
        match &mount.kind {
            MountKind::Tmpfs { size_bytes } => {
                let source = mount::MountSource::Tmpfs { size_bytes: *size_bytes, mode: None, options: Vec::new() };
                prepared.mounts.push(mount::Mount { source, target, read_only: false });
                Ok(())
            }
            MountKind::Cache(cache) => {
                let id = if cache.id.is_empty() { target.as_str() } else { cache.id.as_str() };
                let (path, lock) = self.engine.cache_folder(id, cache, &|| self.check())?;
                prepared.held.push(lock);
                prepared.bind(&path, target, cache.read_only)
            }
            MountKind::Bind { writable: true, .. } => Err(Error::unsupported("files cannot be mounted writable yet")
                .with_hint("copy them, or mount them read-only")),
            MountKind::Bind { from: Origin::Context(index), source, .. } => {
                let (root, _) = self.context(*index)?;
                let place = walk::resolve(&root, source.as_bytes(), true)?;
                if place.facts.is_none() {
                    return Err(Error::not_found(format!("{source:?} is not in the build context")));
                }
                let folder = &self.graph.contexts[*index].path;
                let path = std::path::absolute(folder)?.join(String::from_utf8_lossy(&place.path).as_ref());
                prepared.bind(&path, target, true)
            }
            MountKind::Bind { from, source, .. } => {
                let layers = self.layers_of(from)?;
                // Only what one folder holds whole can be mounted from it.
                match layers.as_slice() {
                    [only] => {
                        let diff = self.engine.store.layer_diff(only);
                        let place = walk::resolve(&Dir::open(&diff)?, source.as_bytes(), true)?;
                        prepared.bind(&diff.join(String::from_utf8_lossy(&place.path).as_ref()), target, true)
                    }
                    _ => self.bind_flat(&layers, source, target, prepared),
                }
            }
            MountKind::Secret { id, env, required, mode, uid, gid } => {
                let Some(value) = self.options.secrets.get(id) else {
                    if *required {
                        return Err(
                            Error::not_found(format!("there is no secret {id:?}")).with_hint("give it with the build")
                        );
                    }
                    return Ok(());
                };
                if let Some(name) = env {
                    let text = String::from_utf8(value.0.clone())
                        .map_err(|_| Error::invalid(format!("the secret {id:?} is not valid text")))?;
                    prepared.secret_env.push((name.clone(), text));
                }
                if env.is_none() || !mount.target.is_empty() {
                    let usual = format!("/run/secrets/{id}");
                    let target = if mount.target.is_empty() { usual } else { target };
                    let path = prepared.file(self.engine, &value.0, *mode, (*uid, *gid))?;
                    prepared.bind(&path, target, true)?;
                }
                Ok(())
            }
            MountKind::Ssh { id, required, .. } => {
                let Some(socket) = self.options.ssh.get(id) else {
                    if *required {
                        return Err(Error::not_found(format!("there is no ssh agent {id:?}")));
                    }
                    return Ok(());
                };
                let usual = "/run/buildkit/ssh_agent.0".to_owned();
                let target = if mount.target.is_empty() { usual } else { target };
                prepared.env.push(("SSH_AUTH_SOCK".to_owned(), target.clone()));
                prepared.bind(socket, target, false)
            }
        }
    }

    /// Files of several layers, copied into one folder for the time of the build.
    fn bind_flat(&self, layers: &[Digest], source: &str, target: String, prepared: &mut Prepared) -> Result<()> {
        let Some(view) = self.engine.build_view(layers)? else {
            return Err(Error::not_found(format!("{source:?} is not there: the stage is empty")));
        };
        let place = walk::resolve(&view, source.as_bytes(), true)?;
        let none = crate::base::ignore::Ignore::default();
        let items = walk::list(&view, &place.path, &none, &none, &mut Memory::default())?;
        let pieces: Vec<_> = items.iter().map(|item| super::piece_as_is(item, b"flat")).collect();
        let layer = self.engine.layer_of_pieces(&pieces, &[view], None, None)?;
        prepared.bind(&self.engine.store.layer_diff(&layer.chain_id).join("flat"), target, true)
    }
}

impl Engine {
    /// The folder of a cache, made when it is new, and the lock that keeps it.
    fn cache_folder(&self, id: &str, cache: &CacheMount, check: &dyn Fn() -> Result<()>) -> Result<(PathBuf, Lock)> {
        if cache.from.is_some() {
            return Err(Error::unsupported("a cache cannot begin with files yet").with_hint("fill it in the step"));
        }
        let base = Digest::of(id.as_bytes()).hex()[..32].to_owned();
        let mode = if cache.sharing == Sharing::Shared { Mode::Shared } else { Mode::Exclusive };
        let mut number = 0;
        let (name, lock) = loop {
            let name = if number == 0 { base.clone() } else { format!("{base}-{number}") };
            let path = self.paths().locks().join(format!("cache-{name}"));
            if let Some(lock) = lock::try_acquire(&path, mode)? {
                break (name, lock);
            }
            match cache.sharing {
                Sharing::Private if number < MOST_PRIVATE => number += 1,
                _ => {
                    check()?;
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            }
        };
        let folder = self.paths().builds().join("caches").join(name);
        let data = folder.join("data");
        if !data.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let beside = folder.join(format!("new-{}", crate::base::Id::random()?.short()));
            std::fs::create_dir(&beside)?;
            std::os::unix::fs::chown(&beside, Some(cache.uid), Some(cache.gid))?;
            std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(cache.mode))?;
            if let Err(error) = std::fs::rename(&beside, &data) {
                std::fs::remove_dir(&beside)?;
                // Somebody else made it.
                if !data.exists() {
                    return Err(error.into());
                }
            }
        }
        Ok((data, lock))
    }

    /// Removes the caches that no command has now; gives the bytes that are free again.
    pub(super) fn prune_cache_mounts(&self) -> Result<u64> {
        let folder = self.paths().builds().join("caches");
        let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(0) };
        let mut freed = 0;
        for entry in entries {
            let entry = entry?;
            let lock = self.paths().locks().join(format!("cache-{}", entry.file_name().to_string_lossy()));
            if let Some(lock) = lock::try_acquire(&lock, Mode::Exclusive)? {
                freed += disk_usage(&entry.path());
                remove_tree(&entry.path())?;
                drop(lock.remove_on_drop());
            }
        }
        Ok(freed)
    }
}
