//! Floor 5: Docker's dialect. Compose-style option maps and docker's short strings in, Docker's JSON out.
//!
//! Translation: nothing is decided about containers. Option maps and command-line flags share the same small readers, so
//! that `-v` and `volumes:` can never differ. It is pure but for two rooms that both front ends need: `dockerfile::contexts`
//! has the engine fetch what a context names, and `registry` reads and writes what Docker's client keeps.

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
