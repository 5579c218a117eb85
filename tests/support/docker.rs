//! A Docker daemon of our own, with folders of its own and no network.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::support::process::{self, Outcome, PATIENCE, eventually};
use crate::support::{Scratch, peer};

/// A daemon; ended with the value.
pub(crate) struct Docker {
    child: Child,
    pub(crate) dir: Scratch,
}

impl Docker {
    /// None when it is not installed.
    #[track_caller]
    pub(crate) fn start() -> Option<Docker> {
        peer("docker")?;
        let mut dockerd = peer("dockerd")?;
        let dir = Scratch::new();
        let log = fs::File::create(dir.join("log")).unwrap();
        dockerd.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
        dockerd.arg("--pidfile").arg(dir.join("pid")).arg("-H").arg(socket(&dir));
        dockerd.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
        dockerd.arg(format!("--cgroup-parent=/rhumb-test-docker-{}", std::process::id()));
        dockerd.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let docker = Docker { child: dockerd.spawn().unwrap(), dir };
        eventually("the daemon", PATIENCE, || docker.run(&["version"]).success().then_some(()));
        Some(docker)
    }

    /// Runs a command of its client to its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        process::run(Command::new("docker").arg("-H").arg(socket(&self.dir)).args(args), None, PATIENCE)
    }
}

fn socket(dir: &Scratch) -> String {
    format!("unix://{}", dir.join("docker.sock").display())
}

impl Drop for Docker {
    fn drop(&mut self) {
        // It ends its containerd too, which a plain kill would not.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = self.dir.path().display().to_string();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|at| at.starts_with(&ours)) {
            let _ = Command::new("umount").arg(mount).status();
        }
        // Its own group stays behind, empty.
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(format!("rhumb-test-docker-{}", std::process::id())));
        }
    }
}
