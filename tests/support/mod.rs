//! What the integration tests share: a state root of their own with the real binary ([`rhumb`]), a guard that nothing is
//! left in the kernel or on the disk ([`leaks`]), the programs of other projects that some tests need ([`peers`]; [`docker`]
//! and [`registry`] are two that go on running), and an image of Debian ([`debian`]).
//!
//! Every test crate takes it in with `#[path = "../support/mod.rs"] mod support;`. There are no mocks here and there is no
//! way to reach into the engine: tests see what a user sees.
#![allow(dead_code, unused_imports, reason = "each test crate uses another part of it")]

pub(crate) mod debian;
pub(crate) mod docker;
pub(crate) mod leaks;
pub(crate) mod peers;
pub(crate) mod process;
pub(crate) mod registry;
pub(crate) mod rhumb;
pub(crate) mod rootfs;

pub(crate) use peers::peer;
pub(crate) use process::Outcome;
pub(crate) use rhumb::{BASE, Rhumb, Scratch};
