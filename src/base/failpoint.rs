//! Failpoints: named places where a test build dies, fails or waits on request (RELIABILITY.md, R1).
//!
//! `RHUMB_FAILPOINT=name=action[,name=action…]`, where the action is `kill` (SIGKILL to this process), `error`, `enospc`,
//! `edquot`, `eio` or `pause:MILLISECONDS`. Release builds contain none of it. Each name is used in one place of the source;
//! `RHUMB_FAILPOINT_TRACE=FILE` appends every name that is passed, which is how tests learn which points exist.

use crate::base::Result;

/// Passes the failpoint `name`: does nothing unless a test asked for it.
///
/// # Errors
/// Whatever the test asked for.
#[inline]
pub fn hit(name: &'static str) -> Result<()> {
    #[cfg(debug_assertions)]
    return armed::hit(name);
    #[cfg(not(debug_assertions))]
    {
        let _ = name; // Names exist for test builds only.
        Ok(())
    }
}

/// What a process that is started with an empty environment must still be given, so that failpoints reach it.
pub fn environment() -> Vec<(String, String)> {
    match cfg!(debug_assertions) {
        true => std::env::vars().filter(|(name, _)| name.starts_with("RHUMB_FAILPOINT")).collect(),
        false => Vec::new(),
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::time::Duration;

    use crate::base::{Error, Result};

    /// What a test asked for.
    struct Plan {
        actions: Vec<(String, String)>,
        trace: Option<String>,
    }

    pub(super) fn hit(name: &'static str) -> Result<()> {
        static PLAN: OnceLock<Plan> = OnceLock::new();
        let plan = PLAN.get_or_init(|| {
            let asked = std::env::var("RHUMB_FAILPOINT").unwrap_or_default();
            let actions = asked.split(',').filter_map(|entry| entry.split_once('='));
            Plan {
                actions: actions.map(|(name, action)| (name.to_owned(), action.to_owned())).collect(),
                trace: std::env::var("RHUMB_FAILPOINT_TRACE").ok(),
            }
        });
        if let Some(path) = &plan.trace {
            use std::io::Write as _;
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
            writeln!(file, "{name}")?;
        }
        match plan.actions.iter().find(|(n, _)| n == name).map(|(_, action)| action.as_str()) {
            None => Ok(()),
            Some("kill") => {
                // The kernel's own kill is what the experiment is about; `abort` would be caught and unwound.
                let pid = std::process::id().to_string();
                let _ = std::process::Command::new("/bin/kill").args(["-KILL", &pid]).status(); // we do not return
                std::process::abort()
            }
            Some("error") => Err(Error::failed(format!("failpoint {name}"))),
            Some("enospc") => Err(std::io::Error::from_raw_os_error(28).into()),
            Some("edquot") => Err(std::io::Error::from_raw_os_error(122).into()),
            Some("eio") => Err(std::io::Error::from_raw_os_error(5).into()),
            Some(action) => match action.strip_prefix("pause:").and_then(|ms| ms.parse().ok()) {
                Some(ms) => {
                    std::thread::sleep(Duration::from_millis(ms));
                    Ok(())
                }
                None => Err(Error::invalid(format!("unknown failpoint action {action:?}"))),
            },
        }
    }
}
