//! `system check`: records, folders, blobs and kernel objects compared with each other (RELIABILITY.md, rule 9).
//!
//! It never guesses about somebody alive: what is locked, or held by a monitor, is skipped.

use std::path::Path;

use crate::base::{Context as _, Id, Result};
use crate::engine::Engine;
use crate::model::container::ContainerRecord;
use crate::model::system::{CheckOptions, CheckReport, Problem};
use crate::runtime::state::{Life, cgroups_below, sweep};
use crate::store::db::{Noun, Phase};
use crate::sys::path::remove_tree;

impl Engine {
    /// Cross-checks records, folders, blobs and kernel objects.
    ///
    /// # Errors
    /// Only when the check itself cannot be done.
    pub fn system_check(&self, options: CheckOptions) -> Result<CheckReport> {
        let mut report = self.store.check(options)?;
        self.check_containers(options, &mut report)?;
        self.check_container_folders(options, &mut report)?;
        self.check_cgroups(options, &mut report)?;
        self.check_volumes(options, &mut report)?;
        let (checked, problems) = self.network_check(options.repair)?;
        report.checked += checked;
        report.problems.extend(problems);
        Ok(report)
    }

    /// Every record has its folder, and a container whose monitor is gone left nothing in the kernel.
    fn check_containers(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        for id in self.store.read(|tx| tx.ids(Noun::Container))? {
            report.checked += 1;
            let Ok(id) = Id::parse(&id) else { continue };
            let Some(lock) = self.try_lock_container(&id)? else { continue };
            // Only what is read under the lock is true: its maker may have finished, or somebody removed it.
            let row = self.store.read(|tx| tx.get::<ContainerRecord>(Noun::Container, id.as_str()))?;
            let Some(row) = row else {
                drop(lock.remove_on_drop());
                continue;
            };
            let mut found = |problem: &str, repaired: bool| {
                report.problems.push(problem_of("container", id.as_str(), problem, repaired))
            };
            if row.phase != Phase::Ready {
                if matches!(self.container_life(&id)?, Life::Alive(_)) {
                    continue;
                }
                found("a command that made or removed it died in the middle", options.repair);
                if options.repair {
                    self.container_dismantle(&row.body, true)?;
                    drop(lock.remove_on_drop());
                }
                continue;
            }
            if !self.paths().container(&id).join("upper").is_dir() {
                found("its folder is missing", options.repair);
                if options.repair {
                    // Its volumes stay: their content was not lost.
                    self.container_take_away(row.body, false)?;
                    drop(lock.remove_on_drop());
                }
                continue;
            }
            if let Life::Lost { .. } = self.container_life(&id)? {
                let cgroup = self.cgroup_of(&row.body);
                let parent = cgroup.rsplit_once('/').map_or("", |(parent, _)| parent);
                let left = cgroups_below(parent)?.iter().any(|name| name == id.as_str());
                if left {
                    found("its monitor is gone and its cgroup is still there", options.repair);
                    if options.repair {
                        sweep(&cgroup, &self.paths().container_run(&id))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// No folder without a record.
    fn check_container_folders(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        for (noun, parent) in [("folder", self.paths().containers()), ("run folder", self.paths().container_runs())] {
            for name in names_in(&parent)? {
                report.checked += 1;
                let Ok(id) = Id::parse(&name) else { continue };
                if self.container_known(&id)? {
                    continue;
                }
                let Some(lock) = self.try_lock_container(&id)? else { continue };
                if self.container_known(&id)? || !parent.join(&name).is_dir() {
                    continue;
                }
                let _lock = lock.remove_on_drop();
                report.problems.push(problem_of(noun, &name, "no container has it", options.repair));
                if options.repair {
                    sweep(&self.cgroup_of_id(&id), &self.paths().container_run(&id))?;
                    let path = parent.join(&name);
                    remove_tree(&path).context(|| format!("removing {path:?}"))?;
                }
            }
        }
        for name in names_in(&self.paths().locks())? {
            let Some(id) = name.strip_prefix("container-").and_then(|id| Id::parse(id).ok()) else { continue };
            // A lock without a container is a trace of a race, not a fault: it goes without a word.
            if !self.container_known(&id)? {
                drop(self.try_lock_container(&id)?.map(|lock| lock.remove_on_drop()));
            }
        }
        Ok(())
    }

    fn container_known(&self, id: &Id) -> Result<bool> {
        self.store.read(|tx| Ok(tx.get::<serde_json::Value>(Noun::Container, id.as_str())?.is_some()))
    }

    /// No cgroup without a live container.
    fn check_cgroups(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        for name in cgroups_below(&self.cgroup_parent())? {
            report.checked += 1;
            let Ok(id) = Id::parse(&name) else { continue };
            if matches!(self.container_life(&id)?, Life::Alive(_)) {
                continue;
            }
            // Locked: somebody is starting or removing it.
            let Some(lock) = self.try_lock_container(&id)? else { continue };
            if matches!(self.container_life(&id)?, Life::Alive(_)) {
                continue;
            }
            report.problems.push(problem_of("cgroup", &name, "no running container has it", options.repair));
            if options.repair {
                sweep(&self.cgroup_of_id(&id), &self.paths().container_run(&id))?;
            }
            if !self.container_known(&id)? {
                drop(lock.remove_on_drop());
            }
        }
        Ok(())
    }

    /// Volumes have their content, and no folder is without a record.
    fn check_volumes(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        let phase = |id: &Id| self.store.read(|tx| tx.phase(Noun::Volume, id.as_str()));
        for id in self.store.read(|tx| tx.ids(Noun::Volume))? {
            report.checked += 1;
            let Ok(id) = Id::parse(&id) else { continue };
            let Some(_lock) = self.try_lock_volume(&id)? else { continue };
            match phase(&id)? {
                Some(Phase::Ready) if !self.paths().volume_data(&id).is_dir() => {
                    // Data that is gone cannot be repaired, and an empty folder would hide the loss.
                    report.problems.push(problem_of("volume", id.as_str(), "its content is missing", false));
                }
                // Every command tries to end it, this one did too.
                Some(Phase::Creating | Phase::Removing) => {
                    let text = "a command that made or removed it died in the middle, and what is left resists";
                    report.problems.push(problem_of("volume", id.as_str(), text, false));
                }
                Some(Phase::Ready) | None => {}
            }
        }
        for name in names_in(&self.paths().volumes())? {
            report.checked += 1;
            let Ok(id) = Id::parse(&name) else { continue };
            if phase(&id)?.is_some() {
                continue;
            }
            // A record comes before its folder and goes after it, under the lock: now both can be told for sure.
            let Some(lock) = self.try_lock_volume(&id)? else { continue };
            if phase(&id)?.is_some() {
                continue;
            }
            let lock = lock.remove_on_drop();
            if self.paths().volume(&id).is_dir() {
                report.problems.push(problem_of("folder", &name, "no volume has it", options.repair));
                if options.repair {
                    self.store.volume_delete(&id)?;
                }
            }
            drop(lock);
        }
        for name in names_in(&self.paths().locks())? {
            let Some(id) = name.strip_prefix("volume-").and_then(|id| Id::parse(id).ok()) else { continue };
            // As with containers: a trace of a race.
            if phase(&id)?.is_none() {
                drop(self.try_lock_volume(&id)?.map(|lock| lock.remove_on_drop()));
            }
        }
        Ok(())
    }
}

fn problem_of(noun: &str, name: &str, problem: &str, repaired: bool) -> Problem {
    Problem { noun: noun.to_owned(), name: name.to_owned(), problem: problem.to_owned(), repaired }
}

/// The names in a folder; none when it is missing.
fn names_in(dir: &Path) -> Result<Vec<String>> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(crate::base::Error::from(error).context(format!("reading {dir:?}"))),
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<std::io::Result<_>>()
            .context(|| format!("reading {dir:?}")),
    }
}
