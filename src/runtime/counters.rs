//! What a running container has used, read without its monitor: counters of its cgroups and network interfaces, and the
//! machine's own at the same moment.
//!
//! How busy it is follows from two readings, which is nobody's business here.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _};

use crate::base::{Context as _, Error, Result, Timestamp};
use crate::model::stats::{NetworkStats, Sample};
use crate::runtime::cgroup::Cgroup;
use crate::runtime::state;
use crate::sys::{machine, mount};

/// Nanoseconds of a tick of `/proc/stat`, of which programs are told 100 in a second (proc_stat(5)).
const TICK_NS: u64 = 10_000_000;
/// The columns of `/proc/stat` that are time: what guests took is counted in the first two already.
const TIMES: usize = 8;

/// Reads everything once.
///
/// `init` is the first process with its start time, whose network is looked at; none leaves it out.
///
/// # Errors
/// `not_found` when the cgroup is gone.
pub fn sample(cgroup: &str, init: Option<(i32, u64)>) -> Result<Sample> {
    let stats = Cgroup::new(cgroup)?.stats()?;
    let (system_cpu_ns, online_cpus) = system()?;
    Ok(Sample {
        taken: Timestamp::now(),
        stats,
        // One that has ended by now has no network any more.
        networks: init.and_then(networks).unwrap_or_default(),
        system_cpu_ns,
        online_cpus,
        machine_memory_bytes: machine::facts().memory_bytes,
    })
}

/// The machine's processor time in nanoseconds, and how many processors it has.
fn system() -> Result<(u64, u64)> {
    let path = "/proc/stat";
    let text = std::fs::read_to_string(path).context(|| format!("reading {path:?}"))?;
    parse_system(&text).ok_or_else(|| Error::corrupt(format!("unreadable {path:?}")))
}

fn parse_system(text: &str) -> Option<(u64, u64)> {
    let mut cpus = text.lines().take_while(|line| line.starts_with("cpu"));
    let all = cpus.next()?.strip_prefix("cpu ")?;
    let ticks = all.split_whitespace().take(TIMES).map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some((ticks.saturating_mul(TICK_NS), cpus.count() as u64))
}

/// The counters in a process's network namespace; none when that process is gone. Its folder is opened before its start
/// time is compared, so that no other process with its number is looked at.
fn networks((pid, start): (i32, u64)) -> Option<BTreeMap<String, NetworkStats>> {
    let folder = mount::open_folder(std::path::Path::new(&format!("/proc/{pid}"))).ok()?;
    if state::start_time(pid).ok()? != start {
        return None;
    }
    let path = format!("/proc/self/fd/{}/net/dev", folder.as_fd().as_raw_fd());
    Some(parse_networks(&std::fs::read_to_string(path).ok()?))
}

/// `name: ` and eight numbers of what came, eight of what was sent, after two lines of titles.
fn parse_networks(text: &str) -> BTreeMap<String, NetworkStats> {
    let line = |line: &str| -> Option<(String, NetworkStats)> {
        let (name, numbers) = line.rsplit_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
        let stats = NetworkStats {
            rx_bytes: number(0),
            rx_packets: number(1),
            rx_errors: number(2),
            rx_dropped: number(3),
            tx_bytes: number(8),
            tx_packets: number(9),
            tx_errors: number(10),
            tx_dropped: number(11),
        };
        Some((name.trim().to_owned(), stats))
    };
    text.lines().skip(2).filter_map(line).filter(|(name, _)| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_guests_are_not_counted_twice() {
        let text = "cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 1 2 3 4 5 6 7 8 100 100\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5\n";
        assert_eq!(parse_system(text), Some((36 * TICK_NS, 2)));
        assert_eq!(parse_system("intr 5\n"), None);
        let (now, cpus) = system().unwrap();
        assert!(now > 0 && cpus > 0);
    }

    #[test]
    fn interfaces_are_read_without_the_loopback() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n\
                    \x20   lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let eth0 = NetworkStats {
            rx_bytes: 10,
            rx_packets: 2,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 50,
            tx_packets: 6,
            tx_errors: 7,
            tx_dropped: 8,
        };
        assert_eq!(parse_networks(text), BTreeMap::from([("eth0".to_owned(), eth0)]));
        assert_eq!(parse_networks(""), BTreeMap::new());
    }

    #[test]
    fn a_process_that_took_the_number_is_not_looked_at() {
        let own = std::process::id() as i32;
        let start = state::start_time(own).unwrap();
        assert!(networks((own, start)).is_some());
        assert_eq!(networks((own, start + 1)), None);
    }
}
