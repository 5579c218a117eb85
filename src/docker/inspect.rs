//! The JSON of `inspect` for each noun, under the noun's name: `inspect::container(&container, &paths)`.

pub use crate::docker::container::inspect as container;
pub use crate::docker::image::inspect as image;
pub use crate::docker::volume::inspect as volume;
