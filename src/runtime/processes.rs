//! The processes of a container, read from `/proc` without its monitor: also of one that is frozen.
//!
//! Whatever is in the container's cgroup or one below counts, so further processes are there as well. A process that goes
//! away while it is looked at is left out. Nothing is asked of ps(1) here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use crate::base::{Context as _, Error, Result, Timestamp};
use crate::model::process::Process;
use crate::runtime::cgroup::Cgroup;

/// Ticks of the kernel's counters in a second: what programs are told, whatever the kernel has itself (proc_pid_stat(5)).
const TICKS: u64 = 100;
/// The most that is read of a command line, in bytes.
const MAX_COMMAND: u64 = 64 * 1024;
/// Nobody is shown with more of a processor.
const MAX_PERCENT: u64 = 99;
/// The drivers of terminals that have names of their own (devices.txt of the kernel): 136 to 143 are `pts`.
const PTS: std::ops::RangeInclusive<u64> = 136..=143;
/// Consoles (0 to 63) and serial lines.
const TTY: u64 = 4;

/// The numbers of all processes in a cgroup (`rhumb-1a2b3c4d/<id>`) and below, in order.
///
/// # Errors
/// What reading the hierarchies gives.
pub fn pids(cgroup: &str) -> Result<Vec<i32>> {
    Cgroup::new(cgroup)?.processes()
}

/// All processes in a cgroup and below, by number.
///
/// # Errors
/// As [`pids`]; what reading `/proc` gives.
pub fn list(cgroup: &str) -> Result<Vec<Process>> {
    let machine = Machine::read()?;
    Ok(pids(cgroup)?.into_iter().filter_map(|pid| machine.process(pid)).collect())
}

/// What is the same for all processes.
struct Machine {
    /// When it was started, in seconds since 1970, and how long ago, in ticks.
    booted_s: u64,
    up_ticks: u64,
    users: BTreeMap<u32, String>,
}

impl Machine {
    fn read() -> Result<Machine> {
        let read = |path: &str| std::fs::read_to_string(path).context(|| format!("reading {path:?}"));
        let broken = |path: &str| Error::corrupt(format!("unreadable {path:?}"));
        let stat = read("/proc/stat")?;
        let booted_s = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        let uptime = read("/proc/uptime")?;
        let up_s = uptime.split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
        // A machine without the file has numbers only.
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Ok(Machine {
            booted_s: booted_s.ok_or_else(|| broken("/proc/stat"))?,
            up_ticks: (up_s.ok_or_else(|| broken("/proc/uptime"))? * TICKS as f64) as u64,
            users: users(&passwd),
        })
    }

    /// One process; none when it is gone.
    fn process(&self, pid: i32) -> Option<Process> {
        let stat = text(pid, "stat")?;
        let status = text(pid, "status")?;
        // The name, in parentheses, may contain anything; the fields after it may not.
        let (head, fields) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok())?;
        let (used, start) = (number(11)? + number(12)?, number(19)?);
        let alive_s = self.up_ticks.saturating_sub(start) / TICKS;
        let percent = (used * 100 / TICKS).checked_div(alive_s).unwrap_or(0).min(MAX_PERCENT);
        Some(Process {
            pid,
            ppid: fields.get(1)?.parse().ok()?,
            uid,
            user: self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
            cpu_percent: percent as u32,
            started: Timestamp::from_nanos((self.booted_s * TICKS + start).saturating_mul(1_000_000_000 / TICKS)),
            terminal: fields.get(4)?.parse::<i64>().ok().and_then(terminal),
            cpu_time: Duration::from_millis(used * 1000 / TICKS),
            command: command(pid, name, fields.first() == Some(&"Z"))?,
        })
    }
}

/// Names by number; the first one wins, as with every name service.
fn users(passwd: &str) -> BTreeMap<u32, String> {
    let mut users = BTreeMap::new();
    for line in passwd.lines() {
        let mut parts = line.split(':');
        if let (Some(name), Some(uid)) = (parts.next(), parts.nth(1).and_then(|uid| uid.parse().ok())) {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

/// A device number as `stat` has it, as the name of a terminal.
fn terminal(number: i64) -> Option<String> {
    let number = u64::try_from(number).ok().filter(|number| *number != 0)?;
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    Some(match major {
        major if PTS.contains(&major) => format!("pts/{}", (major - PTS.start()) * 256 + minor),
        TTY if minor < 64 => format!("tty{minor}"),
        TTY => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".to_owned(),
        major => format!("{major}:{minor}"),
    })
}

/// The command line on one line; ps(1) shows the name of a program that has none in brackets.
fn command(pid: i32, name: &str, is_zombie: bool) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cmdline")).ok()?.take(MAX_COMMAND).read_to_end(&mut bytes).ok()?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    let shown = |text: &str| text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
    if bytes.is_empty() {
        return Some(if is_zombie { format!("[{}] <defunct>", shown(name)) } else { format!("[{}]", shown(name)) });
    }
    bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    Some(shown(&String::from_utf8_lossy(&bytes)))
}

fn text(pid: i32, file: &str) -> Option<String> {
    std::fs::read(format!("/proc/{pid}/{file}")).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_seen_as_we_are() {
        let own = std::process::id() as i32;
        let process = Machine::read().unwrap().process(own).unwrap();
        assert_eq!((process.pid, process.uid, process.user.as_str()), (own, 0, "root"));
        let program = std::env::args().next().unwrap();
        assert!(process.command.starts_with(&program), "{}", process.command);
        assert!(process.started.elapsed() < Duration::from_secs(3600), "{}", process.started);
        assert_eq!(Machine::read().unwrap().process(i32::MAX), None);
    }

    #[test]
    fn terminals_have_the_names_that_people_know() {
        let of = |major: i64, minor: i64| terminal(((minor & 0xfff00) << 12) | (major << 8) | (minor & 0xff));
        assert_eq!(terminal(0), None);
        assert_eq!(of(136, 3).unwrap(), "pts/3");
        assert_eq!(of(137, 1).unwrap(), "pts/257");
        assert_eq!([of(4, 1).unwrap(), of(4, 64).unwrap(), of(5, 1).unwrap()], ["tty1", "ttyS0", "console"]);
    }

    #[test]
    fn the_first_name_of_a_user_wins() {
        let users = users("root:x:0:0::/root:/bin/sh\ntoor:x:0:0:::\nbroken\nweb:x:33:33:::\n");
        assert_eq!((users[&0].as_str(), users[&33].as_str(), users.len()), ("root", "web", 2));
    }
}
