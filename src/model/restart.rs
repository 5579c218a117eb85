//! Restart policies: whether a container that has ended is started again without being asked.
//!
//! The rules are Docker's (docs.docker.com, "Start containers automatically"; moby, `restartmanager`). How long is waited in
//! between is the monitor's.

use serde::{Deserialize, Serialize};

/// When a container that has ended runs again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When it ended with another status than zero.
    OnFailure {
        /// At most so many times in a row; 0 for as often as it fails.
        max_retries: u32,
    },
    /// However it ended, unless the user stopped it; after a boot in any case.
    Always,
    /// However it ended, unless the user stopped it, and then not after a boot either.
    UnlessStopped,
}

impl RestartPolicy {
    /// Docker's word, without a number of retries.
    pub fn as_str(self) -> &'static str {
        match self {
            RestartPolicy::No => "no",
            RestartPolicy::OnFailure { .. } => "on-failure",
            RestartPolicy::Always => "always",
            RestartPolicy::UnlessStopped => "unless-stopped",
        }
    }

    /// How often it is tried at most, as Docker writes it: 0 where nothing limits it.
    pub fn max_retries(self) -> u32 {
        match self {
            RestartPolicy::OnFailure { max_retries } => max_retries,
            _ => 0,
        }
    }

    /// Whether a container that ended with `exit_code` runs again, after `count` restarts in a row. `stopped` says that
    /// the user asked for the end.
    pub fn wants(self, exit_code: i32, stopped: bool, count: u32) -> bool {
        match self {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure { max_retries } => exit_code != 0 && (max_retries == 0 || count < max_retries),
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !stopped,
        }
    }
}

impl std::fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RestartPolicy::OnFailure { max_retries: 1.. } => write!(f, "on-failure:{}", self.max_retries()),
            _ => f.write_str(self.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_want_what_docker_says() {
        let always = RestartPolicy::Always;
        let unless = RestartPolicy::UnlessStopped;
        let failing = |max_retries| RestartPolicy::OnFailure { max_retries };
        assert!(!RestartPolicy::No.wants(1, false, 0));
        assert!(always.wants(0, false, 7) && always.wants(0, true, 0));
        assert!(unless.wants(0, false, 7) && !unless.wants(1, true, 0));
        assert!(failing(0).wants(1, false, 1_000_000) && !failing(0).wants(0, false, 0));
        assert!(failing(2).wants(1, true, 1) && !failing(2).wants(1, false, 2));
        assert_eq!(
            [failing(0), failing(3), always].map(|policy| policy.to_string()),
            ["on-failure", "on-failure:3", "always"]
        );
    }
}
