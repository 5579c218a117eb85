//! Processes as `docker top` shows them: the columns of `ps -ef`.

use crate::model::process::{Process, ProcessTable};
use crate::sys::clock::{self, Local};

/// The column titles.
pub const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A table with one row for each process; `now_s` is the present in seconds since 1970.
pub fn table(processes: &[Process], now_s: u64) -> ProcessTable {
    let now = clock::local(now_s);
    let row = |process: &Process| {
        vec![
            process.user.clone(),
            process.pid.to_string(),
            process.ppid.to_string(),
            process.cpu_percent.to_string(),
            start(clock::local(process.started.as_secs()), now),
            process.terminal.clone().unwrap_or_else(|| "?".to_owned()),
            time(process.cpu_time.as_secs()),
            process.command.clone(),
        ]
    };
    ProcessTable { titles: TITLES.map(str::to_owned).to_vec(), rows: processes.iter().map(row).collect() }
}

/// The hour of a start today, the day of one this year, the year of an older one.
fn start(at: Local, now: Local) -> String {
    match at {
        at if at.year != now.year => at.year.to_string(),
        at if (at.month, at.day) != (now.month, now.day) => {
            format!("{}{:02}", MONTHS.get(usize::from(at.month) - 1).copied().unwrap_or_default(), at.day)
        }
        at => format!("{:02}:{:02}", at.hour, at.minute),
    }
}

/// `[days-]hours:minutes:seconds`.
fn time(seconds: u64) -> String {
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match seconds / 86_400 {
        0 => clock,
        days => format!("{days}-{clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_ps_shows_them() {
        assert_eq!([0, 61, 3_723, 90_061].map(time), ["00:00:00", "00:01:01", "01:02:03", "1-01:01:01"]);
        let now = Local { year: 2026, month: 11, day: 24, hour: 4, minute: 5 };
        assert_eq!(start(Local { hour: 3, ..now }, now), "03:05");
        assert_eq!(start(Local { day: 3, ..now }, now), "Nov03");
        assert_eq!(start(Local { year: 2025, ..now }, now), "2025");
    }
}
