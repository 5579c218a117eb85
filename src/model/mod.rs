//! Floor 1: what we talk about. Options go in, facts come out; plain serde data without behaviour beyond parsing and
//! printing, and without system calls.

pub mod build;
pub mod container;
pub mod content;
pub mod event;
pub mod exec;
pub mod health;
pub mod image;
pub mod limits;
pub mod log;
pub mod mount;
pub mod names;
pub mod network;
pub mod process;
pub mod restart;
pub mod stats;
pub mod system;
pub mod topology;
pub mod volume;
