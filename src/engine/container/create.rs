//! Making containers, and undoing half-made ones.

use std::path::Path;

use oci_spec::runtime::Spec;

use crate::base::{Context as _, Error, Id, Kind, Reference, Result, Undo};
use crate::base::{failpoint, signal};
use crate::engine::Engine;
use crate::engine::container::decide::{Given, decide};
use crate::engine::container::spec::Joined;
use crate::engine::container::{files, host, ids, logs, names, resolver};
use crate::model::container::{
    ContainerOptions, ContainerRecord, IpcMode, MountPoint, MountPointKind, NamespaceMode, NetworkMode,
};
use crate::model::image::{Image, Pull};
use crate::model::mount::MountSource;
use crate::model::volume::VolumeOptions;
use crate::runtime::state::Life;
use crate::store::db::{Noun, Phase};
use crate::sys::lock::{Lock, Mode};

/// How often a generated name may be taken before we give up.
const NAME_ATTEMPTS: usize = 64;
/// How often what a container needs may be removed while it is made.
const NEED_ATTEMPTS: u32 = 64;

/// A container that is whole but whose record still says `Creating`: its maker died, or goes on to start it.
pub(super) struct Made {
    pub record: ContainerRecord,
    /// The name that it was given.
    pub name: String,
    /// What a start makes of the record, but for namespaces that are joined.
    pub spec: Spec,
    pub lock: Lock,
}

impl Engine {
    /// Makes a container from an image (a reference or an id) without starting it.
    ///
    /// # Errors
    /// `not_found` for the image or a container named in the options; `already_exists` for the name;
    /// `invalid_argument`, `unsupported` for options.
    pub fn container_create(&self, image: &str, options: &ContainerOptions) -> Result<Id> {
        let made = self.container_make(image, options)?;
        self.container_settle(&made.record)?;
        self.tell_of(&made.record, &made.name, "create");
        Ok(made.record.id)
    }

    /// Turns a made container into one that stays when this process dies, and, unless it has `--rm`, when the power goes.
    pub(super) fn container_settle(&self, record: &ContainerRecord) -> Result<()> {
        failpoint::hit("container.create.settle")?;
        self.store.write(|tx| tx.set_phase(Noun::Container, record.id.as_str(), Phase::Ready))?;
        if record.options.auto_remove { Ok(()) } else { self.store.flush() }
    }

    /// Does all of create but the last step.
    pub(super) fn container_make(&self, image: &str, options: &ContainerOptions) -> Result<Made> {
        let name = Reference::parse(image).map_or_else(|_| image.to_owned(), |name| name.familiar());
        let mut pull = options.pull.unwrap_or(self.pull);
        let mut found = || {
            // Once: what came is not looked for again.
            let when = if pull == Pull::Always { std::mem::take(&mut pull) } else { pull };
            self.image_for(image, when, &|_| {})
        };
        self.container_make_with(&mut found, &name, options)
    }

    /// As [`Engine::container_make`] on layers that need not be an image's; it has no image's name then.
    pub(super) fn container_make_of(&self, image: &Image, options: &ContainerOptions) -> Result<Made> {
        self.container_make_with(&mut || Ok(image.clone()), "", options)
    }

    fn container_make_with(
        &self,
        image: &mut dyn FnMut() -> Result<Image>,
        image_name: &str,
        options: &ContainerOptions,
    ) -> Result<Made> {
        if let Some(name) = &options.name {
            names::check(name)?;
        }
        let mut attempt = 1;
        let mut held = Vec::new();
        let (spec, record, name, lock) = loop {
            let mut record = self.container_decide(&image()?, image_name, options)?;
            let wish = self.id_wish(&record)?;
            // Whatever the options ask for that cannot be honoured is refused now, not at the first start.
            let spec = self.container_spec(&ids::as_if_leased(&record, &wish), &Joined::default())?;
            logs::log_facts(&record, record.options.name.as_deref().unwrap_or_default())?;
            let lock = self.lock_container(&record.id)?;
            let inserted =
                failpoint::hit("container.create.record").and_then(|()| self.insert_record(&mut record, &wish));
            match inserted {
                // Which ids it got is known only now.
                Ok(name) if wish.is_some() => {
                    break (self.container_spec(&record, &Joined::default()), record, name, lock);
                }
                Ok(name) => break (Ok(spec), record, name, lock),
                Err(error) => {
                    drop(lock.remove_on_drop());
                    if error.kind() != Kind::NotFound || attempt == NEED_ATTEMPTS {
                        return Err(error);
                    }
                    // A volume was pruned since it was looked up: it is made anew, and the next prune waits.
                    held.clear();
                    self.hold_volumes(&record, &mut held)?;
                }
            }
            attempt += 1;
        };
        drop(held);
        let mut undo = Undo::new();
        undo.push("removing the half-made container", || self.container_dismantle(&record, true));
        let spec = match spec.and_then(|spec| self.fill(&record).map(|()| spec)) {
            Ok(spec) => {
                undo.disarm();
                spec
            }
            Err(error) => {
                let error = undo.unwind(error);
                drop(lock.remove_on_drop());
                return Err(error);
            }
        };
        Ok(Made { record, name, spec, lock })
    }

    /// What the container will be. Named volumes exist afterwards.
    fn container_decide(&self, image: &Image, name: &str, options: &ContainerOptions) -> Result<ContainerRecord> {
        let mut options = options.clone();
        self.resolve_networks(&mut options)?;
        let inherited = self.resolve_others(&mut options)?;
        prepare_bind_sources(&options)?;
        let given = Given {
            id: Id::random()?,
            image_name: name.to_owned(),
            image,
            inherited,
            thermal_paths: host::thermal_paths(),
            new_id: &mut Id::random,
            volume_id: &mut |name| self.named_volume(name),
        };
        decide(&options, given)
    }

    /// Replaces names of other containers by ids and collects the mounts that are taken over.
    fn resolve_others(&self, options: &mut ContainerOptions) -> Result<Vec<MountPoint>> {
        self.container_resolve_names(options)?;
        let mut inherited = Vec::new();
        for from in &options.volumes_from {
            let other = self.container_find(&from.container)?;
            let points = other.record.mounts.into_iter().filter(|point| point.kind != MountPointKind::Tmpfs);
            inherited.extend(points.map(|mut point| {
                point.inherited = true;
                point.read_only = from.read_only.unwrap_or(point.read_only);
                point
            }));
        }
        Ok(inherited)
    }

    /// Replaces names of other containers by ids.
    pub(super) fn container_resolve_names(&self, options: &mut ContainerOptions) -> Result<()> {
        if let NetworkMode::Container(other) = &mut options.network_mode {
            *other = self.container_find(other)?.id.to_string();
        }
        if let NamespaceMode::Container(other) = &mut options.pid_mode {
            *other = self.container_find(other)?.id.to_string();
        }
        if let IpcMode::Container(other) = &mut options.ipc_mode {
            let donor = self.container_find(other)?;
            if donor.record.options.ipc_mode != IpcMode::Shareable {
                return Err(Error::conflict(format!("the ipc namespace of the container {other:?} is not shareable"))
                    .with_hint("make that container with the ipc mode \"shareable\""));
            }
            *other = donor.id.to_string();
        }
        for (what, mode) in [("uts", &options.uts_mode), ("cgroup", &options.cgroupns_mode)] {
            if matches!(mode, NamespaceMode::Container(_)) {
                return Err(Error::invalid(format!("the {what} namespace cannot be another container's")));
            }
        }
        for from in &mut options.volumes_from {
            from.container = self.container_find(&from.container)?.id.to_string();
        }
        Ok(())
    }

    fn named_volume(&self, name: &str) -> Result<(Id, String)> {
        let volume = match self.volume_get(name) {
            Err(error) if error.kind() == Kind::NotFound => {
                self.volume_create(&VolumeOptions { name: Some(name.to_owned()), ..VolumeOptions::default() })?
            }
            found => found?,
        };
        Ok((volume.id, volume.name))
    }

    /// Keeps the named volumes from being removed until their locks are dropped; makes those that are gone.
    fn hold_volumes(&self, record: &ContainerRecord, held: &mut Vec<Lock>) -> Result<()> {
        let names = record.mounts.iter().filter_map(|point| match &point.kind {
            MountPointKind::Volume { name, anonymous: false, .. } if !point.inherited => Some(name),
            _ => None,
        });
        for name in names {
            loop {
                let (id, _) = self.named_volume(name)?;
                let lock = self.lock_volume(&id, Mode::Shared)?;
                if self.volume_get(name).is_ok_and(|volume| volume.id == id) {
                    held.push(lock);
                    break;
                }
                // It went in between, and nobody asks for the lock of that one any more.
                drop(lock.remove_on_drop());
                self.check_interrupt()?;
            }
        }
        Ok(())
    }

    /// Puts the container on record, together with its name and everything it needs, or nothing of it. Gives its name.
    fn insert_record(&self, record: &mut ContainerRecord, wish: &Option<ids::Wish>) -> Result<String> {
        let id = record.id.clone();
        let id = id.as_str();
        let mut attempt = 0;
        loop {
            let name = record.options.name.clone().unwrap_or_else(|| names::generated(&record.id, attempt));
            let inserted = self.store.write(|tx| {
                if let Some(holder) = tx.named(Noun::Container, &name)? {
                    let short = holder.get(..Id::SHORT).unwrap_or(&holder);
                    return Err(Error::already_exists(format!("the name {name:?} is taken by the container {short}"))
                        .with_hint("remove or rename that container, or choose another name"));
                }
                // In the transaction that puts them on record: no two containers can find the same ones free.
                record.id_range = ids::lease(tx, record, wish)?;
                tx.insert(Noun::Container, id, Phase::Creating, record)?;
                tx.name(Noun::Container, &name, id)?;
                // Whatever was removed since it was looked up is missed here, in the same transaction.
                for (noun, target) in needs(record) {
                    tx.add_use((Noun::Container, id), (noun, &target))?;
                }
                Ok(())
            });
            match inserted {
                Err(error) if error.kind() == Kind::AlreadyExists && record.options.name.is_none() => attempt += 1,
                other => return other.map(|()| name),
            }
            if attempt >= NAME_ATTEMPTS {
                return Err(Error::already_exists("no free name was found").with_hint("give the container a name"));
            }
        }
    }

    /// Makes folders, files and anonymous volumes, and fills new volumes.
    fn fill(&self, record: &ContainerRecord) -> Result<()> {
        failpoint::hit("container.create.volumes")?;
        for id in own_anonymous(record) {
            self.make_anonymous_volume(&record.id, id)?;
        }
        failpoint::hit("container.create.files")?;
        let dir = self.paths().container(&record.id);
        for sub in ["upper", "work"] {
            let path = dir.join(sub);
            std::fs::create_dir_all(&path).context(|| format!("making {path:?}"))?;
        }
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default(); // a host may have none: an empty one
        let write = |name: &str, text: String| {
            std::fs::write(dir.join(name), text).context(|| format!("writing {:?}", dir.join(name)))
        };
        write("hosts", files::hosts(record, &read("/etc/hosts"), &[], None, &[]))?;
        write("hostname", format!("{}\n", record.hostname))?;
        write("resolv.conf", files::resolv_conf(&record.options, &resolver::of_host(), files::Servers::Host))?;
        failpoint::hit("container.create.copy_up")?;
        self.container_copy_up(record)
    }

    /// Makes a volume for this container alone. A prune that sees it before it is in use may take it: then it is made anew.
    fn make_anonymous_volume(&self, container: &Id, id: &Id) -> Result<()> {
        loop {
            self.volume_create(&VolumeOptions { id: Some(id.clone()), ..VolumeOptions::default() })?;
            let user = (Noun::Container, container.as_str());
            match self.store.write(|tx| tx.add_use(user, (Noun::Volume, id.as_str()))) {
                Err(error) if error.kind() == Kind::NotFound => self.check_interrupt()?,
                used => return used,
            }
        }
    }

    /// Ends what died in the middle: removes half-made containers, finishes interrupted removals.
    pub(in crate::engine) fn container_recover(&self) -> Result<()> {
        for (id, _) in self.store.read(|tx| tx.unfinished(Noun::Container))? {
            let Ok(id) = Id::parse(&id) else { continue };
            // A later command's turn: its monitor is being born or about to go, or something in it resists.
            let _ = self.container_recover_one(&id);
        }
        self.settle_intents(&self.connections(), |id| self.settle_connection(id))?;
        self.settle_intents(&self.update_folder(), |id| self.container_update_settle(id))
    }

    /// Settles what changes left under way that died in the middle: files of a folder with the ids of their containers,
    /// whose lock is held meanwhile.
    fn settle_intents(&self, folder: &Path, settle: impl Fn(&Id) -> Result<()>) -> Result<()> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::from(error).context(format!("reading {folder:?}"))),
        };
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| Id::parse(name).ok()) else { continue };
            // Somebody alive is at it, or something resists: a later command's turn.
            if let Ok(Some(_lock)) = self.try_lock_container(&id) {
                let _ = settle(&id);
            }
        }
        Ok(())
    }

    fn container_recover_one(&self, id: &Id) -> Result<()> {
        // Somebody alive is at it.
        let Some(lock) = self.try_lock_container(id)? else { return Ok(()) };
        let row = self.store.read(|tx| tx.get::<ContainerRecord>(Noun::Container, id.as_str()))?;
        match row.map(|row| (row.phase, row.body)) {
            // Its maker died, or saved itself the step, after the start: a monitor holds it, so it stays. One with
            // `--rm` goes in any case: it may stay as it is.
            Some((phase @ (Phase::Creating | Phase::Removing), record))
                if matches!(self.container_life(id)?, Life::Alive(_)) =>
            {
                // A step whose build is dead, since nobody has the lock: nobody will take what it makes. Or one whose removal
                // began when its command was just being executed.
                if record.image.is_empty() || phase == Phase::Removing {
                    let mut monitor = self.container_monitor(id, id.short())?;
                    monitor.stop(signal::KILL, std::time::Duration::ZERO, &self.interrupt)?;
                    monitor.join()?;
                    self.container_dismantle(&record, true)?;
                    drop(lock.remove_on_drop());
                    return Ok(());
                }
                if record.options.auto_remove { Ok(()) } else { self.container_settle(&record) }
            }
            Some((Phase::Creating | Phase::Removing, record)) => {
                self.container_dismantle(&record, true)?;
                drop(lock.remove_on_drop());
                Ok(())
            }
            Some((Phase::Ready, _)) | None => Ok(()),
        }
    }
}

/// What a container holds on to from its first moment: its image, its networks, and volumes that exist already.
fn needs(record: &ContainerRecord) -> Vec<(Noun, String)> {
    let volumes = record.mounts.iter().filter_map(|point| match &point.kind {
        MountPointKind::Volume { id, anonymous, .. } if point.inherited || !anonymous => {
            Some((Noun::Volume, id.to_string()))
        }
        _ => None,
    });
    let networks = record.options.networks.iter().map(|one| (Noun::Network, one.network.clone()));
    if record.image.is_empty() {
        // A step of a build has no image, but layers.
        let layers = record.layers.iter().map(|layer| (Noun::Layer, layer.to_string()));
        return layers.chain(volumes).chain(networks).collect();
    }
    std::iter::once((Noun::Image, record.image_id.to_string())).chain(volumes).chain(networks).collect()
}

/// The volumes that are made for this container, not taken over from another.
fn own_anonymous(record: &ContainerRecord) -> impl Iterator<Item = &Id> {
    record.mounts.iter().filter_map(|point| match &point.kind {
        MountPointKind::Volume { id, anonymous: true, .. } if !point.inherited => Some(id),
        _ => None,
    })
}

/// Bind sources exist, or are made when the mount says so (`-v` does, `--mount` does not).
fn prepare_bind_sources(options: &ContainerOptions) -> Result<()> {
    for mount in &options.mounts {
        let MountSource::Bind { path, create, .. } = &mount.source else { continue };
        let path = Path::new(path);
        match std::fs::metadata(path) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && *create && path.is_absolute() => {
                std::fs::create_dir_all(path).context(|| format!("making the mount source {path:?}"))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::not_found(format!("the mount source {path:?} does not exist")));
            }
            Err(error) => return Err(Error::from(error).context(format!("looking at the mount source {path:?}"))),
        }
    }
    Ok(())
}
