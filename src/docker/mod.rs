//! Floor 5: Docker's dialect. Compose-style option maps and docker's short strings in, Docker's JSON out.
//!
//! Pure translation: nothing here opens an engine, and nothing is decided about containers. Option maps and command-line
//! flags share the same small readers, so that `-v` and `volumes:` can never differ.

pub mod build;
pub mod container;
pub mod devices;
pub mod dockerfile;
pub mod env;
pub mod event;
pub mod exec;
pub mod filter;
pub mod format;
pub mod health;
mod host_config;
pub mod image;
pub mod inspect;
pub mod isolation;
pub mod logging;
pub mod members;
pub mod mounts;
pub mod network;
pub mod options;
pub mod registry;
mod shapes;
pub mod stats;
pub mod system;
pub mod template;
pub mod top;
mod value;
pub mod volume;
pub mod words;
