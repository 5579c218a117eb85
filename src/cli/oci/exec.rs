//! The flags of `exec`.

use std::path::PathBuf;

use clap::Args;

use crate::base::{Error, Result};
use crate::runtime::oci::{Changes, ExecOptions};

// `exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Send the master of the process's terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Start in this directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Run as this user
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Add groups
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Read the process from this file
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Leave when the command runs
    #[arg(short, long)]
    detach: bool,
    /// Write the process's number to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Set the SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Set the AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Let no program gain rights
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    no_new_privs: std::primitive::bool,
    /// Add a capability
    #[arg(short, long, value_name = "CAPABILITY")]
    cap: Vec<String>,
    /// Pass this many descriptors from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Run in a cgroup below the container's
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    cgroup: Vec<String>,
    /// Also in a paused container
    #[arg(long)]
    ignore_paused: bool,
    /// Leave orphans to others
    #[arg(long)]
    no_subreaper: bool,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl ExecArgs {
    /// As options of the runtime.
    pub(crate) fn options(self) -> Result<ExecOptions> {
        if self.process.is_none() && self.args.is_empty() {
            return Err(Error::invalid("process args cannot be empty"));
        }
        Ok(ExecOptions {
            changes: Changes {
                args: self.args,
                cwd: self.cwd,
                env: self.env,
                user: self.user.as_deref().map(user).transpose()?,
                additional_gids: self.additional_gids,
                capabilities: self.cap,
                no_new_privileges: self.no_new_privs,
                apparmor: self.apparmor,
                process_label: self.process_label,
            },
            process: self.process,
            tty: self.tty,
            detach: self.detach,
            console_socket: self.console_socket,
            pid_file: self.pid_file,
            preserve_fds: self.preserve_fds,
            cgroup: self.cgroup,
            ignore_paused: self.ignore_paused,
            no_subreaper: self.no_subreaper,
        })
    }
}

/// `UID[:GID]`.
fn user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |part: &str| {
        part.parse::<u32>()
            .ok()
            .filter(|id| *id != u32::MAX && part.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| Error::invalid(format!("{part:?} of --user is not a number of a user or group")))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_that_fit() {
        assert_eq!(user("1000").unwrap(), (1000, None));
        assert_eq!(user("0:5").unwrap(), (0, Some(5)));
        for text in ["", "root", "-1", "+1", "4294967295", "4294967296", "1:", "1:x", ":1"] {
            assert!(user(text).is_err(), "{text:?}");
        }
    }
}
