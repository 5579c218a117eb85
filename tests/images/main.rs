//! End to end tests of images, archives and volumes, with skopeo, podman and umoci as peers. No registry.

#[path = "../support/mod.rs"]
mod support;
