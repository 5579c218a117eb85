//! The cache that an image carries: which of its layers came of which step.
//!
//! ```text
//! config of the image    "rhumb.cache": { "version": 1, "steps": { KEY: PLACE of the layer | null } }
//! ```
//!
//! It goes wherever the image goes, whoever carries it, and costs no blob. What an image does not have it cannot say: the
//! layers of stages that were only copied from. The same build gives the same bytes, cached or not.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::exchange::{Depot, Entry, Index, Place};
use super::key::Inputs;
use crate::base::error::quoted;
use crate::base::{Context as _, Digest, Error, Kind, Result};
use crate::engine::Engine;
use crate::model::build::BuildReport;
use crate::model::image::Layer;
use crate::store::image::config::MAX_JSON_BYTES;
use crate::store::image::manifest::ManifestImage;
use crate::store::layer::chain_id;

/// Where in a config it is.
const KEY: &str = "rhumb.cache";
/// The version of what is there.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Carried {
    version: u32,
    /// For each key the place of its layer, counted from 0; none when it changed nothing.
    steps: BTreeMap<Digest, Option<usize>>,
}

/// A config that says which steps the image's layers came of.
///
/// # Errors
/// `corrupt` for what is no config; `unsupported` for one that would be too large.
pub(super) fn with_cache(config: &[u8], layers: &[Layer], report: &BuildReport) -> Result<Vec<u8>> {
    let mut root: Value = serde_json::from_slice(config).map_err(|error| Error::corrupt(quoted(&error)))?;
    let places: HashMap<&Digest, usize> =
        layers.iter().enumerate().map(|(place, layer)| (&layer.chain_id, place)).collect();
    let place = |layer: &Option<Layer>| match layer {
        None => Some(None),
        Some(layer) => places.get(&layer.chain_id).map(|place| Some(*place)),
    };
    let steps = report.steps.iter().filter_map(|step| Some((step.key.clone()?, place(&step.layer)?))).collect();
    // Plain data with string keys always has a JSON form.
    root[KEY] = serde_json::to_value(Carried { version: VERSION, steps }).expect("plain data can be written as JSON");
    let text = root.to_string().into_bytes();
    if text.len() as u64 > MAX_JSON_BYTES {
        return Err(Error::unsupported("the image has too many steps to carry its cache")
            .with_hint("write it with --cache-to type=registry"));
    }
    Ok(text)
}

/// What an image with these layers carries; none when that is nothing.
///
/// # Errors
/// `corrupt`; `unsupported` for a later version.
pub(super) fn of_image(config: &[u8], layers: &[Layer]) -> Result<Option<Index>> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "rhumb.cache")]
        carried: Option<Value>,
    }
    let malformed = |error: serde_json::Error| Error::corrupt(format!("its cache is malformed: {}", quoted(&error)));
    let Some(carried) = serde_json::from_slice::<Config>(config).map_err(malformed)?.carried else { return Ok(None) };
    if carried["version"] != VERSION {
        return Err(Error::unsupported(format!("its cache has the version {}", quoted(&carried["version"]))));
    }
    let Carried { steps, .. } = serde_json::from_value(carried).map_err(malformed)?;
    let mut index = Index { version: VERSION, ..Index::default() };
    for (key, place) in steps {
        let missing = || Error::corrupt("its cache names a layer that it does not have");
        let layer = place.map(|place| layers.get(place).cloned().ok_or_else(missing)).transpose()?;
        index.steps.insert(key, Entry { text: String::new(), layer, inputs: Inputs::default(), content: None });
    }
    Ok(Some(index))
}

/// The layers of an image that is elsewhere, as far as one knows them.
pub(super) fn layers_of(image: &ManifestImage) -> Vec<Layer> {
    let mut below: Option<Digest> = None;
    let layer = |(layer, diff_id): (&crate::store::image::manifest::ManifestLayer, &Digest)| {
        let chain_id = chain_id(below.as_ref(), diff_id);
        below = Some(chain_id.clone());
        Layer {
            chain_id,
            diff_id: diff_id.clone(),
            blob: layer.digest.clone(),
            media_type: layer.media_type.clone(),
            blob_size_bytes: layer.size_bytes,
            size_bytes: 0,
            came: true,
        }
    };
    image.layers.iter().zip(&image.parsed.diff_ids).map(layer).collect()
}

impl Engine {
    /// What an image that is here carries; none when there is no such image, or it carries nothing.
    ///
    /// # Errors
    /// `corrupt`.
    pub(super) fn build_cache_here(&self, name: &str) -> Result<Option<Depot>> {
        let image = match self.image_get(name) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            image => image?,
        };
        let reading = || format!("reading the cache of the image {name}");
        let mut config = Vec::new();
        std::io::Read::read_to_end(&mut self.store.blob_open(&image.id)?, &mut config).context(reading)?;
        let index = of_image(&config, &image.layers).context(reading)?;
        Ok(index.map(|index| Depot { place: Place::Here(name.to_owned()), index }))
    }
}
