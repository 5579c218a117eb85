//! Floor 5: Docker's dialect. Compose-style option maps and docker's short strings in, Docker's JSON out.

pub mod options;
