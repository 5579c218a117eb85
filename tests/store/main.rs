//! End to end tests of the store: records, blobs, layers, recovery, what a second engine sees. Nothing of containers.

mod disk;
mod hostile;
mod round_trip;
mod sweep;
mod tree;
