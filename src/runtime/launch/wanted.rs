//! What a specification's `process` asks for, checked and in the kernel's terms: made before anything is forked.
//!
//! It touches nothing, so that whatever makes no sense is an error before there is a container to undo.

use oci_spec::runtime::{
    Capabilities as CapabilitySet, IOPriorityClass, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    PosixRlimit, Process, Scheduler, Spec, User as SpecUser,
};

use crate::base::{Context as _, Error, Result};
use crate::runtime::label::{self, Label};
use crate::runtime::seccomp::Filter;
use crate::sys::capability::{Capabilities, Set};
use crate::sys::scheduling::{Cpus, Scheduling};

/// The container's mask for new files when the specification does not say: everybody's default.
const UMASK: u32 = 0o022;
/// The most further groups (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// What is executed, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program and its arguments.
    pub(crate) args: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    /// The working folder.
    pub(crate) cwd: String,
    /// Make the working folder when it is missing.
    pub(crate) make_cwd: bool,
    /// As whom.
    pub(crate) who: Who,
    /// The numbers of the specification.
    pub(crate) numbers: SpecUser,
    /// Its rights.
    pub(crate) capabilities: Capabilities,
    /// Its limits.
    pub(crate) limits: Vec<Limit>,
    /// Mode bits that its new files do not get.
    pub(crate) umask: u32,
    /// How the CPU scheduler treats it.
    pub(crate) scheduling: Option<Scheduling>,
    /// The class and level of its input and output.
    pub(crate) io_priority: Option<(u16, u16)>,
    /// Its CPUs, for a further process alone.
    pub(crate) affinity: Affinity,
    /// Its execution domain.
    pub(crate) personality: Option<u32>,
    /// Its label of a security module.
    pub(crate) label: Option<Label>,
    /// No program may gain rights.
    pub(crate) no_new_privileges: bool,
    /// The system calls that it may make.
    pub(crate) filter: Option<Filter>,
    /// It ends with the process that forked it.
    pub(crate) die_with_parent: bool,
    /// How many descriptors from 3 on it inherits.
    pub(crate) preserve_fds: u32,
    /// Its user namespace forbids to set further groups.
    pub(crate) groups_fixed: bool,
    /// The program, once it was found.
    pub(crate) program: Option<String>,
}

/// Who a command runs as.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// The numbers of the specification and nothing else.
    Numbers,
    /// As Docker: names and numbers, looked up in the container's own files; a user without a group has the groups that
    /// are written there.
    Named {
        /// `user[:group]`; empty for the numbers of the specification.
        user: String,
        /// Further groups.
        group_add: Vec<String>,
    },
}

/// A resource limit; without a value it is unlimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    /// `nofile`.
    pub(crate) name: String,
    /// What holds.
    pub(crate) soft: Option<u64>,
    /// How far the process may raise it.
    pub(crate) hard: Option<u64>,
}

/// The CPUs of a further process: until it is in the container's cgroup, and then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Affinity {
    /// Until then.
    pub(crate) initial: Option<Cpus>,
    /// From then on.
    pub(crate) last: Option<Cpus>,
}

impl Launch {
    /// What `process` asks for in a container of `spec`; `who` says how its user is meant.
    ///
    /// # Errors
    /// `invalid_argument` for what contradicts the specification or itself; `unsupported` for a label of a security module
    /// that this kernel does not have.
    pub(crate) fn of(spec: &Spec, process: &Process, who: &Who) -> Result<Launch> {
        let groups = process.user().additional_gids().as_ref().map_or(0, Vec::len);
        if groups > MAX_GROUPS {
            return Err(Error::invalid(format!("{groups} groups are more than the {MAX_GROUPS} of the kernel")));
        }
        Ok(Launch {
            args: process.args().clone().unwrap_or_default(),
            env: process.env().clone().unwrap_or_default(),
            cwd: process.cwd().to_string_lossy().into_owned(),
            make_cwd: true,
            who: match who {
                Who::Numbers => Who::Numbers,
                Who::Named { user, group_add } => named(process, user, group_add),
            },
            numbers: process.user().clone(),
            capabilities: capabilities(process),
            limits: limits(process.rlimits().as_deref().unwrap_or_default())?,
            umask: umask(process)?,
            scheduling: process.scheduler().as_ref().map(scheduling).transpose()?,
            io_priority: io_priority(process)?,
            affinity: Affinity::of(process)?,
            personality: personality(spec)?,
            label: label::of(process)?,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            filter: None,
            die_with_parent: false,
            preserve_fds: 0,
            groups_fixed: false,
            program: None,
        })
    }
}

impl Affinity {
    /// What `process` asks for.
    ///
    /// # Errors
    /// `invalid_argument` for what is no list of CPUs.
    fn of(process: &Process) -> Result<Affinity> {
        let Some(affinity) = process.exec_cpu_affinity() else { return Ok(Affinity::default()) };
        let parse = |list: &Option<String>, what: &str| {
            let list = list.as_ref().filter(|list| !list.is_empty());
            list.map(|list| Cpus::parse(list)).transpose().context(|| format!("reading execCPUAffinity.{what}"))
        };
        Ok(Affinity {
            initial: parse(affinity.initial(), "initial")?,
            last: parse(affinity.cpu_affinity_final(), "final")?,
        })
    }
}

fn named(process: &Process, user: &str, group_add: &[String]) -> Who {
    let numeric = process.user();
    let user = if user.is_empty() { format!("{}:{}", numeric.uid(), numeric.gid()) } else { user.to_owned() };
    let further = numeric.additional_gids().iter().flatten().map(u32::to_string);
    Who::Named {
        // Root without a word about groups has those of the container's group file.
        user: if user == "0:0" { String::new() } else { user },
        group_add: further.chain(group_add.iter().cloned()).collect(),
    }
}

/// The five sets by the kernel's bits; what is not mentioned is empty.
fn capabilities(process: &Process) -> Capabilities {
    let Some(sets) = process.capabilities() else { return Capabilities::default() };
    let set =
        |set: &Option<CapabilitySet>| Set::parse(set.iter().flatten().map(|capability| format!("CAP_{capability}"))).0;
    Capabilities {
        bounding: set(sets.bounding()),
        effective: set(sets.effective()),
        permitted: set(sets.permitted()),
        inheritable: set(sets.inheritable()),
        ambient: set(sets.ambient()),
    }
}

fn limits(wanted: &[PosixRlimit]) -> Result<Vec<Limit>> {
    let mut limits: Vec<Limit> = Vec::with_capacity(wanted.len());
    for limit in wanted {
        let typ = limit.typ().to_string();
        let name = typ.to_ascii_lowercase().trim_start_matches("rlimit_").to_owned();
        if limits.iter().any(|other| other.name == name) {
            return Err(Error::invalid(format!("{typ} is limited twice")));
        }
        if limit.soft() > limit.hard() {
            let (soft, hard) = (limit.soft(), limit.hard());
            return Err(Error::invalid(format!("{typ} cannot be {soft} with {hard} as its hard limit")));
        }
        let value = |value: u64| (value != u64::MAX).then_some(value);
        limits.push(Limit { name, soft: value(limit.soft()), hard: value(limit.hard()) });
    }
    Ok(limits)
}

fn umask(process: &Process) -> Result<u32> {
    match process.user().umask() {
        None => Ok(UMASK),
        Some(umask) if umask <= 0o777 => Ok(umask),
        Some(umask) => Err(Error::invalid(format!("{umask:#o} is not a umask"))),
    }
}

fn io_priority(process: &Process) -> Result<Option<(u16, u16)>> {
    let Some(priority) = process.io_priority() else { return Ok(None) };
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u16::try_from(priority.priority()) {
        Ok(level) if level <= 7 => Ok(Some((class, level))),
        _ => Err(Error::invalid(format!("invalid ioPriority.Priority: {}", priority.priority()))),
    }
}

/// The numbers of linux/sched.h.
fn scheduling(scheduler: &Scheduler) -> Result<Scheduling> {
    use LinuxSchedulerPolicy as Policy;
    let refuse = |why: &str| Err(Error::invalid(why.to_owned()));
    let policy = *scheduler.policy();
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return refuse(&format!("invalid scheduler.nice: {nice}"));
    }
    let priority = scheduler.priority().unwrap_or(0);
    let real_time = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    if priority != 0 && !real_time {
        return refuse("scheduler.priority can only be specified for SchedFIFO or SchedRR policy");
    }
    if real_time && !(1..=99).contains(&priority) {
        return refuse(&format!("invalid scheduler.priority: {priority}"));
    }
    let part = |value: &Option<u64>| value.unwrap_or(0);
    let (runtime, deadline, period) = (part(scheduler.runtime()), part(scheduler.deadline()), part(scheduler.period()));
    if policy != Policy::SchedDeadline && (runtime, deadline, period) != (0, 0, 0) {
        return refuse("scheduler runtime/deadline/period can only be specified for SchedDeadline policy");
    }
    let flags = scheduler.flags().iter().flatten().map(|flag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    });
    Ok(Scheduling {
        policy: match policy {
            Policy::SchedOther => 0,
            Policy::SchedFifo => 1,
            Policy::SchedRr => 2,
            Policy::SchedBatch => 3,
            Policy::SchedIso => 4,
            Policy::SchedIdle => 5,
            Policy::SchedDeadline => 6,
        },
        flags: flags.fold(0, |all, flag| all | flag),
        nice,
        priority: priority.unsigned_abs(),
        runtime,
        deadline,
        period,
    })
}

/// The numbers of linux/personality.h.
fn personality(spec: &Spec) -> Result<Option<u32>> {
    let Some(personality) = spec.linux().as_ref().and_then(|linux| linux.personality().as_ref()) else {
        return Ok(None);
    };
    if let Some(flag) = personality.flags().iter().flatten().next() {
        // The specification has none yet; to leave one out would be less than was asked for.
        return Err(Error::unsupported(format!("the flag {flag:?} of the execution domain")));
    }
    Ok(Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn wanted(change: impl FnOnce(&mut Value)) -> Result<Launch> {
        let mut process = json!({"user": {"uid": 1, "gid": 2}, "args": ["x"], "cwd": "/"});
        change(&mut process);
        let spec = json!({"ociVersion": "1.2.0", "linux": {"personality": {"domain": "LINUX32"}}});
        Launch::of(&serde_json::from_value(spec).unwrap(), &serde_json::from_value(process).unwrap(), &Who::Numbers)
    }

    #[test]
    fn what_is_not_mentioned_is_nothing() {
        let launch = wanted(|_| {}).unwrap();
        assert_eq!((launch.umask, launch.personality), (0o022, Some(8)));
        assert_eq!(launch.capabilities, Capabilities::default());
        assert!(launch.limits.is_empty() && launch.scheduling.is_none() && launch.io_priority.is_none());
        assert!(!launch.no_new_privileges && launch.filter.is_none() && launch.label.is_none());
    }

    #[test]
    fn all_is_taken_in_the_kernels_terms() {
        let launch = wanted(|process| {
            process["user"]["umask"] = json!(0o077);
            process["rlimits"] = json!([
                {"type": "RLIMIT_NOFILE", "soft": 5, "hard": 10}, {"type": "RLIMIT_CORE", "soft": 0, "hard": u64::MAX},
            ]);
            process["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 7});
            process["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 19, "flags": ["SCHED_RESET_ON_FORK"]});
            process["capabilities"] = json!({"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"]});
        })
        .unwrap();
        let limit = |name: &str, soft, hard| Limit { name: name.into(), soft, hard };
        assert_eq!(launch.limits, [limit("nofile", Some(5), Some(10)), limit("core", Some(0), None)]);
        assert_eq!((launch.umask, launch.io_priority), (0o077, Some((3, 7))));
        let scheduling = Scheduling { policy: 3, flags: 1, nice: 19, ..Scheduling::default() };
        assert_eq!(launch.scheduling, Some(scheduling));
        assert_eq!(launch.capabilities.bounding.names(), ["CAP_KILL"]);
        assert!(launch.capabilities.inheritable.is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (key, value) in [
            ("rlimits", json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}])),
            ("rlimits", json!([{"type": "RLIMIT_CORE", "hard": 1}, {"type": "RLIMIT_CORE", "hard": 1}])),
            ("ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8})),
            ("ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": -1})),
            ("scheduler", json!({"policy": "SCHED_OTHER", "nice": 20})),
            ("scheduler", json!({"policy": "SCHED_OTHER", "priority": 1})),
            ("scheduler", json!({"policy": "SCHED_FIFO", "priority": 100})),
            ("scheduler", json!({"policy": "SCHED_RR", "runtime": 1, "priority": 1})),
            ("user", json!({"uid": 0, "gid": 0, "umask": 0o1000})),
            ("user", json!({"uid": 0, "gid": 0, "additionalGids": vec![1; 65_537]})),
        ] {
            assert!(wanted(|process| process[key] = value.clone()).is_err(), "{key}: {value}");
        }
        let process = json!({"user": {}, "cwd": "/", "execCPUAffinity": {"initial": "0-4294967295"}});
        assert!(Affinity::of(&serde_json::from_value(process).unwrap()).is_err());
    }
}
