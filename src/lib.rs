//! Rhumb: a container engine that you script.

pub mod base;
pub mod docker;
pub mod engine;
pub mod model;
pub mod runtime;
pub mod store;
pub mod sys;
