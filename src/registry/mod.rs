//! Floor 3: what is remote. It moves bytes, and knows nothing of the disk's layout, of images or of containers.
//!
//! ```text
//! http    one file from an address, and what a server answers
//! access  who one is at a registry, and whom one trusts        auth   how that is said
//! remote  a repository: manifests, tags, referrers             blob   its blobs
//! place   where that is, and what is spoken there              answer what answers mean
//! ```
//!
//! The requests are our own, over reqwest: they are few, and must be bounded, resumed and ended at any time.

pub mod access;
mod answer;
mod auth;
pub mod blob;
pub mod http;
mod place;
pub mod remote;
