//! Block devices: weights and rates.

use std::path::Path;

use cgroups_rs::fs::blkio::BlkIoController;
use cgroups_rs::fs::error::Result as LibraryResult;
use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::control::{Told, missing, set};
use super::{Cgroup, MOUNT};
use crate::base::{Error, Result};

/// A setter of the library: device and rate.
type SetRate = fn(&BlkIoController, u64, u64, u64) -> LibraryResult<()>;

impl Cgroup {
    pub(super) fn limit_block(&self, block: &LinuxBlockIo) -> Result<()> {
        let weight = block.weight().filter(|weight| *weight != 0);
        let leaf_weight = block.leaf_weight().filter(|weight| *weight != 0);
        let devices = block.weight_device().as_deref().unwrap_or_default();
        let rates: [(&Option<Vec<LinuxThrottleDevice>>, Rate); 4] = [
            (block.throttle_read_bps_device(), READ_BYTES),
            (block.throttle_write_bps_device(), WRITE_BYTES),
            (block.throttle_read_iops_device(), READS),
            (block.throttle_write_iops_device(), WRITES),
        ];
        let unrated = rates.iter().all(|(devices, _)| devices.as_ref().is_none_or(Vec::is_empty));
        if weight.is_none() && leaf_weight.is_none() && devices.is_empty() && unrated {
            return Ok(());
        }
        let dir = self.controller("blkio")?;
        if let Some(weight) = weight {
            self.set_weight(&dir, None, weight)?;
        }
        if let Some(weight) = leaf_weight {
            self.set_leaf_weight(&dir, None, weight)?;
        }
        for device in devices {
            let number = (number(device.major())?, number(device.minor())?);
            if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
                self.set_weight(&dir, Some(number), weight)?;
            }
            if let Some(weight) = device.leaf_weight().filter(|weight| *weight != 0) {
                self.set_leaf_weight(&dir, Some(number), weight)?;
            }
        }
        let controller = BlkIoController::new(dir.clone(), MOUNT.into(), self.is_v2());
        for (devices, Rate { what, v1, v2, apply }) in rates {
            for device in devices.iter().flatten() {
                let (major, minor) = (number(device.major())?, number(device.minor())?);
                let value = format!("{major}:{minor} {}", device.rate());
                if self.is_v2() && device.rate() == 0 {
                    // "No limit", which is a word there.
                    set(&dir, "io.max", what, format!("{major}:{minor} {v2}=max"))?;
                } else {
                    let file = if self.is_v2() { "io.max" } else { v1 };
                    apply(&controller, major, minor, device.rate()).told(&dir, file, what, value)?;
                }
            }
        }
        Ok(())
    }

    /// The files of the weight are those of whatever scheduler the kernel has.
    fn set_weight(&self, dir: &Path, device: Option<(u64, u64)>, weight: u16) -> Result<()> {
        if !(10..=1000).contains(&weight) {
            return Err(Error::invalid(format!("blkio weight {weight} is not within 10 to 1000")));
        }
        // Scheduler's file, and how it takes the weight.
        let bfq = |weight: u16| u64::from(weight);
        let cost = |weight: u16| 1 + (u64::from(weight) - 10) * 9999 / 990;
        let candidates: &[(&str, &dyn Fn(u16) -> u64)] = match (self.is_v2(), device.is_some()) {
            (true, _) => &[("io.bfq.weight", &bfq), ("io.weight", &cost)],
            (false, false) => &[("blkio.weight", &bfq), ("blkio.bfq.weight", &bfq)],
            (false, true) => &[("blkio.weight_device", &bfq), ("blkio.bfq.weight_device", &bfq)],
        };
        let Some((file, convert)) = candidates.iter().find(|(file, _)| dir.join(file).exists()) else {
            return Err(missing("weight of block devices", candidates[1].0));
        };
        match device {
            Some((major, minor)) => set(dir, file, "blkio weight", format!("{major}:{minor} {}", convert(weight))),
            None => set(dir, file, "blkio weight", convert(weight)),
        }
    }

    fn set_leaf_weight(&self, dir: &Path, device: Option<(u64, u64)>, weight: u16) -> Result<()> {
        let file = if device.is_some() { "blkio.leaf_weight_device" } else { "blkio.leaf_weight" };
        if self.is_v2() || !dir.join(file).exists() {
            return Err(missing("leaf weight of block devices", file));
        }
        let controller = BlkIoController::new(dir.to_owned(), MOUNT.into(), false);
        let result = match device {
            Some((major, minor)) => controller.set_leaf_weight_for_device(major, minor, weight.into()),
            None => controller.set_leaf_weight(weight.into()),
        };
        result.told(dir, file, "blkio leaf weight", weight)
    }
}

/// One kind of rate: its name, its file in version 1, its key in version 2, and how the library sets it.
struct Rate {
    what: &'static str,
    v1: &'static str,
    v2: &'static str,
    apply: SetRate,
}

const READ_BYTES: Rate = Rate {
    what: "read rate",
    v1: "blkio.throttle.read_bps_device",
    v2: "rbps",
    apply: BlkIoController::throttle_read_bps_for_device,
};
const WRITE_BYTES: Rate = Rate {
    what: "write rate",
    v1: "blkio.throttle.write_bps_device",
    v2: "wbps",
    apply: BlkIoController::throttle_write_bps_for_device,
};
const READS: Rate = Rate {
    what: "rate of reads",
    v1: "blkio.throttle.read_iops_device",
    v2: "riops",
    apply: BlkIoController::throttle_read_iops_for_device,
};
const WRITES: Rate = Rate {
    what: "rate of writes",
    v1: "blkio.throttle.write_iops_device",
    v2: "wiops",
    apply: BlkIoController::throttle_write_iops_for_device,
};

fn number(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| Error::invalid(format!("{number} is no device number")))
}
