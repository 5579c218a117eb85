//! The cache of builds: what is kept of a step, and where it is shared.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Timestamp};
use crate::model::image::Layer;

/// Where a cache is that other machines share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// In a folder.
    Folder(PathBuf),
    /// In a registry, under this reference: a cache, or an image that carries one.
    Registry(String),
    /// In the image that is built, wherever that goes; for [`CacheTarget`] alone.
    Inline,
}

/// Where a cache is exported to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTarget {
    /// The place.
    pub place: CachePlace,
    /// What commands keep in their caches is exported as well.
    pub mounts: bool,
}

/// A step whose result is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CachedStep {
    /// Its key.
    pub key: Digest,
    /// The step as one reads it.
    pub text: String,
    /// Its layer; none when it changed nothing.
    pub layer: Option<Layer>,
    /// When it was done.
    pub created: Timestamp,
    /// When it was last of use.
    pub used: Timestamp,
}
