//! What is mounted while a command runs: caches that are kept, secrets and files of this machine.
//!
//! ```text
//! builds/caches/<digest of the id>[-n]/data     a cache; its lock is held while a command has it
//! tmp/step-…                                    scripts, uppers: gone with the step, swept when it is killed
//! secret-… in memory                            secrets: the same, and never on a disk
//! ```

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Solver;
use super::agent::{Agent, Signer};
use super::cache::{PAUSE, lock_in_turn};
use super::key::Inputs;
use super::state::{State, clean};
use crate::base::{Context as _, Digest, Error, Result, Timestamp};
use crate::engine::Engine;
use crate::engine::container::{StepOverlay, disk_usage};
use crate::model::build::{CacheMount, Inline, Mount, MountKind, Origin, Run, Sharing};
use crate::model::mount;
use crate::model::system::Cached;
use crate::store::scratch::Scratch;
use crate::sys::lock::{self, Lock, Mode};
use crate::sys::path::remove_tree;

/// How many builds at one time may have a private cache of one id.
const MOST_PRIVATE: usize = 64;

/// What a command gets, and what is held meanwhile.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) mounts: Vec<mount::Mount>,
    pub(super) overlays: Vec<StepOverlay>,
    /// Every target, in the order of the step.
    pub(super) targets: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) secret_env: Vec<(String, String)>,
    /// The folders of the caches, by their ids.
    caches: BTreeMap<String, PathBuf>,
    held: Vec<Lock>,
    agents: Vec<Agent>,
    scratch: Option<Scratch>,
    memory: Option<Scratch>,
    files: usize,
}

impl Prepared {
    pub(super) fn bind(&mut self, path: &Path, target: String, read_only: bool) -> Result<()> {
        let path = path.to_str().ok_or_else(|| Error::invalid(format!("{path:?} is not valid text")))?.to_owned();
        let source = mount::MountSource::Bind { path, create: false, propagation: None, non_recursive: false };
        self.mounts.push(mount::Mount { source, target, read_only });
        Ok(())
    }

    /// A path for something that is there for the time of the command.
    fn fresh(&mut self, engine: &Engine) -> Result<PathBuf> {
        if self.scratch.is_none() {
            self.scratch = Some(engine.store.scratch_dir("step")?);
        }
        let folder = self.scratch.as_ref().map(|scratch| scratch.path().to_owned()).unwrap_or_default();
        self.files += 1;
        Ok(folder.join(self.files.to_string()))
    }

    /// As [`Prepared::fresh`], in memory.
    fn fresh_in_memory(&mut self, engine: &Engine) -> Result<PathBuf> {
        if self.memory.is_none() {
            self.memory = Some(engine.store.scratch_in_memory("secret")?);
        }
        let folder = self.memory.as_ref().map(|scratch| scratch.path().to_owned()).unwrap_or_default();
        self.files += 1;
        Ok(folder.join(self.files.to_string()))
    }

    /// An empty folder that is there for the time of the command.
    pub(super) fn folder(&mut self, engine: &Engine) -> Result<PathBuf> {
        let path = self.fresh(engine)?;
        std::fs::create_dir(&path).context(|| format!("making {path:?}"))?;
        Ok(path)
    }

    /// A file that is there for the time of the command.
    fn file(&mut self, engine: &Engine, data: &[u8], mode: u32) -> Result<PathBuf> {
        let path = self.fresh(engine)?;
        written(path, data, mode, (0, 0))
    }

    /// A secret as a file that is there for the time of the command, and never on a disk.
    fn secret_file(&mut self, engine: &Engine, data: &[u8], mode: u32, owner: (u32, u32)) -> Result<PathBuf> {
        let path = self.fresh_in_memory(engine)?;
        written(path, data, mode, owner)
    }
}

fn written(path: PathBuf, data: &[u8], mode: u32, owner: (u32, u32)) -> Result<PathBuf> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(data)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    std::os::unix::fs::fchown(&file, Some(owner.0), Some(owner.1))?;
    Ok(path)
}

impl Solver<'_> {
    /// Adds what the mounts are to the inputs of a step. Secrets are their ids alone. What is mounted of a stage or an image
    /// is the whole of that, or, when it is `exact`, the files that are seen.
    pub(super) fn mount_inputs(&self, run: &Run, state: &State, exact: bool, inputs: &mut Inputs) -> Result<()> {
        for mount in &run.mounts {
            if let MountKind::Cache(cache) = &mount.kind {
                let target = clean(&state.path(run.workdir.as_deref().unwrap_or(".")), &mount.target);
                self.board().caches.insert(cache.id_at(&target).to_owned());
            }
            let mut plain = mount.clone();
            match &mut plain.kind {
                // The number of a stage or a context is no part of what is mounted.
                MountKind::Bind { from, .. } => *from = Origin::Stage(0),
                MountKind::Cache(cache) => cache.from.iter_mut().for_each(|from| *from = Origin::Stage(0)),
                _ => {}
            }
            inputs.add_json(shown(mount), &plain);
            match &mount.kind {
                MountKind::Bind { from, source, .. } => self.origin_inputs(from, source, exact, inputs)?,
                MountKind::Cache(CacheMount { from: Some(from), source, .. }) => {
                    self.origin_inputs(from, source, false, inputs)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes what is mounted.
    pub(super) fn prepare(&self, run: &Run, state: &State) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        let workdir = state.path(run.workdir.as_deref().unwrap_or("."));
        self.prepare_caches(run, &workdir, &mut prepared)?;
        for mount in &run.mounts {
            let before = (prepared.mounts.len(), prepared.overlays.len());
            self.prepare_one(mount, &workdir, &mut prepared).map_err(|error| match mount.target.as_str() {
                // A secret or an agent at its usual place, which the error names.
                "" => error,
                target => error.context(format!("preparing the mount {target:?}")),
            })?;
            let binds = prepared.mounts[before.0..].iter().map(|mount| &mount.target);
            let overlays = prepared.overlays[before.1..].iter().map(|overlay| &overlay.target);
            let made: Vec<String> = binds.chain(overlays).cloned().collect();
            prepared.targets.extend(made);
        }
        for Inline { name, data, mode } in &run.files {
            let path = prepared.file(self.engine, data, mode.unwrap_or(0o644))?;
            prepared.bind(&path, clean("/dev/pipes", name), true)?;
        }
        Ok(prepared)
    }

    /// Takes all caches of a step at once, each once and in one order, so that steps never wait for each other in a circle.
    fn prepare_caches(&self, run: &Run, workdir: &str, prepared: &mut Prepared) -> Result<()> {
        let mut wanted: BTreeMap<String, (CacheMount, &str)> = BTreeMap::new();
        for mount in &run.mounts {
            let MountKind::Cache(cache) = &mount.kind else { continue };
            let id = cache.id_at(&clean(workdir, &mount.target)).to_owned();
            let (known, _) = wanted.entry(id).or_insert_with(|| (cache.clone(), &mount.target));
            if known.sharing == Sharing::Shared {
                known.sharing = cache.sharing;
            }
        }
        for (id, (cache, target)) in wanted {
            let doing = || format!("preparing the mount {target:?}");
            if cache.from.is_none() && !matches!(cache.source.as_str(), "" | "/") {
                return Err(Error::invalid("a cache has a source only of what it begins with")
                    .with_hint("add from")
                    .context(doing()));
            }
            let fill = |folder: &Path| match &cache.from {
                _ if self.import_cache(&id, folder)? => Ok(()),
                Some(from) => self.fill(from, &cache.source, folder),
                None => Ok(()),
            };
            let (path, lock) = self.engine.cache_folder(&id, &cache, &|| self.check(), &fill).context(doing)?;
            prepared.held.push(lock);
            prepared.caches.insert(id, path);
        }
        Ok(())
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
                let path = prepared.caches.get(cache.id_at(&target)).cloned();
                let path = path.ok_or_else(|| Error::failed("a cache was not made ready"))?;
                prepared.bind(&path, target, cache.read_only)
            }
            MountKind::Bind { from, source, writable } => self.bind(from, source, *writable, target, prepared),
            MountKind::Secret { id, env, required, mode, uid, gid } => {
                let Some(value) = self.options.credentials.secrets.get(id) else {
                    if *required {
                        return Err(Error::not_found(format!("there is no secret {id:?}"))
                            .with_hint("give it with the build: --secret"));
                    }
                    return Ok(());
                };
                if let Some(name) = env {
                    let text = String::from_utf8(value.0.clone())
                        .ok()
                        // An error that says so itself would show the value.
                        .filter(|text| !text.contains('\0'))
                        .ok_or_else(|| Error::invalid(format!("the secret {id:?} is not valid text")))?;
                    prepared.secret_env.push((name.clone(), text));
                }
                if env.is_none() || !mount.target.is_empty() {
                    let usual = format!("/run/secrets/{id}");
                    let target = if mount.target.is_empty() { usual } else { target };
                    let path = prepared.secret_file(self.engine, &value.0, *mode, (*uid, *gid))?;
                    prepared.bind(&path, target, true)?;
                }
                Ok(())
            }
            MountKind::Ssh { id, required, mode, uid, gid } => {
                let Some(signer) = self.options.credentials.ssh.get(id) else {
                    if *required {
                        return Err(Error::not_found(format!("there is no ssh agent {id:?}"))
                            .with_hint("give it with the build: --ssh"));
                    }
                    return Ok(());
                };
                let usual = format!("/run/buildkit/ssh_agent.{}", prepared.agents.len());
                let target = if mount.target.is_empty() { usual } else { target };
                if prepared.agents.is_empty() {
                    prepared.env.push(("SSH_AUTH_SOCK".to_owned(), target.clone()));
                }
                let signer = Signer::of(self.engine, signer).context(|| format!("reaching the ssh agent {id:?}"))?;
                let agent = Agent::start(self.engine, signer, *mode, (*uid, *gid))?;
                prepared.bind(&agent.path(), target, false)?;
                prepared.agents.push(agent);
                Ok(())
            }
        }
    }
}

/// A mount in words: which it is of those of its step.
fn shown(mount: &Mount) -> String {
    let (what, id) = match &mount.kind {
        MountKind::Secret { id, .. } => ("the secret", id),
        MountKind::Ssh { id, .. } => ("the ssh agent", id),
        MountKind::Cache(_) => return format!("the cache at {:?}", mount.target),
        MountKind::Bind { .. } | MountKind::Tmpfs { .. } => return format!("the mount {:?}", mount.target),
    };
    match mount.target.as_str() {
        "" => format!("{what} {id:?}"),
        target => format!("{what} {id:?} at {target:?}"),
    }
}

/// The file beside a cache that names it.
const ID: &str = "id";

/// The name of a cache's folder.
fn cache_name(id: &str) -> String {
    Digest::of(id.as_bytes()).hex()[..32].to_owned()
}

impl Engine {
    /// The folder of a cache, made when it is new, and the lock that keeps it.
    fn cache_folder(
        &self,
        id: &str,
        cache: &CacheMount,
        check: &dyn Fn() -> Result<()>,
        fill: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<(PathBuf, Lock)> {
        let base = cache_name(id);
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
                    std::thread::sleep(PAUSE);
                }
            }
        };
        let folder = self.paths().builds().join("caches").join(&name);
        let data = folder.join("data");
        // Who shares the cache might make it as well.
        let making = self.paths().locks().join(format!("cache-new-{name}"));
        let _making = match data.exists() {
            true => None,
            false => Some(lock_in_turn(&making, Mode::Exclusive, check)?.remove_on_drop()),
        };
        if !data.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            std::fs::write(folder.join(ID), id)?;
            let beside = folder.join(format!("new-{}", crate::base::Id::random()?.short()));
            std::fs::create_dir(&beside)?;
            if let Err(error) = fill(&beside) {
                remove_tree(&beside)?;
                return Err(error);
            }
            std::os::unix::fs::chown(&beside, Some(cache.uid), Some(cache.gid))?;
            std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(cache.mode))?;
            std::fs::rename(&beside, &data).context(|| format!("making {data:?}"))?;
        }
        Ok((data, lock))
    }

    /// What is in a cache, and the lock that keeps it; none when there is no such cache.
    pub(super) fn cache_kept(&self, id: &str) -> Result<Option<(PathBuf, Lock)>> {
        let name = cache_name(id);
        let data = self.paths().builds().join("caches").join(&name).join("data");
        let path = self.paths().locks().join(format!("cache-{name}"));
        if !data.exists() {
            return Ok(None);
        }
        let lock = lock_in_turn(&path, Mode::Shared, &|| self.check_interrupt())?;
        Ok(data.exists().then_some((data, lock)))
    }

    /// The caches of commands, in no order.
    pub(super) fn cache_mounts(&self) -> Result<Vec<Cached>> {
        let mut mounts = Vec::new();
        let Ok(entries) = std::fs::read_dir(self.paths().builds().join("caches")) else { return Ok(mounts) };
        for entry in entries {
            let entry = entry?;
            let time = |path: PathBuf| Some(Timestamp::from_system(std::fs::metadata(path).ok()?.modified().ok()?));
            mounts.push(Cached {
                id: entry.file_name().to_string_lossy().into_owned(),
                is_mount: true,
                // One that an older version made does not say.
                text: std::fs::read_to_string(entry.path().join(ID)).unwrap_or_default(),
                size_bytes: disk_usage(&entry.path()),
                created: time(entry.path().join(ID)),
                used: None,
                is_shared: false,
            });
        }
        Ok(mounts)
    }

    /// Removes the caches that no command has now, and gives them.
    pub(super) fn prune_cache_mounts(&self) -> Result<Vec<Cached>> {
        let mut gone = Vec::new();
        for mount in self.cache_mounts()? {
            let lock = self.paths().locks().join(format!("cache-{}", mount.id));
            if let Some(lock) = lock::try_acquire(&lock, Mode::Exclusive)? {
                remove_tree(&self.paths().builds().join("caches").join(&mount.id))?;
                drop(lock.remove_on_drop());
                gone.push(mount);
            }
        }
        Ok(gone)
    }
}
