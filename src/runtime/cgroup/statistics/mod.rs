//! What a container has used: reads the counters of its cgroups.
//!
//! What a machine does not count is left out; only a cgroup that is gone is an error. One reading opens each file once
//! and takes some 0.3 ms on version 1.

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::Cgroup;
use crate::base::{Context as _, Error, Result};
use crate::model::stats::{HugetlbStats, Pressure, PressureLine, RdmaStats, Stats};

impl Cgroup {
    /// Reads all counters.
    ///
    /// # Errors
    /// `not_found` when the cgroup is gone.
    pub(crate) fn stats(&self) -> Result<Stats> {
        if self.folders().is_empty() {
            return Err(Error::not_found("the container's cgroup is gone"));
        }
        if self.is_v2() { v2::read(&Reader(self.folder(""))) } else { v1::read(|name| Reader(self.folder(name))) }
            .context(|| "reading the container's counters")
    }
}

/// Reads the files of one folder.
struct Reader(PathBuf);

impl Reader {
    /// A file's text; empty when the kernel has no such file.
    fn text(&self, file: &str) -> io::Result<String> {
        match fs::read_to_string(self.0.join(file)) {
            // ENODEV: gone while it was read. EOPNOTSUPP: not counted.
            Err(error) if error.kind() == ErrorKind::NotFound || matches!(error.raw_os_error(), Some(19 | 95)) => {
                Ok(String::new())
            }
            result => result,
        }
    }

    /// A file that holds one number; no limit is the largest.
    fn number(&self, file: &str) -> io::Result<u64> {
        Ok(number(self.text(file)?.trim()))
    }

    /// A file of lines with a word and a number.
    fn keyed(&self, file: &str) -> io::Result<BTreeMap<String, u64>> {
        let text = self.text(file)?;
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(key, value)| (key.to_owned(), number(value))).collect())
    }

    /// Processors or memory nodes.
    fn list(&self, file: &str) -> io::Result<Vec<u16>> {
        let text = self.text(file)?;
        let numbers = super::cpu::numbers(&text).unwrap_or_default();
        Ok(numbers.into_iter().filter_map(|number| u16::try_from(number).ok()).collect())
    }

    fn pressure(&self, file: &str) -> io::Result<Option<Pressure>> {
        let text = match self.text(file) {
            Ok(text) => text,
            Err(error) if error.raw_os_error() == Some(1) => return Ok(None), // EPERM: switched off
            Err(error) => return Err(error),
        };
        let line = |name: &str| -> Option<PressureLine> {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            let value = |key: &str| rest.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
            let percent = |key: &str| value(key)?.parse::<f64>().ok();
            Some(PressureLine {
                avg10: percent("avg10")?,
                avg60: percent("avg60")?,
                avg300: percent("avg300")?,
                total_us: value("total")?.parse().ok()?,
            })
        };
        // For processors older kernels have no second line.
        Ok(line("some ").map(|some| Pressure { some, full: line("full ").unwrap_or_default() }))
    }

    fn rdma(&self) -> io::Result<BTreeMap<String, RdmaStats>> {
        let mut devices: BTreeMap<String, RdmaStats> = BTreeMap::new();
        for file in ["rdma.current", "rdma.max"] {
            for line in self.text(file)?.lines() {
                let mut parts = line.split_whitespace();
                let Some(device) = parts.next() else { continue };
                let entry = devices.entry(device.to_owned()).or_default();
                for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                    let value = u32::try_from(number(value)).unwrap_or(u32::MAX);
                    match (key, file) {
                        ("hca_handle", "rdma.current") => entry.handles = value,
                        ("hca_handle", _) => entry.handles_limit = value,
                        ("hca_object", "rdma.current") => entry.objects = value,
                        ("hca_object", _) => entry.objects_limit = value,
                        _ => {}
                    }
                }
            }
        }
        Ok(devices)
    }

    /// Huge pages of each size that the machine has and this folder counts.
    fn huge_pages(
        &self,
        read: impl Fn(&Reader, &str) -> io::Result<HugetlbStats>,
    ) -> io::Result<BTreeMap<String, HugetlbStats>> {
        let mut all = BTreeMap::new();
        if !self.0.exists() {
            return Ok(all);
        }
        for entry in fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let kilobytes =
                name.to_str().and_then(|name| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok());
            let Some(size) = kilobytes.map(size_name) else { continue };
            if ["usage_in_bytes", "current"].iter().any(|file| self.0.join(format!("hugetlb.{size}.{file}")).exists()) {
                let stats = read(self, &size)?;
                all.insert(size, stats);
            }
        }
        Ok(all)
    }
}

/// `max` is the largest number; what is none is 0.
fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        // Some counters of version 1 may be below zero for a moment.
        text => text.parse().unwrap_or(0),
    }
}

/// How the kernel writes a size of pages in the names of files.
fn size_name(kilobytes: u64) -> String {
    match kilobytes {
        _ if kilobytes >= 1 << 20 => format!("{}GB", kilobytes >> 20),
        _ if kilobytes >= 1 << 10 => format!("{}MB", kilobytes >> 10),
        _ => format!("{kilobytes}KB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_pages_are_named_as_the_kernel_names_them() {
        assert_eq!([64, 2048, 1 << 20, 16 << 20].map(size_name), ["64KB", "2MB", "1GB", "16GB"]);
    }

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let reader = Reader(folder.path().to_owned());
        let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
        assert_eq!(reader.number("missing").unwrap(), 0);
        write("max", "max\n");
        assert_eq!(reader.number("max").unwrap(), u64::MAX);
        write("keyed", "a 1\nb 2\n");
        assert_eq!(reader.keyed("keyed").unwrap()["b"], 2);
        write("pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\n");
        let pressure = reader.pressure("pressure").unwrap().unwrap();
        assert_eq!((pressure.some.avg10, pressure.some.total_us, pressure.full.total_us), (1.5, 77, 0));
        write("rdma.current", "mlx4_0 hca_handle=2 hca_object=20\n");
        write("rdma.max", "mlx4_0 hca_handle=3 hca_object=max\n");
        let expected = RdmaStats { handles: 2, objects: 20, handles_limit: 3, objects_limit: u32::MAX };
        assert_eq!(reader.rdma().unwrap()["mlx4_0"], expected);
    }
}
