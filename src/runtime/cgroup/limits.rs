//! All limits of one specification, in the order in which they are set.
//!
//! What one limit means is in the modules of the resources. Each refuses what the machine cannot do; zero is "not asked
//! for" where other runtimes take it so (their engines fill it in), and -1 is "no limit".

use std::collections::HashMap;

use oci_spec::runtime::LinuxResources;

use super::control::{self, read};
use super::{Cgroup, MOUNT};
use crate::base::{Error, Result};

impl Cgroup {
    /// Sets all limits of the folders, which exist. A `live` cgroup has limits and processes already.
    pub(super) fn limit(&self, resources: &LinuxResources, live: bool) -> Result<()> {
        if let Some(memory) = resources.memory() {
            self.limit_memory(memory, live)?;
        }
        if let Some(cpu) = resources.cpu() {
            self.limit_cpu(cpu)?;
            self.limit_cpuset(cpu)?;
        }
        if let Some(pids) = resources.pids() {
            self.limit_pids(pids)?;
        }
        if let Some(block) = resources.block_io() {
            self.limit_block(block)?;
        }
        if let Some(limits) = resources.hugepage_limits() {
            self.limit_huge_pages(limits)?;
        }
        if let Some(network) = resources.network() {
            self.limit_network(network)?;
        }
        if let Some(limits) = resources.rdma() {
            self.limit_rdma(limits)?;
        }
        if let Some(devices) = resources.devices() {
            self.limit_devices(devices)?;
        }
        // Last: it is the caller's own word about version 2.
        resources.unified().as_ref().map_or(Ok(()), |unified| self.limit_unified(unified))
    }

    /// Files of version 2 by name.
    fn limit_unified(&self, unified: &HashMap<String, String>) -> Result<()> {
        if unified.is_empty() {
            return Ok(());
        }
        if !self.is_v2() {
            return Err(Error::unsupported("invalid configuration: cannot use unified on cgroup v1"));
        }
        let dir = self.folder("");
        let mut sorted: Vec<_> = unified.iter().collect();
        sorted.sort();
        for (key, value) in sorted {
            if key.is_empty() || key.contains('/') || key.contains("..") {
                return Err(Error::invalid(format!("unified resource {key:?} must be a file name (no slashes)")));
            }
            // The kernel takes one device or one key with each write.
            for line in value.lines().filter(|line| !line.is_empty()) {
                let Err(error) = control::write(&dir, key, line) else { continue };
                let Some((controller, _)) = key.split_once('.') else {
                    return Err(Error::invalid(format!(
                        "unified resource {key:?} must be in the form CONTROLLER.PARAMETER"
                    )));
                };
                let enabled = read(&dir, "cgroup.controllers").unwrap_or_default();
                if controller != "cgroup" && !enabled.split(' ').any(|name| name == controller) {
                    let message =
                        format!("unified resource {key:?} can't be set: controller {controller:?} not available");
                    return Err(Error::unsupported(message)
                        .with_hint(format!("the controllers of this machine are in {MOUNT}/cgroup.controllers")));
                }
                return Err(control::refused(&dir, key, &format!("unified resource {key:?}"), line, error));
            }
        }
        Ok(())
    }
}
