//! The state files of a container and what they mean together with the monitor's lock.
//!
//! ```text
//! <run_dir>/monitor.lock     flock, held exclusively by the monitor until the end is recorded
//! <run_dir>/state.json       RunState, replaced by rename
//! <run_dir>/control.sock     where the monitor listens
//! <run_dir>/health.json      Health, replaced after each probe
//! <state_dir>/health.json    Health when the container last ended
//! <state_dir>/started.json   RunState at the start, removed at the end: tells after a reboot that it ran
//! <state_dir>/exit.json      ExitRecord, written durably when a run has ended, removed at the next start
//! <state_dir>/exit.spare     room for that on a full disk, while it runs
//! ```
//!
//! A container that is made but not started has no state.json: until then its last end, or that it was lost, is what is
//! known.
//! Between two runs of a restart policy there are both: state.json, of a live monitor, is the newer truth, and says in
//! `ended` what exit.json says.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::{Context as _, Error, Kind, Result, Timestamp};
use crate::model::health::{Health, HealthStatus};
use crate::model::log::LogLoss;
use crate::runtime::cgroup::{self, Cgroup};
use crate::sys::{process, signal};

/// The lock file in the run folder.
pub(crate) const LOCK: &str = "monitor.lock";
/// The socket in the run folder.
pub(crate) const SOCKET: &str = "control.sock";
/// The state file in the run folder.
pub(crate) const STATE: &str = "state.json";
/// The exit record in the state folder.
pub(crate) const EXIT: &str = "exit.json";
/// A file in the state folder that becomes the exit record when there is no room for another one.
const SPARE: &str = "exit.spare";
/// The mark of a start in the state folder.
pub(crate) const STARTED: &str = "started.json";
/// The last results of the health check, in the run folder and, once the container has ended, in the state folder.
pub(crate) const HEALTH: &str = "health.json";
/// The most that is read of a state file, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// As [`MAX_FILE`] for health: all results with each byte written as six characters.
const MAX_HEALTH: u64 = 256 * 1024;
/// How often a file that is written over is read again when it is no JSON.
const TORN_READS: usize = 5;
/// What every file system gives to a file that is not empty.
const BLOCK: usize = 4096;
/// ESRCH of errno(3).
const NO_SUCH_PROCESS: i32 = 3;
/// How long a monitor that has recorded the end may take to go.
const LEAVING: Duration = Duration::from_secs(5);

/// What the monitor says of a live container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// The boot it lives in; another boot voids it.
    pub boot_id: String,
    /// The monitor's process and its start time in clock ticks since boot.
    pub monitor: (i32, u64),
    /// The container's first process and its start time; none before it was made.
    pub init: Option<(i32, u64)>,
    /// When it was started.
    pub started: Timestamp,
    /// Frozen.
    pub paused: bool,
    /// How often its restart policy has started it again since the user did.
    #[serde(default)]
    pub restart_count: u32,
    /// The user stopped or killed it.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// How the last run ended, while the next one is waited for.
    #[serde(default)]
    pub ended: Option<ExitRecord>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
    /// The exit status; 128 plus the number for a signal; 126 and 127 when the command could not be executed.
    pub exit_code: i32,
    /// The kernel's out-of-memory killer ended one of its processes.
    pub oom_killed: bool,
    /// Why it could not be started.
    pub error: Option<String>,
    /// How often its restart policy has started it again since the user did, the time to come included.
    #[serde(default)]
    pub restart_count: u32,
    /// The user stopped or killed it.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// Its restart policy starts it again: its monitor stays.
    #[serde(default)]
    pub restarting: bool,
    /// Output of this run that did not get into the log.
    #[serde(default, skip_serializing_if = "LogLoss::is_none")]
    pub log_lost: LogLoss,
}

/// What is known of a container's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// No trace of a start.
    Never,
    /// A monitor holds it.
    Alive(RunState),
    /// It ended and the monitor recorded how.
    Ended(ExitRecord),
    /// It was started, and its monitor is gone without a record; the text says what is known.
    Lost {
        /// What the monitor last said.
        last: Option<RunState>,
        /// `the monitor was killed` or `the machine was restarted`.
        why: String,
    },
}

/// Reads what is known. Never waits.
///
/// # Errors
/// `corrupt` when a state file cannot be read.
pub fn life(state_dir: &Path, run_dir: &Path) -> Result<Life> {
    loop {
        let held = is_held(run_dir)?;
        // A monitor takes its state file away after it has recorded the end, and before it tells anybody.
        let state = read_json::<RunState>(&run_dir.join(STATE))?;
        let state = match (state, held) {
            (Some(state), true) => return Ok(Life::Alive(state)),
            (state, _) => state,
        };
        // The monitor may have been killed when a new run had begun and the record of the last one was still there.
        let is_newer = |record: &ExitRecord| {
            state.as_ref().is_some_and(|state| state.ended.is_none() && state.started > record.finished)
        };
        match read_json::<ExitRecord>(&state_dir.join(EXIT))? {
            Some(record) if !is_newer(&record) => return Ok(Life::Ended(record)),
            _ => {}
        }
        let state = match state {
            Some(state) => Some(state),
            None => read_json::<RunState>(&state_dir.join(STARTED))?,
        };
        let Some(state) = state else { return Ok(Life::Never) };
        // Unless it is only being made, it was started between the looks.
        if !held && is_held(run_dir)? {
            continue;
        }
        return Ok(match state.ended {
            Some(record) => Life::Ended(record),
            None => lost(state)?,
        });
    }
}

fn lost(state: RunState) -> Result<Life> {
    let why = if state.boot_id == boot_id()? { "the monitor was killed" } else { "the machine was restarted" };
    Ok(Life::Lost { last: Some(state), why: why.to_owned() })
}

/// The health that was recorded last; none when no probe of the container was ever begun.
///
/// # Errors
/// `corrupt` when the file cannot be read.
pub fn health(state_dir: &Path, run_dir: &Path) -> Result<Option<Health>> {
    last_health(state_dir, run_dir)
}

/// As [`health`] without the results, which take most of the time to read.
///
/// # Errors
/// As [`health`].
pub fn health_status(state_dir: &Path, run_dir: &Path) -> Result<Option<Health>> {
    #[derive(Deserialize)]
    struct Brief {
        status: HealthStatus,
        failing_streak: u32,
    }
    let brief = last_health::<Brief>(state_dir, run_dir)?;
    Ok(brief.map(|Brief { status, failing_streak }| Health { status, failing_streak, log: Vec::new() }))
}

fn last_health<T: DeserializeOwned>(state_dir: &Path, run_dir: &Path) -> Result<Option<T>> {
    let live = run_dir.join(HEALTH);
    let mut read = read_json_within(&live, MAX_HEALTH);
    for _ in 0..TORN_READS {
        if !matches!(&read, Err(error) if error.kind() == Kind::Corrupt) {
            break;
        }
        // The monitor was writing; see `overwrite_json`.
        std::thread::sleep(Duration::from_micros(500));
        read = read_json_within(&live, MAX_HEALTH);
    }
    match read? {
        Some(health) => Ok(Some(health)),
        None => read_json_within(&state_dir.join(HEALTH), MAX_HEALTH),
    }
}

/// Ends and removes whatever a lost or ended container left in the kernel: processes in its cgroup, the cgroup, the run
/// folder. Idempotent; "already gone" is success. Must not be called while the container runs; a monitor that has recorded
/// its end and is on its way out is waited for.
///
/// # Errors
/// `conflict` when a monitor holds it and does not go; `timeout` when processes do not die within ten seconds.
pub fn sweep(cgroup: &str, run_dir: &Path) -> Result<()> {
    let begun = Instant::now();
    while is_held(run_dir)? {
        if begun.elapsed() > LEAVING {
            return Err(Error::conflict("the container's monitor is still there"));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Cgroup::new(cgroup)?.remove()?;
    match std::fs::remove_dir_all(run_dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::from(error).context(format!("removing {run_dir:?}")))
        }
        _ => Ok(()),
    }
}

/// Kills a container's monitor, and with it the container, when it does not answer any more.
///
/// The monitor is killed through a descriptor that is taken before its start time is compared, so that no other process
/// can get the signal.
///
/// # Errors
/// `timeout` when it does not die within five seconds.
pub fn kill_monitor(run: &RunState, run_dir: &Path) -> Result<()> {
    let (pid, start) = run.monitor;
    if run.boot_id == boot_id()?
        && let Ok(pidfd) = process::pidfd(pid)
        && start_time(pid).is_ok_and(|found| found == start)
    {
        match process::signal(pidfd.as_fd(), signal::KILL) {
            Err(error) if error.raw_os_error() != Some(NO_SUCH_PROCESS) => {
                return Err(Error::from(error).context("killing the container's monitor"));
            }
            _ => {}
        }
    }
    let begun = Instant::now();
    while is_held(run_dir)? {
        if begun.elapsed() > LEAVING {
            return Err(Error::timeout("the container's monitor does not die"));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// The names of the cgroups below `parent` (`rhumb-1a2b3c4d`), over all hierarchies: what a check compares with the records.
///
/// # Errors
/// What reading the hierarchies gives.
pub fn cgroups_below(parent: &str) -> Result<Vec<String>> {
    cgroup::names_below(parent)
}

/// A monitor holds the run folder.
pub(crate) fn is_held(run_dir: &Path) -> Result<bool> {
    let path = run_dir.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::from(error).context(format!("opening {path:?}"))),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(Error::from(error).context(format!("looking at the lock {path:?}"))),
    }
}

/// Names this boot of the machine.
pub(crate) fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(path).context(|| format!("reading {path:?}"))?.trim().to_owned())
}

/// When a process started, in clock ticks since boot: with its number and the boot, its identity.
pub(crate) fn start_time(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).context(|| format!("reading {path:?}"))?;
    // The name, in parentheses, may contain anything; the fields after it may not (proc_pid_stat(5), field 22).
    let fields = text.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
    fields
        .and_then(|mut fields| fields.nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| Error::corrupt(format!("unreadable {path:?}")))
}

/// Writes a small file so that readers find the old one or the new one, never a half; `durable` also against a power cut.
/// On a full disk a file that is there already is overwritten in its own block instead, with one write.
pub(crate) fn write_json(path: &Path, value: &impl Serialize, durable: bool) -> Result<()> {
    let doing = || format!("writing {path:?}");
    let json = serde_json::to_vec(value).expect("plain data with string keys is always JSON");
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        std::io::Write::write_all(&mut file, &json)?;
        if durable {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, path)?;
        if let (true, Some(parent)) = (durable, path.parent()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    };
    match write() {
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            let _ = std::fs::remove_file(&temporary); // it may not have been made
            overwrite(path, json).map_err(|_| error)
        }
        written => written,
    }
    .context(doing)
}

/// Makes room for the exit record of the run that begins, so that a disk that fills up meanwhile does not swallow it.
pub(crate) fn reserve_end(state_dir: &Path) -> Result<()> {
    let path = state_dir.join(SPARE);
    let written = File::options().write(true).create(true).truncate(false).open(&path);
    written.and_then(|file| file.write_all_at(&[b' '; BLOCK], 0)).context(|| format!("writing {path:?}"))
}

/// Writes the exit record, on a full disk into what [`reserve_end`] has made.
pub(crate) fn write_end(state_dir: &Path, record: &ExitRecord, durable: bool) -> Result<()> {
    let (spare, path) = (state_dir.join(SPARE), state_dir.join(EXIT));
    match write_json(&path, record, durable) {
        Ok(()) => remove_file(&spare),
        // A new name in a folder that has room for it, and for an old one that goes.
        Err(error) => {
            let json = serde_json::to_vec(record).expect("plain data with string keys is always JSON");
            let rename = || {
                overwrite(&spare, json)?;
                if durable {
                    File::open(&spare)?.sync_all()?;
                }
                std::fs::rename(&spare, &path)?;
                if durable { File::open(state_dir)?.sync_all() } else { Ok(()) }
            };
            rename().map_err(|_| error)
        }
    }
}

/// Replaces the content of a file that exists, padded with what JSON ignores.
fn overwrite(path: &Path, mut json: Vec<u8>) -> std::io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    if length < json.len() && json.len() > BLOCK {
        return Err(ErrorKind::StorageFull.into());
    }
    json.resize(json.len().max(length), b' ');
    std::io::Write::write_all(&mut file, &json)
}

/// Writes over a small file that is there, from its beginning and without a new file, for what changes every moment: to
/// replace it costs a file system more than all the rest. A reader may see a mixture, which is no JSON, and looks again.
pub(crate) fn overwrite_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let doing = || format!("writing {path:?}");
    let mut json = serde_json::to_vec(value).expect("plain data with string keys is always JSON");
    let file = File::options().write(true).create(true).truncate(false).open(path).context(doing)?;
    // What an older, longer text would leave behind becomes white space.
    let before = usize::try_from(file.metadata().context(doing)?.len()).unwrap_or(0);
    json.resize(json.len().max(before), b' ');
    file.write_all_at(&json, 0).context(doing)
}

/// Removes a file; a missing one is fine.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::from(error).context(format!("removing {path:?}")))
        }
        _ => Ok(()),
    }
}

/// When the last run that is on record began and ended; of one that was lost the end is not known.
pub(crate) fn last_run(state_dir: &Path) -> Result<Option<(Timestamp, Option<Timestamp>)>> {
    let ended = read_json::<ExitRecord>(&state_dir.join(EXIT))?;
    if let Some(ExitRecord { started: Some(started), finished, .. }) = ended {
        return Ok(Some((started, Some(finished))));
    }
    Ok(read_json::<RunState>(&state_dir.join(STARTED))?.map(|state| (state.started, None)))
}

/// Reads a small file; none when it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    read_json_within(path, MAX_FILE)
}

fn read_json_within<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<Option<T>> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::from(error).context(format!("reading {path:?}"))),
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| Error::corrupt(format!("unreadable state file {path:?}")).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(boot_id: &str) -> RunState {
        let started = Timestamp::from_nanos(1);
        RunState {
            boot_id: boot_id.into(),
            monitor: (1, 2),
            init: Some((3, 4)),
            started,
            paused: false,
            restart_count: 0,
            stopped_by_user: false,
            ended: None,
        }
    }

    #[test]
    fn a_lost_container_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let (state_dir, run_dir) = (folder.path().join("s"), folder.path().join("r"));
        std::fs::create_dir(&state_dir).unwrap();
        assert_eq!(life(&state_dir, &run_dir).unwrap(), Life::Never);
        write_json(&state_dir.join(STARTED), &state("another boot"), true).unwrap();
        let Life::Lost { why, .. } = life(&state_dir, &run_dir).unwrap() else { panic!() };
        assert!(why.contains("restarted"));
        std::fs::create_dir(&run_dir).unwrap();
        write_json(&run_dir.join(STATE), &state(&boot_id().unwrap()), false).unwrap();
        let Life::Lost { why, .. } = life(&state_dir, &run_dir).unwrap() else { panic!() };
        assert!(why.contains("killed"));
        let lock = File::create(run_dir.join(LOCK)).unwrap();
        lock.lock().unwrap();
        assert!(matches!(life(&state_dir, &run_dir).unwrap(), Life::Alive(_)));
        drop(lock);
        let record = ExitRecord {
            started: None,
            finished: Timestamp::from_nanos(2),
            exit_code: 3,
            oom_killed: false,
            error: None,
            restart_count: 1,
            stopped_by_user: false,
            restarting: true,
            log_lost: Default::default(),
        };
        let resting = RunState { ended: Some(record.clone()), ..state(&boot_id().unwrap()) };
        write_json(&run_dir.join(STATE), &resting, false).unwrap();
        assert_eq!(life(&state_dir, &run_dir).unwrap(), Life::Ended(record.clone()));
        write_json(&state_dir.join(EXIT), &record, false).unwrap();
        let lock = File::create(run_dir.join(LOCK)).unwrap();
        lock.lock().unwrap();
        assert_eq!(life(&state_dir, &run_dir).unwrap(), Life::Alive(resting));
        drop(lock);
        std::fs::write(state_dir.join(EXIT), "{").unwrap();
        assert_eq!(life(&state_dir, &run_dir).unwrap_err().kind(), crate::base::Kind::Corrupt);
    }

    /// What keeps the record from being replaced here is a folder in the way of its temporary file.
    #[test]
    fn an_end_that_cannot_be_written_anew_goes_into_what_was_reserved() {
        let folder = tempfile::tempdir().unwrap();
        let record: ExitRecord = serde_json::from_value(serde_json::json!({
            "started": null, "finished": Timestamp::from_nanos(2), "exit_code": 4, "oom_killed": false, "error": null,
        }))
        .unwrap();
        std::fs::create_dir(folder.path().join(EXIT).with_extension("tmp")).unwrap();
        assert!(write_end(folder.path(), &ExitRecord { exit_code: 3, ..record.clone() }, true).is_err());
        reserve_end(folder.path()).unwrap();
        write_end(folder.path(), &record, true).unwrap();
        assert_eq!(read_json::<ExitRecord>(&folder.path().join(EXIT)).unwrap(), Some(record.clone()));
        std::fs::remove_dir(folder.path().join(EXIT).with_extension("tmp")).unwrap();
        reserve_end(folder.path()).unwrap();
        write_end(folder.path(), &record, true).unwrap();
        assert!(!folder.path().join(SPARE).exists());
    }

    #[test]
    fn our_own_start_time_is_stable() {
        let pid = std::process::id() as i32;
        assert_eq!(start_time(pid).unwrap(), start_time(pid).unwrap());
    }

    #[test]
    fn what_is_written_over_reads_back_also_when_it_is_shorter_than_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(HEALTH);
        let long = Health { failing_streak: 7_000_000, ..Health::default() };
        overwrite_json(&path, &long).unwrap();
        assert_eq!(health(folder.path(), folder.path()).unwrap(), Some(long));
        overwrite_json(&path, &Health::default()).unwrap();
        assert_eq!(health(folder.path(), folder.path()).unwrap(), Some(Health::default()));
        // Half of it is not taken for something else.
        std::fs::write(&path, br#"{"status":"starting","fail"#).unwrap();
        assert_eq!(health_status(folder.path(), folder.path()).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(health(folder.path(), Path::new("/nowhere")).unwrap_err().kind(), Kind::Corrupt);
    }
}
