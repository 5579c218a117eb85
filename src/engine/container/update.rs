//! New limits for a container that exists.
//!
//! ```text
//! validate all ─▶ intent in <run>/updates/<id> ─▶ kernel ─▶ record ─▶ intent gone ─▶ monitor (restart policy)
//! ```
//!
//! What the kernel refuses changes nothing. An intent that is found by a later command belongs to one that died: when the
//! record does not have the new limits, the kernel gets the old ones again.

use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use crate::base::failpoint;
use crate::base::{Context as _, Error, Id, Result};
use crate::engine::Engine;
use crate::engine::container::decide::check_limits;
use crate::engine::container::restart::check_restart;
use crate::engine::container::spec::Joined;
use crate::model::container::ContainerRecord;
use crate::model::limits::{ContainerUpdate, Limits};
use crate::runtime::counters;
use crate::runtime::limits::{self, Change};
use crate::runtime::state::Life;
use crate::store::db::{Noun, Phase};

/// The kernel's period of processor time, in microseconds.
const PERIOD_US: u64 = 100_000;
/// The kernel's weights where nothing is set.
const SHARES: u64 = 1024;
const WEIGHT: u16 = 100;

impl Engine {
    /// Gives a container other limits and another restart policy, at once when it runs. All or nothing: what is refused
    /// changes nothing.
    ///
    /// # Errors
    /// `invalid_argument` for limits that cannot be, `conflict` for those that do not go with what the container has or
    /// uses, or when it is being removed; `unsupported` for what the machine lacks.
    pub fn container_update(&self, container: &str, update: &ContainerUpdate) -> Result<()> {
        let id = self.container_find(container)?.id;
        let _lock = self.lock_container(&id)?;
        self.container_update_settle(&id)?;
        let found = self.container_reload(&id)?;
        let doing = || format!("updating the container {:?}", found.name);
        if found.phase == Phase::Removing {
            return Err(Error::conflict(format!("the container {:?} is being removed", found.name)));
        }
        if let Some(policy) = update.restart {
            check_restart(&found, policy)?;
        }
        let mut record = found.record.clone();
        record.options.limits = merged(&found.record.options.limits, &update.limits).context(doing)?;
        record.options.restart = update.restart.unwrap_or(record.options.restart);
        check_limits(&record.options).context(doing)?;
        let (before, after) = (self.limits_of(&found.record)?, self.limits_of(&record).context(doing)?);
        let is_live = before != after && matches!(self.container_life(&id)?, Life::Alive(_));
        let change = if is_live { Some(self.change(&record, &before, &after)?) } else { None };
        let (cgroup, run_dir) = (self.cgroup_of(&record), self.paths().container_run(&id));
        if let Some(change) = &change {
            let folder = self.update_folder();
            std::fs::create_dir_all(&folder).context(|| format!("making {folder:?}"))?;
            failpoint::hit("container.update.intent")?;
            limits::write_intent(&self.update_intent(&id), change)?;
            if let Err(error) = limits::apply(&cgroup, &run_dir, change) {
                limits::remove_intent(&self.update_intent(&id))?;
                return Err(error.context(doing()));
            }
        }
        let recorded = failpoint::hit("container.update.record")
            .and_then(|()| self.store.write(|tx| tx.update(Noun::Container, id.as_str(), &record)));
        if let Some(change) = &change {
            let undone = if recorded.is_err() { limits::undo(&cgroup, &run_dir, change) } else { Ok(()) };
            failpoint::hit("container.update.settle")?;
            // One that could not be undone is left to a later command.
            undone.and_then(|()| limits::remove_intent(&self.update_intent(&id))).context(doing)?;
        }
        recorded.context(doing)?;
        self.store.flush()?;
        if let Some(policy) = update.restart {
            self.tell_restart(&id, policy).context(doing)?;
        }
        self.tell_of_found(&found, "update");
        Ok(())
    }

    /// Undoes what an update of this container left that died before it was recorded; its lock is held.
    pub(super) fn container_update_settle(&self, id: &Id) -> Result<()> {
        let path = self.update_intent(id);
        let Some(change) = limits::read_intent(&path)? else { return Ok(()) };
        let row = self.store.read(|tx| tx.get::<ContainerRecord>(Noun::Container, id.as_str()))?;
        if let Some(record) = row.map(|row| row.body)
            && matches!(self.container_life(id)?, Life::Alive(_))
            && self.limits_of(&record)? != shown(&change.after)
        {
            limits::undo(&self.cgroup_of(&record), &self.paths().container_run(id), &change)?;
        }
        limits::remove_intent(&path)
    }

    /// Where updates that are under way are noted.
    pub(super) fn update_folder(&self) -> PathBuf {
        self.paths().run().join("updates")
    }

    fn update_intent(&self, id: &Id) -> PathBuf {
        self.update_folder().join(id.as_str())
    }

    /// The limits of a specification as data, without devices.
    fn limits_of(&self, record: &ContainerRecord) -> Result<Value> {
        let spec = self.container_spec(record, &Joined::default())?;
        let mut resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
        resources.set_devices(None);
        Ok(shown(&resources))
    }

    fn change(&self, record: &ContainerRecord, before: &Value, after: &Value) -> Result<Change> {
        let cpuset = counters::sample(&self.cgroup_of(record), None).ok().and_then(|sample| sample.stats.cpuset);
        let list = |numbers: &[u16]| numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let (cpus, mems) = cpuset.map(|set| (list(&set.cpus), list(&set.mems))).unwrap_or_default();
        let unset = json!({
            "memory": { "limit": -1, "swap": -1, "reservation": -1 },
            "cpu": { "quota": -1, "period": PERIOD_US, "shares": SHARES, "cpus": cpus, "mems": mems },
            "blockIO": { "weight": WEIGHT },
            "pids": { "limit": -1 },
        });
        let (mut wanted, previous) = differences(before, after, &unset);
        if let Some(memory) = wanted.get_mut("memory").and_then(Value::as_object_mut) {
            // Version 2 would kill where version 1 refuses.
            memory.insert("checkBeforeUpdate".into(), true.into());
        }
        Ok(Change {
            before: read(before.clone())?,
            after: read(after.clone())?,
            wanted: read(wanted.into())?,
            previous: read(previous.into())?,
        })
    }
}

fn shown(resources: &LinuxResources) -> Value {
    serde_json::to_value(resources).unwrap_or_default()
}

fn read(value: Value) -> Result<LinuxResources> {
    serde_json::from_value(value).map_err(|error| Error::failed("limits that cannot be told").with_source(error))
}

/// The numbers that differ, as they shall be and as they were; `unset` has what is there without a limit. Memory and swap,
/// quota and period hold against each other, so they go together.
fn differences(before: &Value, after: &Value, unset: &Value) -> (Map<String, Value>, Map<String, Value>) {
    const TOGETHER: [(&str, [&str; 2]); 2] = [("memory", ["limit", "swap"]), ("cpu", ["quota", "period"])];
    let (mut wanted, mut previous) = (Map::new(), Map::new());
    for (part, new) in after.as_object().into_iter().flatten() {
        let Some(new) = new.as_object() else { continue };
        let differs = |key: &str| new.get(key).is_some_and(|value| before[part][key] != *value);
        let goes_along = |key: &str| {
            TOGETHER.iter().any(|(of, pair)| of == part && pair.contains(&key) && pair.iter().any(|key| differs(key)))
        };
        for (key, value) in new.iter().filter(|(key, _)| differs(key) || goes_along(key)) {
            let old = Some(&before[part][key]).filter(|old| !old.is_null()).unwrap_or(&unset[part][key]);
            insert(&mut wanted, part, key, value);
            if !old.is_null() {
                insert(&mut previous, part, key, old);
            }
        }
    }
    (wanted, previous)
}

fn insert(all: &mut Map<String, Value>, part: &str, key: &str, value: &Value) {
    if let Value::Object(map) = all.entry(part).or_insert_with(|| json!({})) {
        map.insert(key.to_owned(), value.clone());
    }
}

/// Docker's rules (moby, `UpdateContainer`): what is not given stays; processors' worth of time and a quota exclude each
/// other also over time; a memory limit may not pass the limit of memory and swap. Unlike Docker's, a container without
/// any limit of memory can get one alone.
fn merged(old: &Limits, new: &Limits) -> Result<Limits> {
    let conflict = |text: &str| Err(Error::conflict(format!("conflicting options: {text}")));
    if new.cpus.is_some() && (old.cpu_period_us.is_some() || old.cpu_quota_us.is_some()) {
        let which = if old.cpu_period_us.is_some() { "period" } else { "quota" };
        return conflict(&format!("cpus cannot be updated as the cpu {which} has already been set"));
    }
    if old.cpus.is_some() && (new.cpu_period_us.is_some() || new.cpu_quota_us.is_some()) {
        let which = if new.cpu_period_us.is_some() { "period" } else { "quota" };
        return conflict(&format!("the cpu {which} cannot be updated as cpus has already been set"));
    }
    let old_swap = match (old.memory_swap_bytes, old.memory_bytes) {
        (None, Some(memory)) => Some(i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX)),
        (swap, _) => swap,
    };
    if let (Some(memory), None, Some(swap @ 0..)) = (new.memory_bytes, new.memory_swap_bytes, old_swap)
        && memory > swap.unsigned_abs()
    {
        return Err(Error::conflict(
            "memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        )
        .with_hint("give --memory-swap as well; -1 is any swap"));
    }
    let mut limits = old.clone();
    limits.memory_bytes = new.memory_bytes.or(old.memory_bytes);
    limits.memory_swap_bytes = new.memory_swap_bytes.or(old_swap);
    limits.memory_reservation_bytes = new.memory_reservation_bytes.or(old.memory_reservation_bytes);
    limits.cpus = new.cpus.or(old.cpus);
    limits.cpu_quota_us = new.cpu_quota_us.or(old.cpu_quota_us);
    limits.cpu_period_us = new.cpu_period_us.or(old.cpu_period_us);
    limits.cpu_shares = new.cpu_shares.or(old.cpu_shares);
    limits.cpuset_cpus = new.cpuset_cpus.clone().or(limits.cpuset_cpus);
    limits.cpuset_mems = new.cpuset_mems.clone().or(limits.cpuset_mems);
    limits.pids = new.pids.or(old.pids);
    limits.cpu_rt_runtime_us = new.cpu_rt_runtime_us.or(old.cpu_rt_runtime_us);
    limits.cpu_rt_period_us = new.cpu_rt_period_us.or(old.cpu_rt_period_us);
    limits.blkio.weight = new.blkio.weight.or(old.blkio.weight);
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn what_is_not_given_stays_and_limits_hold_against_each_other() {
        let old = Limits { memory_bytes: Some(64), pids: Some(5), ..Limits::default() };
        let more = |change: fn(&mut Limits)| {
            let mut new = Limits::default();
            change(&mut new);
            merged(&old, &new)
        };
        let raised = more(|new| new.memory_bytes = Some(100)).unwrap();
        assert_eq!((raised.memory_bytes, raised.memory_swap_bytes, raised.pids), (Some(100), Some(128), Some(5)));
        assert_eq!(more(|new| new.memory_bytes = Some(129)).unwrap_err().kind(), Kind::Conflict);
        assert!(more(|new| (new.memory_bytes, new.memory_swap_bytes) = (Some(129), Some(-1))).is_ok());
        let none = merged(&Limits::default(), &Limits { memory_bytes: Some(9), ..Limits::default() }).unwrap();
        assert_eq!((none.memory_bytes, none.memory_swap_bytes), (Some(9), None));
        let cpus = Limits { cpus: Some(1.0), ..Limits::default() };
        let quota = Limits { cpu_quota_us: Some(1), ..Limits::default() };
        assert!(merged(&cpus, &quota).is_err() && merged(&quota, &cpus).is_err());
    }

    #[test]
    fn the_kernel_is_told_what_differs_and_pairs_go_together() {
        let unset = json!({ "memory": { "limit": -1, "swap": -1 }, "pids": { "limit": -1 } });
        let before = json!({ "memory": { "limit": 5, "swap": 10 } });
        let after = json!({ "memory": { "limit": 6, "swap": 10 }, "pids": { "limit": 3 }, "cpu": { "shares": 7 } });
        let (wanted, previous) = differences(&before, &after, &unset);
        assert_eq!(Value::from(wanted), after);
        assert_eq!(Value::from(previous), json!({ "memory": { "limit": 5, "swap": 10 }, "pids": { "limit": -1 } }));
        assert_eq!(differences(&after, &after, &unset), Default::default());
    }
}
