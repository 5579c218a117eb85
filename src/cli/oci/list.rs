//! `list` and `ps`.

use std::process::Command;

use crate::base::{Context as _, Error, Result};
use crate::cli::oci::options::{Format, ListArgs, PsArgs};
use crate::cli::oci::print;
use crate::runtime::oci::{self, Root};

/// Columns are at least this wide, as runc's.
const MIN_WIDTH: usize = 12;

/// Prints all containers.
pub(crate) fn list(root: &Root, args: &ListArgs, warnings: &mut Vec<String>) -> Result<()> {
    let containers = oci::list(root, warnings)?;
    if args.quiet {
        return print(&containers.iter().map(|container| format!("{}\n", container.id)).collect::<String>());
    }
    if args.format == Format::Json {
        // None at all is `null`, as runc has it.
        let containers = Some(containers).filter(|all| !all.is_empty());
        let text = serde_json::to_string(&containers).expect("plain data with string keys is always JSON");
        return print(&format!("{text}\n"));
    }
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = containers.into_iter().map(|container| {
        [
            container.id,
            container.pid.to_string(),
            container.status,
            container.bundle,
            container.created,
            container.owner,
        ]
    });
    print(&table(std::iter::once(head).chain(rows).collect()))
}

fn table<const N: usize>(rows: Vec<[String; N]>) -> String {
    let mut widths = [MIN_WIDTH; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + 1);
        }
    }
    let line = |row: &[String; N]| {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.trim_end())
    };
    rows.iter().map(line).collect()
}

/// Prints the processes of a container: their numbers, or what the host's ps(1) says of them.
pub(crate) fn ps(root: &Root, args: &PsArgs) -> Result<()> {
    let pids = oci::processes(root, &args.id)?;
    if args.format == Format::Json {
        // On one line, as runc has it.
        let text = serde_json::to_string(&pids).expect("numbers are always JSON");
        return print(&format!("{text}\n"));
    }
    let options: &[String] = if args.ps_options.is_empty() { &["-ef".to_owned()] } else { &args.ps_options };
    let output = Command::new("ps").args(options).output().context(|| "running ps")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::failed(format!("ps failed: {said}")));
    }
    print(&of_container(&String::from_utf8_lossy(&output.stdout), &pids)?)
}

/// The lines of ps(1) for these processes, with its head.
fn of_container(output: &str, pids: &[i32]) -> Result<String> {
    let mut lines = output.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::invalid("couldn't find PID field in ps output"))?;
    let wanted = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    Ok(std::iter::once(head).chain(lines.filter(wanted)).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ps_shows_the_head_and_the_containers_own() {
        let output = "UID        PID  CMD\nroot         1  init\nroot        42  sleep 42\nroot       421  42\n";
        assert_eq!(of_container(output, &[42]).unwrap(), "UID        PID  CMD\nroot        42  sleep 42\n");
        assert!(of_container("CMD\nx\n", &[42]).is_err());
    }
}
