//! Floor 0: what everything else is written in terms of.
//!
//! Errors, identifiers, digests, references, units, time, state paths, text in XML and the undo stack. Nothing here
//! makes a system call of its own, knows a container or prints.

pub mod digest;
pub mod error;
pub mod failpoint;
pub mod id;
pub mod ignore;
pub mod paths;
pub mod reference;
pub mod signal;
pub mod suggest;
pub mod time;
pub mod undo;
pub mod units;
pub mod xml;

pub use digest::Digest;
pub use error::{Context, Error, Kind, Result};
pub use id::Id;
pub use paths::Paths;
pub use reference::Reference;
pub use time::Timestamp;
pub use undo::Undo;
