//! Images: manifests, configs, tags, and which layers and blobs they hold on to.

pub mod config;
