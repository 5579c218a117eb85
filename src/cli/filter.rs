//! `--filter KEY=VALUE` of the listings and prunes.

use crate::base::{Error, Result};
use crate::docker;
use crate::model::container::ContainerFilter;
use crate::model::event::EventFilter;
use crate::model::image::ImageFilter;
use crate::model::network::NetworkFilter;
use crate::model::system::PruneFilter;
use crate::model::volume::VolumeFilter;

/// Adds `ps` filters.
pub(crate) fn container(texts: &[String], filter: &mut ContainerFilter) -> Result<()> {
    read(texts, filter, docker::filter::container)
}

/// Reads `images` filters.
pub(crate) fn image(texts: &[String]) -> Result<ImageFilter> {
    let mut filter = ImageFilter::default();
    read(texts, &mut filter, docker::filter::image).map(|()| filter)
}

/// Reads `volume ls` filters.
pub(crate) fn volume(texts: &[String]) -> Result<VolumeFilter> {
    let mut filter = VolumeFilter::default();
    read(texts, &mut filter, docker::filter::volume).map(|()| filter)
}

/// Reads filters of a prune.
pub(crate) fn prune(texts: &[String]) -> Result<PruneFilter> {
    let mut filter = PruneFilter::default();
    read(texts, &mut filter, docker::filter::prune).map(|()| filter)
}

/// Reads `network ls` filters.
pub(crate) fn network(texts: &[String]) -> Result<NetworkFilter> {
    let mut filter = NetworkFilter::default();
    read(texts, &mut filter, docker::filter::network).map(|()| filter)
}

/// Reads `events` filters.
pub(crate) fn events(texts: &[String]) -> Result<EventFilter> {
    let mut filter = EventFilter::default();
    read(texts, &mut filter, docker::event::add_filter).map(|()| filter)
}

fn read<F>(texts: &[String], filter: &mut F, add: impl Fn(&mut F, &str, &str) -> Result<()>) -> Result<()> {
    for text in texts {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Error::invalid(format!("{text:?} is not a filter")).with_hint("write key=value, such as name=web")
        })?;
        add(filter, key.trim(), value.trim())?;
    }
    Ok(())
}
