//! Taking names and images away, and what nobody needs any more.

use crate::base::{Error, Id, Reference, Result, failpoint};
use crate::engine::Engine;
use crate::model::event::{Event, IMAGE};
use crate::model::image::{Image, ImageRemoved};
use crate::model::system::{PruneFilter, PruneReport};
use crate::store::db::{Noun, Tx};

impl Engine {
    pub(super) fn remove_image(&self, text: &str, force: bool) -> Result<Vec<ImageRemoved>> {
        // A trace, should this process be killed before the sweep. A full disk may refuse it.
        let _lease = self.store.lease();
        let (facts, (mut removed, image)) = self.store.write(|tx| {
            let (id, name) = tx.image_find(text)?;
            let image = tx.image(&id)?;
            let removed = remove_in(tx, text, &image, name.as_ref(), force)?;
            Ok((image, removed))
        })?;
        self.tell_removed(&facts, &removed);
        failpoint::hit("image.remove.record")?;
        if let Some(image) = image {
            self.sweep_store()?;
            let gone = self.store.read(|tx| {
                let gone = |layer: &&crate::model::image::Layer| -> Result<bool> {
                    Ok(tx.phase(Noun::Layer, layer.chain_id.as_str())?.is_none())
                };
                let mut layers = Vec::new();
                for layer in image.layers.iter().rev() {
                    if gone(&layer)? {
                        layers.push(ImageRemoved::Deleted(layer.chain_id.to_string()));
                    }
                }
                Ok(layers)
            })?;
            removed.extend(gone);
        }
        // Or a power cut could bring back a name that was taken away.
        self.store.flush()?;
        Ok(removed)
    }

    /// Tells what was taken away: Docker names the image by its id, and a deleted one has no labels any more.
    fn tell_removed(&self, image: &Image, removed: &[ImageRemoved]) {
        for one in removed {
            let event = match one {
                ImageRemoved::Untagged(_) => super::event(image, "untag", None),
                ImageRemoved::Deleted(id) => Event::new(IMAGE, "delete", id.as_str()).with("name", id),
            };
            self.tell(&event);
        }
    }

    pub(super) fn prune_images(&self, all: bool, filter: &PruneFilter) -> Result<PruneReport> {
        let _lease = self.store.lease(); // as in `remove_image`
        let items = self.store.write(|tx| {
            let mut items = Vec::new();
            for row in tx.list::<Image>(Noun::Image)? {
                let fits = filter.fits(row.body.created, &row.body.config.labels);
                if fits && (all || row.names.iter().all(|name| name.contains('@'))) && user_of(tx, &row.id)?.is_none() {
                    tx.delete(Noun::Image, &row.id)?;
                    items.push(row);
                }
            }
            if !filter.has_labels() {
                tx.pulls_end(filter.until)?;
            }
            Ok(items)
        })?;
        for row in &items {
            let untagged = row.names.iter().cloned().map(ImageRemoved::Untagged);
            let removed: Vec<_> = untagged.chain([ImageRemoved::Deleted(row.id.clone())]).collect();
            self.tell_removed(&row.body, &removed);
        }
        failpoint::hit("image.prune.record")?;
        let freed_bytes = self.sweep_store()?;
        self.tell(&Event::new(IMAGE, "prune", "").with("reclaimed", freed_bytes));
        let items = items.into_iter().map(|row| row.id).collect();
        Ok(PruneReport { items, freed_bytes, ..PruneReport::default() })
    }
}

/// Docker's rules for `rmi`: a name goes alone as long as there are others; the image goes with the last one, or with its
/// id. Gives what was done, and the image when its record went.
fn remove_in(
    tx: &Tx<'_>,
    text: &str,
    image: &Image,
    name: Option<&Reference>,
    force: bool,
) -> Result<(Vec<ImageRemoved>, Option<Image>)> {
    let id = image.id.as_str();
    let user = user_of(tx, id)?;
    if let Some(name) = name {
        let mut going = vec![name.familiar()];
        let repository = name.familiar_name();
        let of_repository = |other: &&String| {
            let name = Reference::parse(other).map(|other| other.familiar_name());
            name.is_ok_and(|name| name == repository)
        };
        // With the last tag of a repository go the digests by which it was known there.
        if name.digest().is_none() && image.tags.iter().filter(of_repository).count() == 1 {
            going.extend(image.digests.iter().filter(of_repository).cloned());
        }
        if image.tags.len() + image.digests.len() > going.len() || (force && user.is_some()) {
            for name in &going {
                tx.unname(Noun::Image, &Reference::parse(name)?.to_string())?;
            }
            return Ok((going.into_iter().map(ImageRemoved::Untagged).collect(), None));
        }
    }
    if let Some(container) = user {
        let short = container.get(..Id::SHORT).unwrap_or(&container);
        return Err(Error::conflict(format!("the image {text:?} is used by the container {short}"))
            .with_hint("remove that container first"));
    }
    if name.is_none() && image.tags.len() > 1 && !force {
        return Err(Error::conflict(format!("the image {text:?} has {} names", image.tags.len()))
            .with_hint(format!("remove it by name ({}), or use force", image.tags.join(", "))));
    }
    let mut removed: Vec<ImageRemoved> =
        image.tags.iter().chain(&image.digests).cloned().map(ImageRemoved::Untagged).collect();
    tx.delete(Noun::Image, id)?;
    removed.push(ImageRemoved::Deleted(id.to_owned()));
    Ok((removed, Some(image.clone())))
}

/// A container that needs the image.
fn user_of(tx: &Tx<'_>, id: &str) -> Result<Option<String>> {
    let users = tx.users((Noun::Image, id))?;
    Ok(users.into_iter().find(|(noun, _)| *noun == Noun::Container).map(|(_, id)| id))
}
