//! Image archives: docker-archive and OCI image layout, as tar and as folder, read and written.
//!
//! Reading ends with a plan ([`read::read`]); the engine imports what the plan names. Writing takes images from the store
//! as they are.

pub mod beside;
pub mod members;
pub mod read;
pub mod spool;
pub mod tarball;
pub mod write;
