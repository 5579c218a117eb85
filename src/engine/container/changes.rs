//! What a container changed of its image: diff, sizes, commit.
//!
//! ```text
//! upper folder ─▶ diff, size
//!              ─▶ a layer, unless it is empty ─▶ image: the layers below, the container's config and one line of history
//! ```
//!
//! All of it looks at the upper folder from the outside: a container need not run, and volumes are not in it. Reading a
//! running container gives no one moment of it, so commit freezes it meanwhile unless told otherwise.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use crate::base::{Context as _, Digest, Error, Kind, Reference, Result, Timestamp, failpoint};
use crate::engine::Engine;
use crate::engine::container::content::view;
use crate::engine::container::{Found, tell};
use crate::engine::image::changes as instructions;
use crate::model::container::{ContainerRecord, MountPointKind};
use crate::model::content::{Change, CommitOptions, ContainerSize};
use crate::model::image::{History, Image, ImageConfig, Layer};
use crate::runtime::client::Monitor;
use crate::runtime::skeleton;
use crate::store::db::Phase;
use crate::store::image::NewImage;
use crate::store::image::config::{self, MAX_JSON_BYTES, MAX_LAYERS};
use crate::store::upper;

impl Engine {
    /// How the container's file system, without its mounts, differs from its image's; sorted by path.
    ///
    /// # Errors
    /// `not_found`; `unsupported` for a tree that is too deep; what reading gives.
    pub fn container_diff(&self, container: &str) -> Result<Vec<Change>> {
        let found = self.container_find(container)?;
        let lower = view(&self.container_below(&found.record)?)?;
        upper::changes(&self.container_upper(&found), lower.as_fd())
            .context(|| format!("comparing the container {:?} with its image", found.name))
    }

    /// How large what the container made or changed is, and that and its image together.
    ///
    /// # Errors
    /// `not_found`; what reading gives.
    pub fn container_size(&self, container: &str) -> Result<ContainerSize> {
        let found = self.container_find(container)?;
        let writable_bytes = upper::size_bytes(&self.container_upper(&found))?;
        let mut virtual_bytes = writable_bytes;
        for chain_id in &found.record.layers {
            virtual_bytes += self.store.layer_get(chain_id)?.map_or(0, |layer| layer.size_bytes);
        }
        Ok(ContainerSize { writable_bytes, virtual_bytes })
    }

    /// Makes an image of the container's image and what it changed, without its volumes.
    ///
    /// # Errors
    /// `not_found`; `invalid_argument` for the reference or a change; `conflict` while it is being removed;
    /// `unsupported` when the image would have more layers than a container can; `no_space`. Nothing is kept then.
    pub fn container_commit(&self, container: &str, tag: Option<&str>, options: &CommitOptions) -> Result<Image> {
        let found = self.container_find(container)?;
        if found.phase == Phase::Removing {
            return Err(Error::conflict(format!("the container {:?} is being removed", found.name)));
        }
        let tag = tag.map(Reference::parse).transpose()?;
        if let Some(name) = tag.as_ref().filter(|name| name.digest().is_some()) {
            return Err(Error::invalid(format!("{name} has a digest, which is not ours to give")));
        }
        let image = self.image_get(found.record.image_id.as_str())?;
        let config = changed_config(&found.record, &image.config, &options.changes)?;
        let lease = self.store.lease()?;
        let committed = self.commit_under_lease(&found, tag.clone(), config, options);
        drop(lease);
        if committed.is_err() {
            self.sweep_after_failure();
        }
        let image = committed.context(|| format!("committing the container {:?}", found.name))?;
        self.tell_tagged(&image, tag.as_ref());
        let event = tell::event(&found.record, &found.name, "commit");
        let comment = options.message.clone().unwrap_or_default();
        let reference = tag.map(|tag| tag.familiar()).unwrap_or_default();
        self.tell(&event.with("comment", comment).with("imageID", &image.id).with("imageRef", reference));
        Ok(image)
    }

    fn commit_under_lease(
        &self,
        found: &Found,
        tag: Option<Reference>,
        run: ImageConfig,
        options: &CommitOptions,
    ) -> Result<Image> {
        let record = &found.record;
        let parent = self.image_get(record.image_id.as_str())?;
        let mut parsed = config::parse(&self.store.blob_read(&parent.id, MAX_JSON_BYTES)?)?;
        let mut layers = parent.layers;
        // Whoever removes the image meanwhile does not take these.
        let chain_ids: Vec<Digest> = layers.iter().map(|layer| layer.chain_id.clone()).collect();
        self.store.layers_adopt(&chain_ids)?;
        let frozen = if options.pause { self.freeze(found)? } else { None };
        failpoint::hit("container.commit.frozen")?;
        let packed = self.commit_layer(found, layers.last());
        if let Some(monitor) = frozen {
            thaw(monitor)?;
        }
        let layer = packed?;
        let created = Some(Timestamp::now());
        parsed.history.push(History {
            created,
            created_by: record.command.join(" "),
            author: options.author.clone(),
            comment: options.message.clone(),
            empty_layer: layer.is_none(),
        });
        if let Some(layer) = layer {
            if layers.len() >= MAX_LAYERS {
                return Err(Error::unsupported(format!("the image would have more than {MAX_LAYERS} layers"))
                    .with_hint("export the container and import that as an image of one layer"));
            }
            parsed.diff_ids.push(layer.diff_id.clone());
            layers.push(layer);
        }
        (parsed.created, parsed.author, parsed.config) = (created, options.author.clone(), run);
        failpoint::hit("container.commit.prepare")?;
        let image = self.store.image_prepare(&config::write(&parsed), &parsed, None, layers)?;
        failpoint::hit("container.commit.record")?;
        let mut images = self.store.image_commit(&[NewImage::new(image, tag.into_iter().collect())])?;
        self.store.flush()?;
        Ok(images.remove(0))
    }

    /// The layer of what changed; none when nothing did.
    fn commit_layer(&self, found: &Found, below: Option<&Layer>) -> Result<Option<Layer>> {
        let upper = self.container_upper(found);
        self.layer_of_upper(&upper, below, None)
    }

    /// Freezes a container that runs. None when there is nothing to thaw afterwards.
    fn freeze(&self, found: &Found) -> Result<Option<Monitor>> {
        let mut monitor = match self.container_monitor(&found.id, &found.name) {
            Err(error) if error.kind() == Kind::Conflict => return Ok(None),
            monitor => monitor?,
        };
        match monitor.freeze() {
            Ok(()) => Ok(Some(monitor)),
            // It is frozen already, or has just ended.
            Err(error) if error.kind() == Kind::Conflict => Ok(None),
            Err(error) => Err(error.context("freezing the container")),
        }
    }

    /// Where the container's own files are.
    pub(super) fn container_upper(&self, found: &Found) -> PathBuf {
        self.paths().container(&found.id).join("upper")
    }

    /// The folders below the container's own, highest first: its image's layers, and the mount points that all have.
    pub(super) fn container_below(&self, record: &ContainerRecord) -> Result<Vec<PathBuf>> {
        let mut lower = self.lower_dirs(&record.layers);
        skeleton::ensure(&self.paths().mount_points())?;
        lower.push(self.paths().mount_points());
        Ok(lower)
    }
}

fn thaw(mut monitor: Monitor) -> Result<()> {
    match monitor.set_paused(false) {
        // Somebody else thawed it, or it was killed.
        Err(error) if matches!(error.kind(), Kind::Conflict | Kind::Unavailable) => Ok(()),
        thawed => thawed.context(|| "thawing the container"),
    }
}

/// The container's own config, changed by instructions; as with Docker its instructions for builds and its shell are not
/// taken over from the image.
fn changed_config(record: &ContainerRecord, image: &ImageConfig, changes: &[String]) -> Result<ImageConfig> {
    // What the container was given stands before what the image had, as in Docker's own list.
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let given = |entry: &&String| record.options.env.iter().any(|(given, _)| *given == name(entry));
    let (first, rest): (Vec<&String>, Vec<&String>) = record.env.iter().partition(given);
    let volumes = record
        .mounts
        .iter()
        .filter(|point| matches!(point.kind, MountPointKind::Volume { anonymous: true, .. }) && !point.inherited);
    let mut config = ImageConfig {
        user: record.user.clone(),
        env: first.into_iter().chain(rest).cloned().collect(),
        entrypoint: record.entrypoint.clone(),
        cmd: record.command.clone(),
        // The record's own says "/" where nobody said anything.
        working_dir: record.options.working_dir.clone().unwrap_or_else(|| image.working_dir.clone()),
        labels: record.labels.clone(),
        exposed_ports: record.exposed_ports.clone(),
        volumes: volumes.map(|point| point.target.clone()).chain(image.volumes.iter().cloned()).collect(),
        stop_signal: record.options.stop_signal.clone().or_else(|| image.stop_signal.clone()),
        healthcheck: record.healthcheck.clone(),
        ..ImageConfig::default()
    };
    for list in [&mut config.volumes, &mut config.exposed_ports] {
        list.sort();
        list.dedup();
    }
    instructions::apply(&mut config, changes)?;
    let has = |instruction: &str| {
        let word = |change: &String| change.split_whitespace().next().map(str::to_ascii_uppercase);
        changes.iter().filter_map(word).any(|word| word == instruction)
    };
    // An entrypoint that is given drops the command, one that is taken away does not.
    if has("ENTRYPOINT") && !has("CMD") && !config.entrypoint.is_empty() {
        config.cmd.clear();
    }
    Ok(config)
}
