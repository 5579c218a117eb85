//! The engine as a whole: facts, disk usage, prune. The cross-check is in [`check`], what follows a boot in
//! [`resume`].

mod check;
mod resume;

use std::collections::BTreeSet;

use crate::base::{Result, Timestamp};
use crate::engine::Engine;
use crate::engine::build::CachePrune;
use crate::engine::container::disk_usage;
use crate::model::container::{Container, ContainerFilter, Status};
use crate::model::image::{ImageFilter, Layer};
use crate::model::system::{DiskUsage, DiskUsageRow, Info, PruneFilter, PruneReport};
use crate::model::volume::VolumeFilter;
use crate::sys;

impl Engine {
    /// Facts about this machine and engine.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn system_info(&self) -> Result<Info> {
        let containers = self.container_list(&ContainerFilter { all: true, ..ContainerFilter::default() })?;
        let count = |status| containers.iter().filter(|container| container.state.status == status).count() as u64;
        let (running, paused) = (count(Status::Running), count(Status::Paused));
        let machine = sys::machine::facts();
        Ok(Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            root: self.paths().root().to_string_lossy().into_owned(),
            containers_running: running,
            containers_paused: paused,
            containers_stopped: containers.len() as u64 - running - paused,
            images: self.image_list(&ImageFilter::default())?.len() as u64,
            volumes: self.volume_list(&VolumeFilter::default())?.len() as u64,
            cgroup: machine.cgroup.to_owned(),
            kernel: machine.kernel,
            operating_system: operating_system(),
            architecture: machine.architecture,
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            memory_bytes: machine.memory_bytes,
        })
    }

    /// Space by noun.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn system_df(&self) -> Result<DiskUsage> {
        let containers = self.container_list(&ContainerFilter { all: true, ..ContainerFilter::default() })?;
        Ok(DiskUsage {
            rows: vec![
                self.images_row(&containers)?,
                self.containers_row(&containers),
                self.volumes_row(&containers)?,
                self.cache_row()?,
            ],
        })
    }

    fn images_row(&self, containers: &[Container]) -> Result<DiskUsageRow> {
        let used: BTreeSet<_> = containers.iter().map(|container| &container.record.image_id).collect();
        let images = self.image_list(&ImageFilter::default())?;
        let (active, idle): (Vec<_>, Vec<_>) = images.iter().partition(|image| used.contains(&image.id));
        // A layer that several images share is there once, and stays while one of them is used.
        let (mut seen, forms) = (BTreeSet::new(), self.store.forms_bytes()?);
        let forms = |layer: &Layer| forms.get(&layer.chain_id).copied().unwrap_or(0);
        let mut bytes = |layers: &mut dyn Iterator<Item = &Layer>| -> u64 {
            let unseen = layers.filter(|layer| seen.insert(layer.chain_id.clone()));
            unseen.map(|layer| layer.size_bytes + layer.blob_size_bytes + forms(layer)).sum()
        };
        let active_bytes = bytes(&mut active.iter().flat_map(|image| &image.layers));
        let waiting = self.store.pull_layers()?;
        let idle_bytes = bytes(&mut idle.iter().flat_map(|image| &image.layers).chain(&waiting));
        Ok(DiskUsageRow {
            noun: "Images".to_owned(),
            total: images.len() as u64,
            active: active.len() as u64,
            size_bytes: active_bytes + idle_bytes,
            reclaimable_bytes: idle_bytes,
        })
    }

    fn containers_row(&self, containers: &[Container]) -> DiskUsageRow {
        let mut row = DiskUsageRow { noun: "Containers".to_owned(), ..DiskUsageRow::default() };
        for container in containers {
            let bytes = disk_usage(&self.paths().container(&container.record.id));
            row.total += 1;
            row.size_bytes += bytes;
            match container.state.status.is_alive() {
                true => row.active += 1,
                false => row.reclaimable_bytes += bytes,
            }
        }
        row
    }

    fn volumes_row(&self, containers: &[Container]) -> Result<DiskUsageRow> {
        let used: BTreeSet<_> = containers.iter().flat_map(|container| container.record.volumes()).collect();
        let mut row = DiskUsageRow { noun: "Local Volumes".to_owned(), ..DiskUsageRow::default() };
        for volume in self.volume_list(&VolumeFilter::default())? {
            let bytes = disk_usage(&volume.mountpoint);
            row.total += 1;
            row.size_bytes += bytes;
            match used.contains(&volume.id) {
                true => row.active += 1,
                false => row.reclaimable_bytes += bytes,
            }
        }
        Ok(row)
    }

    fn cache_row(&self) -> Result<DiskUsageRow> {
        let (cached, bytes) = self.build_cache_usage()?;
        Ok(DiskUsageRow {
            noun: "Build Cache".to_owned(),
            total: cached.len() as u64,
            active: cached.iter().filter(|cached| cached.is_shared).count() as u64,
            size_bytes: bytes,
            reclaimable_bytes: bytes,
        })
    }

    /// Prunes containers, networks, dangling images (`all`: every unused one), what builds keep that is in no image (`all`:
    /// all of it) and, when asked, volumes.
    ///
    /// # Errors
    /// `interrupted`, and when nothing can be listed; what could not be removed is in the report.
    pub fn system_prune(&self, all: bool, volumes: bool, filter: &PruneFilter) -> Result<PruneReport> {
        let mut report = self.container_prune(filter)?;
        let mut add = |more: PruneReport| {
            report.items.extend(more.items);
            report.freed_bytes += more.freed_bytes;
            report.failures.extend(more.failures);
        };
        add(self.network_prune(filter)?);
        if volumes {
            add(self.volume_prune(false, filter)?);
        }
        add(self.image_prune(all, filter)?);
        // What builds keep has no labels.
        if !filter.has_labels() {
            let unused_for = filter.until.map(Timestamp::elapsed);
            let what = CachePrune { unused_for, mounts: unused_for.is_none(), unshared: !all, ..CachePrune::default() };
            add(self.build_cache_prune(&what)?);
        }
        Ok(report)
    }
}

/// os-release(5)'s pretty name.
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default(); // a host without one has no name
    let pretty = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}
