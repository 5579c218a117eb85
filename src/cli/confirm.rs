//! The question before a prune.

use std::io::{BufRead as _, Write as _};

use crate::base::{Context as _, Result};

/// Asks on standard error and reads standard input; only `y` and `yes` go on.
pub(crate) fn confirm(warning: &str) -> Result<bool> {
    let mut stderr = std::io::stderr().lock();
    let asking = || "asking for confirmation";
    write!(stderr, "WARNING! {warning}\nAre you sure you want to continue? [y/N] ").context(asking)?;
    stderr.flush().context(asking)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context(asking)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
