//! The processes of a running container: as typed facts, or through the host's ps(1) for those who ask for its options.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::{Context as _, Error, Result};
use crate::engine::Engine;
use crate::engine::container::Found;
use crate::model::process::{Process, ProcessTable};
use crate::runtime::processes;
use crate::runtime::state::Life;

impl Engine {
    /// The processes of a running or paused container, further ones and those in cgroups of its own included.
    ///
    /// # Errors
    /// `conflict` when it does not run.
    pub fn container_top(&self, container: &str) -> Result<Vec<Process>> {
        let found = self.container_find(container)?;
        self.require_alive(&found)?;
        let list = processes::list(&self.cgroup_of(&found.record))
            .context(|| format!("looking at the processes of the container {:?}", found.name))?;
        if list.is_empty() {
            // It ended meanwhile, or is just being started.
            self.require_alive(&found)?;
        }
        self.tell_of_found(&found, "top");
        Ok(list)
    }

    /// What the host's ps(1) shows of them with these options, which must make it show the column `PID`.
    ///
    /// # Errors
    /// As [`Engine::container_top`]; `unsupported` when there is no ps; `invalid_argument` for options that it refuses, or
    /// that hide or rename the numbers.
    pub fn container_top_with(&self, container: &str, options: &[String]) -> Result<ProcessTable> {
        refuse_renamed_pid(options)?;
        let found = self.container_find(container)?;
        self.require_alive(&found)?;
        let pids = processes::pids(&self.cgroup_of(&found.record))?;
        // A script that was given no PATH has the usual one.
        let usual = [PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
        let folders = if self.search_path.is_empty() { &usual[..] } else { &self.search_path[..] };
        let table = folders
            .iter()
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join("ps"))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                Error::unsupported("this machine has no ps, which options of top are for")
                    .with_hint("leave the options out, or install procps")
            })
            .and_then(|ps| run(&ps, options, &pids))?;
        if table.rows.is_empty() {
            self.require_alive(&found)?;
        }
        self.tell_of_found(&found, "top");
        Ok(table)
    }

    /// Refuses a container that does not run.
    pub(super) fn require_alive(&self, found: &Found) -> Result<()> {
        match self.container_life(&found.id)? {
            Life::Alive(_) => Ok(()),
            _ => Err(Error::conflict(format!("the container {:?} is not running", found.name))),
        }
    }
}

/// Docker's rule: the column by which processes are told apart keeps its title (`-o pid=PROCESS` would change it), and no
/// other one gets it.
fn refuse_renamed_pid(options: &[String]) -> Result<()> {
    for word in options.iter().flat_map(|option| option.split([' ', ','])) {
        let Some((column, title)) = word.split_once('=') else { continue };
        let column = column.trim_start_matches("-o");
        if column == "pid" || title.trim().starts_with("PID") {
            return Err(Error::invalid(format!("{word:?} renames the column of process ids"))
                .with_hint("the processes of the container are told by it: leave the column PID as it is"));
        }
    }
    Ok(())
}

/// Some options do not go with a list of processes; then ps shows all, and the container's are picked out.
fn run(ps: &Path, options: &[String], pids: &[i32]) -> Result<ProcessTable> {
    let words: Vec<&str> = options.iter().flat_map(|option| option.split_ascii_whitespace()).collect();
    let list = pids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let ask = |more: &[&str]| {
        let mut command = Command::new(ps);
        command.args(&words).args(more).stdin(Stdio::null());
        command.output().context(|| format!("running {ps:?}"))
    };
    let first = ask(&["-q", &list])?;
    let output = if first.status.success() { first } else { ask(&[])? };
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let why = complaint.lines().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason").trim();
        let given = options.join(" ");
        return Err(Error::invalid(format!("ps refuses the options {given:?}: {}", why.trim_start_matches("error: "))));
    }
    read(&String::from_utf8_lossy(&output.stdout), &pids.iter().copied().collect())
}

/// Columns are apart by white space, but for the last one, which may hold some.
fn read(text: &str, pids: &BTreeSet<i32>) -> Result<ProcessTable> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next().unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
    let Some(at) = titles.iter().position(|title| title == "PID") else {
        return Err(Error::invalid("with these options ps shows no column PID").with_hint("add it: -o pid,…"));
    };
    let mut rows = Vec::new();
    // Lines of threads have a dash where the process has its number, and come after it.
    let mut is_ours = false;
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split_ascii_whitespace().collect();
        match cells.get(at) {
            Some(&"-") => {}
            Some(cell) => {
                let pid: i32 =
                    cell.parse().map_err(|_| Error::failed(format!("unexpected process id {cell:?} from ps")))?;
                is_ours = pids.contains(&pid);
            }
            None => is_ours = false,
        }
        if is_ours {
            let last = titles.len() - 1;
            let mut row: Vec<String> = cells.iter().take(last).map(|&cell| cell.to_owned()).collect();
            row.push(cells.get(last..).unwrap_or_default().join(" "));
            row.resize(titles.len(), String::new());
            rows.push(row);
        }
    }
    Ok(ProcessTable { titles, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_picked_by_their_number_and_threads_follow_their_process() {
        let text = "USER  PID  LWP COMMAND\nroot    7    - sleep  300\nroot    -    7 -\nroot    8    - other\nroot    -    8 -\n";
        let table = read(text, &BTreeSet::from([7])).unwrap();
        assert_eq!(table.titles, ["USER", "PID", "LWP", "COMMAND"]);
        assert_eq!(table.rows, [["root", "7", "-", "sleep 300"], ["root", "-", "7", "-"]]);
        assert!(read("USER COMMAND\n", &BTreeSet::new()).unwrap_err().to_string().contains("no column PID"));
        assert!(read("", &BTreeSet::new()).is_err());
        assert!(read("PID\nx\n", &BTreeSet::new()).is_err());
    }

    #[test]
    fn the_column_of_numbers_keeps_its_title() {
        let refused = |text: &str| refuse_renamed_pid(&[text.to_owned()]).is_err();
        for text in ["-o pid=NUMBER", "-eo pid=,comm=", "-opid=X", "-o uid=PID"] {
            assert!(refused(text), "{text}");
        }
        for text in ["-o pid,ppid", "aux", "-o uid=WHO,pid"] {
            assert!(!refused(text), "{text}");
        }
    }
}
