//! The programs under test, called in the way that all of them understand: runc's command line.

use std::path::Path;
use std::process::Command;

use crate::support::{peers, rhumb};

/// A runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// The project's own.
    Rhumb,
    /// The reference implementation, 1.1 of which follows version 1.0 of the specification with parts of 1.1.
    Runc,
    /// The one written in C, 1.8 of which follows version 1.0 with parts of 1.1.
    Crun,
}

/// All of them.
pub(crate) const ALL: [Runtime; 3] = [Runtime::Rhumb, Runtime::Runc, Runtime::Crun];

/// crun takes a unified hierarchy beside those of version 1 for a mistake, so it is run where there is none.
const CRUN: &str = r#"umount /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@""#;

impl Runtime {
    /// Its name in the names of tests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Runtime::Rhumb => "rhumb",
            Runtime::Runc => "runc",
            Runtime::Crun => "crun",
        }
    }

    /// Whether it is there; the project's own always is.
    pub(crate) fn installed(self) -> bool {
        self == Runtime::Rhumb || peers::find(self.name()).is_some()
    }

    /// A command with its state at `root`.
    pub(crate) fn command(self, root: &Path) -> Command {
        let mut command = match self {
            Runtime::Rhumb => {
                let mut command = Command::new(rhumb::binary());
                command.arg("oci");
                command
            }
            Runtime::Runc => Command::new("runc"),
            Runtime::Crun => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "slave", "sh", "-c", CRUN, "crun"]);
                command
            }
        };
        command.arg("--root").arg(root).env_remove("XDG_RUNTIME_DIR").env_remove("NOTIFY_SOCKET");
        command
    }
}
