//! Volumes: every verb.
//!
//! ```text
//! create   record "creating" ─▶ folder ─▶ "ready"        a crash in between is undone at the next open
//! remove   record "removing" ─▶ folder gone ─▶ no record   … is finished at the next open
//! ```
//!
//! A volume's identity is its id; the name is a label, so renaming touches no file. Each verb that changes content holds
//! the volume's lock (reading it for a backup: a share of it). Containers are known here only as users of a record; what
//! mounts a volume is theirs.

mod backup;

use std::path::Path;

use crate::base::{Error, Id, Kind, Result, Timestamp, failpoint};
use crate::engine::Engine;
use crate::model::event::{Event, VOLUME};
use crate::model::system::{PruneFilter, PruneReport, has_label};
use crate::model::volume::{Backup, Difference, Volume, VolumeFilter, VolumeOptions};
use crate::runtime::state::is_held;
use crate::store::db::{Noun, Phase, Row, Tx};
use crate::sys::lock::Mode;

/// The longest name, so that it fits where file names do.
const MAX_NAME: usize = 255;
/// How often a creation is tried anew when others make and remove a volume of the same name.
const MAKE_ATTEMPTS: u32 = 100;

// `volume` is always what a user writes: a name, an id, or a unique beginning of an id.
impl Engine {
    /// Makes a volume; one of the same name or identity is returned as it is, as Docker does.
    ///
    /// # Errors
    /// `invalid_argument` for the name; `unsupported` for a driver; `conflict` when labels are given and the existing one
    /// has others.
    pub fn volume_create(&self, options: &VolumeOptions) -> Result<Volume> {
        check_driver(options.driver.as_deref())?;
        if let Some(name) = &options.name {
            check_name(name)?;
        }
        for _ in 0..MAKE_ATTEMPTS {
            if let Some(existing) = self.existing_volume(options)? {
                return Ok(existing);
            }
            match self.make_volume(options) {
                // Somebody is at the same name: theirs is the volume when they are done, or ours when they fail.
                Err(error) if error.kind() == Kind::AlreadyExists => self.await_maker(options)?,
                made => return made,
            }
        }
        Err(Error::timeout("the volume is made and removed all the time by others"))
    }

    /// Waits until nobody is making or removing the volume that these options name.
    fn await_maker(&self, options: &VolumeOptions) -> Result<()> {
        self.check_interrupt()?;
        let holder = match (&options.name, &options.id) {
            (Some(name), _) => self.store.read(|tx| tx.named(Noun::Volume, name))?,
            (None, id) => id.as_ref().map(Id::to_string),
        };
        match holder.map(|id| Id::parse(&id)).transpose()? {
            Some(id) => self.lock_volume(&id, Mode::Exclusive).map(drop),
            None => Ok(()),
        }
    }

    fn make_volume(&self, options: &VolumeOptions) -> Result<Volume> {
        let id = options.id.clone().map_or_else(Id::random, Ok)?;
        let volume = Volume {
            name: options.name.clone().unwrap_or_else(|| id.to_string()),
            anonymous: options.name.is_none(),
            created: Timestamp::now(),
            labels: options.labels.clone(),
            mountpoint: self.paths().volume_data(&id),
            id,
        };
        let id = volume.id.as_str();
        let lock = self.lock_volume(&volume.id, Mode::Exclusive)?;
        let inserted = self.store.write(|tx| {
            tx.insert(Noun::Volume, id, Phase::Creating, &volume)?;
            if volume.anonymous { Ok(()) } else { tx.name(Noun::Volume, &volume.name, id) }
        });
        if let Err(error) = inserted {
            drop(lock.remove_on_drop());
            return Err(error);
        }
        let made = failpoint::hit("volume.create.folder")
            .and_then(|()| self.store.volume_make(&volume.id))
            .and_then(|()| failpoint::hit("volume.create.ready"))
            .and_then(|()| self.store.write(|tx| tx.set_phase(Noun::Volume, id, Phase::Ready)));
        if let Err(error) = made {
            let undone = self.finish_removal(&volume.id);
            drop(lock.remove_on_drop());
            let error = error.context(format!("making the volume {:?}", volume.name));
            return Err(match undone {
                Ok(()) => error,
                // The record says "creating": the next open tries again.
                Err(failure) => Error::new(error.kind(), format!("{error} (and undoing it failed: {failure})")),
            });
        }
        if !volume.anonymous {
            self.store.flush()?;
        }
        self.tell(&event(&volume, "create"));
        Ok(volume)
    }

    /// One volume.
    ///
    /// # Errors
    /// `not_found`.
    pub fn volume_get(&self, volume: &str) -> Result<Volume> {
        self.store.read(|tx| find(tx, volume))
    }

    /// The matching volumes, by name.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn volume_list(&self, filter: &VolumeFilter) -> Result<Vec<Volume>> {
        let mut volumes = self.store.read(|tx| {
            let mut volumes = Vec::new();
            for row in tx.list::<Volume>(Noun::Volume)?.into_iter().filter(|row| row.phase == Phase::Ready) {
                let used = match filter.dangling {
                    Some(wanted) => users(tx, &row.id)?.is_empty() == wanted,
                    None => true,
                };
                if used && suits(&row.body, filter) {
                    volumes.push(row.body);
                }
            }
            Ok(volumes)
        })?;
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// The ids of the containers that mount it.
    ///
    /// # Errors
    /// `not_found`.
    pub fn volume_users(&self, volume: &str) -> Result<Vec<Id>> {
        self.store.read(|tx| users(tx, find(tx, volume)?.id.as_str()))
    }

    /// Bytes of its content on disk.
    ///
    /// # Errors
    /// `not_found`.
    pub fn volume_size_bytes(&self, volume: &str) -> Result<u64> {
        self.store.volume_size_bytes(&self.volume_get(volume)?.id)
    }

    /// Removes a volume. With `force` a missing one is no error.
    ///
    /// # Errors
    /// `conflict` when a container uses it.
    pub fn volume_remove(&self, volume: &str, force: bool) -> Result<()> {
        let id = match self.volume_get(volume) {
            Err(error) if force && error.kind() == Kind::NotFound => return Ok(()),
            found => found?.id,
        };
        if self.remove_volume_if(&id, true, |_| true)? || force { Ok(()) } else { Err(no_such(volume)) }
    }

    /// Removes a container's own volume with the container, unless it has gone or was given a name since: then somebody
    /// wants to keep it.
    ///
    /// # Errors
    /// `conflict` when another container uses it.
    pub(in crate::engine) fn volume_remove_anonymous(&self, id: &Id) -> Result<()> {
        // The container's record, which goes last, stands for it until then: nothing to make durable.
        self.remove_volume_if(id, false, |volume| volume.anonymous).map(drop)
    }

    /// True when there was one that is `wanted`, and nobody used it. `durable`: a power cut in the middle must not bring
    /// back a record whose files are gone.
    fn remove_volume_if(&self, id: &Id, durable: bool, wanted: impl FnOnce(&Volume) -> bool) -> Result<bool> {
        let _lock = self.lock_volume(id, Mode::Exclusive)?.remove_on_drop();
        let removing = self.store.write(|tx| {
            let Some(row) = ready(tx, id.as_str())?.filter(|row| wanted(&row.body)) else { return Ok(false) };
            refuse_users(tx, &row.body)?;
            // The name is free at once: another volume may have it while this one's files go.
            if !row.body.anonymous {
                tx.unname(Noun::Volume, &row.body.name)?;
            }
            tx.set_phase(Noun::Volume, id.as_str(), Phase::Removing).map(|()| true)
        })?;
        if !removing {
            return Ok(false);
        }
        if durable {
            self.store.flush()?;
        }
        failpoint::hit("volume.remove.folder")?;
        self.finish_removal(id).map(|()| true)
    }

    /// Gives a volume another name, also while it is in use.
    ///
    /// # Errors
    /// `already_exists`, `invalid_argument`.
    pub fn volume_rename(&self, volume: &str, name: &str) -> Result<()> {
        check_name(name)?;
        failpoint::hit("volume.rename.record")?;
        let (old, facts) = self.store.write(|tx| {
            let mut facts = find(tx, volume)?;
            let old = facts.name.clone();
            let id = facts.id.to_string();
            if tx.named(Noun::Volume, name)?.is_some_and(|holder| holder != id) {
                return Err(Error::already_exists(format!("there is a volume {name:?} already")));
            }
            if !facts.anonymous {
                tx.unname(Noun::Volume, &facts.name)?;
            }
            tx.name(Noun::Volume, name, &id)?;
            facts.name = name.to_owned();
            facts.anonymous = false;
            tx.update(Noun::Volume, &id, &facts)?;
            Ok((old, facts))
        })?;
        self.store.flush()?;
        self.tell(&event(&facts, "rename").with("oldName", old));
        Ok(())
    }

    /// Writes its content to `path`: a zstd-compressed tar for a name ending in `.zst`, otherwise a plain tar.
    ///
    /// # Errors
    /// `already_exists` when there is such a file; `no_space`; nothing is left at `path` then.
    pub fn volume_backup(&self, volume: &str, path: &Path) -> Result<Backup> {
        self.backup_volume(volume, path)
    }

    /// Replaces its content by a backup's, checked by digest before anything is changed.
    ///
    /// # Errors
    /// `corrupt` when the archive is damaged; `conflict` when a running container uses the volume. The old content stays.
    pub fn volume_restore(&self, volume: &str, path: &Path) -> Result<Backup> {
        self.restore_volume(volume, path)
    }

    /// What would have to change in `volume` to become `other`.
    ///
    /// # Errors
    /// `not_found`.
    pub fn volume_diff(&self, volume: &str, other: &str) -> Result<Vec<Difference>> {
        let (from, to) = (self.volume_get(volume)?, self.volume_get(other)?);
        self.store.volume_diff(&from.id, &to.id)
    }

    /// Removes anonymous volumes (`all`: named ones too) that no container uses.
    ///
    /// # Errors
    /// `interrupted`, and when nothing can be listed; what could not be removed is in the report.
    pub fn volume_prune(&self, all: bool, which: &PruneFilter) -> Result<PruneReport> {
        let filter = VolumeFilter { dangling: Some(true), ..VolumeFilter::default() };
        let mut report = PruneReport::default();
        for volume in self.volume_list(&filter)? {
            self.check_interrupt()?;
            if (!all && !volume.anonymous) || !which.fits(Some(volume.created), &volume.labels) {
                continue;
            }
            // What is missing takes no room; that it is missing is told by a check.
            let size = self.store.volume_size_bytes(&volume.id).unwrap_or_default();
            match self.volume_remove(volume.id.as_str(), true) {
                // A container took it meanwhile.
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => report.failures.push(format!("removing the volume {:?}: {error}", volume.name)),
                Ok(()) => {
                    report.items.push(volume.name);
                    report.freed_bytes += size;
                }
            }
        }
        self.tell(&Event::new(VOLUME, "prune", "").with("reclaimed", report.freed_bytes));
        Ok(report)
    }

    /// Checks an archive made by backup without restoring it.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn backup_verify(&self, path: &Path) -> Result<Backup> {
        self.verify_backup(path)
    }

    /// Undoes creations and finishes removals whose process died in the middle. Cheap when there is none.
    pub(in crate::engine) fn volume_recover(&self) -> Result<()> {
        for (id, phase) in self.store.read(|tx| tx.unfinished(Noun::Volume))? {
            let Ok(id) = Id::parse(&id) else { continue };
            // A later command's turn when something in it resists.
            let _ = self.volume_recover_one(&id, phase);
        }
        Ok(())
    }

    fn volume_recover_one(&self, id: &Id, phase: Phase) -> Result<()> {
        // Somebody alive is at it.
        let Some(lock) = self.try_lock_volume(id)? else { return Ok(()) };
        // It may have become ready before the lock was ours.
        if self.store.read(|tx| tx.phase(Noun::Volume, id.as_str()))? == Some(phase) {
            self.finish_removal(id)?;
            drop(lock.remove_on_drop());
        }
        Ok(())
    }

    fn finish_removal(&self, id: &Id) -> Result<()> {
        self.store.volume_delete(id)?;
        failpoint::hit("volume.remove.record")?;
        let gone = self.store.write(|tx| {
            let row = tx.get::<Volume>(Noun::Volume, id.as_str())?;
            tx.delete(Noun::Volume, id.as_str())?;
            Ok(row)
        })?;
        // One that was never whole was never told of.
        if let Some(row) = gone.filter(|row| row.phase == Phase::Removing) {
            self.tell(&event(&row.body, "destroy"));
        }
        Ok(())
    }

    /// The volume that a creation with these options gives back instead of making one.
    fn existing_volume(&self, options: &VolumeOptions) -> Result<Option<Volume>> {
        let existing = self.store.read(|tx| {
            let id = match (&options.name, &options.id) {
                (Some(name), _) => tx.named(Noun::Volume, name)?,
                (None, Some(id)) => Some(id.to_string()),
                (None, None) => None,
            };
            id.map_or(Ok(None), |id| ready(tx, &id))
        })?;
        match existing {
            Some(row) if !options.labels.is_empty() && row.body.labels != options.labels => {
                Err(Error::conflict(format!("the volume {:?} exists with other labels", row.body.name))
                    .with_hint("choose another name, or leave the labels out"))
            }
            existing => Ok(existing.map(|row| row.body)),
        }
    }

    /// Refuses when a running container has the volume: it would go on with content that nobody else sees.
    fn refuse_running(&self, volume: &Volume) -> Result<()> {
        match self.volume_mounted_by(&volume.id)? {
            None => Ok(()),
            Some(user) => {
                let short = user.short();
                Err(Error::conflict(format!("the volume {:?} is in use: {short} runs", volume.name))
                    .with_hint("stop the container first"))
            }
        }
    }

    /// A container that has it mounted, or is about to: one with a monitor. Final only while the volume is held.
    pub(in crate::engine) fn volume_mounted_by(&self, id: &Id) -> Result<Option<Id>> {
        for user in self.store.read(|tx| users(tx, id.as_str()))? {
            if is_held(&self.paths().container_run(&user))? {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }
}

/// An event with a volume's own attribute. Its identity is the name, as with Docker.
fn event(volume: &Volume, action: &str) -> Event {
    Event::new(VOLUME, action, volume.name.as_str()).with("driver", "local")
}

/// The volume for what a user wrote.
fn find(tx: &Tx<'_>, text: &str) -> Result<Volume> {
    let id = tx.find(Noun::Volume, text)?;
    ready(tx, &id)?.map(|row| row.body).ok_or_else(|| no_such(text))
}

/// A whole volume: one that is being made or removed is not there.
fn ready(tx: &Tx<'_>, id: &str) -> Result<Option<Row<Volume>>> {
    Ok(tx.get::<Volume>(Noun::Volume, id)?.filter(|row| row.phase == Phase::Ready))
}

fn users(tx: &Tx<'_>, id: &str) -> Result<Vec<Id>> {
    let users = tx.users((Noun::Volume, id))?;
    users.into_iter().filter(|(noun, _)| *noun == Noun::Container).map(|(_, id)| Id::parse(&id)).collect()
}

fn refuse_users(tx: &Tx<'_>, volume: &Volume) -> Result<()> {
    match users(tx, volume.id.as_str())?.as_slice() {
        [] => Ok(()),
        [user, ..] => {
            let short = user.short();
            Err(Error::conflict(format!("the volume {:?} is used by the container {short}", volume.name))
                .with_hint("remove that container first"))
        }
    }
}

fn no_such(text: &str) -> Error {
    let shown: String = text.chars().take(300).collect();
    Error::not_found(format!("no such volume {shown:?}"))
}

fn check_driver(driver: Option<&str>) -> Result<()> {
    match driver {
        None | Some("" | "local") => Ok(()),
        Some(other) => {
            let shown: String = other.chars().take(100).collect();
            Err(Error::unsupported(format!("no volume driver {shown:?}")).with_hint("leave it out, or use \"local\""))
        }
    }
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, and not of the form of an id, which would make ids ambiguous.
fn check_name(name: &str) -> Result<()> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !first || !rest || name.len() > MAX_NAME || Id::parse(name).is_ok() {
        let shown: String = name.chars().take(300).collect();
        return Err(Error::invalid(format!("{shown:?} is not a name for a volume"))
            .with_hint("use letters and digits, and behind the first one also dots, dashes and underscores"));
    }
    Ok(())
}

fn suits(volume: &Volume, filter: &VolumeFilter) -> bool {
    let named = filter.name.is_empty() || filter.name.iter().any(|part| volume.name.contains(part.as_str()));
    named
        && filter.label.iter().all(|wanted| has_label(&volume.labels, wanted))
        && (filter.driver.is_empty() || filter.driver.iter().any(|driver| driver == "local"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_volumes_follow_the_grammar() {
        for good in ["a", "0", "db-data_1.x", &"a".repeat(255)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a/b", "..", "a b", "é", "a\n", &"a".repeat(256), &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
