//! Floor 3: what is remote. It moves bytes, and knows nothing of the disk's layout, of images or of containers.
//!
//! ```text
//! http   one file from an address, and what a server answers
//! ```

pub mod http;
