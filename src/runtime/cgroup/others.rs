//! Number of processes, huge pages, network class and priorities, RDMA.

use std::collections::HashMap;

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::hugetlb::HugeTlbController;
use cgroups_rs::fs::net_cls::NetClsController;
use cgroups_rs::fs::net_prio::NetPrioController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::rdma::RdmaController;
use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma};

use super::control::{Told, missing, set};
use super::{Cgroup, MOUNT};
use crate::base::{Error, Result};

impl Cgroup {
    /// 0 is "not asked for", every negative number "no limit".
    pub(super) fn limit_pids(&self, pids: &LinuxPids) -> Result<()> {
        let limit = match pids.limit() {
            0 => return Ok(()),
            limit @ 1.. => MaxValue::Value(limit),
            _ => MaxValue::Max,
        };
        let dir = self.controller("pids")?;
        let controller = PidController::new(dir.clone(), MOUNT.into(), self.is_v2());
        controller.set_pid_max(limit).told(&dir, "pids.max", "process limit", pids.limit())
    }

    pub(super) fn limit_huge_pages(&self, limits: &[LinuxHugepageLimit]) -> Result<()> {
        for one in limits {
            let (size, limit) = (one.page_size(), one.limit());
            if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(Error::invalid(format!("{size:?} is no size of huge pages")));
            }
            let Ok(bytes) = u64::try_from(limit) else {
                return Err(Error::invalid(format!("{limit} is no limit of huge pages")));
            };
            let dir = self.controller("hugetlb")?;
            let (file, reserved) = if self.is_v2() {
                (format!("hugetlb.{size}.max"), format!("hugetlb.{size}.rsvd.max"))
            } else {
                (format!("hugetlb.{size}.limit_in_bytes"), format!("hugetlb.{size}.rsvd.limit_in_bytes"))
            };
            if !dir.join(&file).exists() {
                return Err(missing(&format!("limit on huge pages of {size}"), &file));
            }
            // Reservations where the kernel counts them, and what is used in any case.
            let what = "limit on huge pages";
            if dir.join(&reserved).exists() {
                set(&dir, &reserved, what, bytes)?;
            }
            let controller = HugeTlbController::new(dir.clone(), MOUNT.into(), self.is_v2());
            controller.set_limit_in_bytes(size, bytes).told(&dir, &file, what, bytes)?;
        }
        Ok(())
    }

    pub(super) fn limit_network(&self, network: &LinuxNetwork) -> Result<()> {
        let none = |what: &str| {
            Error::unsupported(format!("cgroup v2 has no {what}")).with_hint("mark packets with nft or a bpf program")
        };
        if let Some(class) = network.class_id().filter(|class| *class != 0) {
            if self.is_v2() {
                return Err(none("network class"));
            }
            let dir = self.controller("net_cls")?;
            let controller = NetClsController::new(dir.clone(), MOUNT.into());
            controller.set_class(class.into()).told(&dir, "net_cls.classid", "network class", class)?;
        }
        for one in network.priorities().iter().flatten() {
            if self.is_v2() {
                return Err(none("network priorities"));
            }
            let dir = self.controller("net_prio")?;
            let controller = NetPrioController::new(dir.clone(), MOUNT.into());
            controller.set_if_prio(one.name(), one.priority().into()).told(
                &dir,
                "net_prio.ifpriomap",
                "network priority",
                format!("{} {}", one.name(), one.priority()),
            )?;
        }
        Ok(())
    }

    pub(super) fn limit_rdma(&self, limits: &HashMap<String, LinuxRdma>) -> Result<()> {
        for (device, limit) in limits {
            let handles = limit.hca_handles().map(|number| format!(" hca_handle={number}"));
            let objects = limit.hca_objects().map(|number| format!(" hca_object={number}"));
            if handles.is_none() && objects.is_none() {
                return Err(Error::invalid(format!("the RDMA limit of {device:?} limits nothing")));
            }
            let dir = self.controller("rdma")?;
            let value = format!("{device}{}{}", handles.unwrap_or_default(), objects.unwrap_or_default());
            let controller = RdmaController::new(dir.clone(), MOUNT.into());
            controller.set_max(&value).told(&dir, "rdma.max", "RDMA limit", &value)?;
        }
        Ok(())
    }
}
