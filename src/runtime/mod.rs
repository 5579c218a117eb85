//! Floor 3: processes. Starts a container from a [`plan::Plan`], holds it with a monitor, talks to the monitor.
//!
//! Knows nothing of images, volumes or names: it gets a root file system, an OCI runtime specification and two folders.

pub mod client;
pub mod log;
pub mod plan;
pub mod state;
