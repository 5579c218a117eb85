//! Floor 3: processes. Starts a container from a [`plan::Plan`], holds it with a monitor, talks to the monitor.
//!
//! Knows nothing of images, volumes or names: it gets a root file system, an OCI runtime specification and two folders.
//!
//! ```text
//! client   the engine's side                        wire      their language
//! monitor  one process per container: the loop       conn      its clients          stdio    its streams
//! birth    makes the container                       execs     further processes    attach   the client's pump
//! init     the first process until execve            handover  the stages' language
//! exec     a further process until execve            launch    what both do last: user, rights, program
//! mounts   the list of mounts, a pure function       rootfs    carries it out
//! skeleton mount points that every root has
//! seccomp  the filter of system calls
//! cgroup   limits                                    user      passwd and group of the container
//! processes  who is in it, read from outside         visit     its files, read and written from outside
//! counters what it used, likewise                   limits    other ones for it, likewise
//! state    the files that tell what lives            log       written by the monitor, read by anyone
//! reach    connections into a container's network
//! tell     what the monitor tells of it
//! ```

mod attach;
mod birth;
mod cgroup;
pub mod client;
mod conn;
pub mod counters;
mod exec;
mod execs;
mod handover;
mod hooks;
mod init;
mod label;
mod launch;
pub mod limits;
pub mod log;
mod maps;
pub mod monitor;
mod mounts;
mod namespaces;
pub mod oci;
pub mod plan;
pub mod processes;
pub mod reach;
mod reaper;
mod rootfs;
pub mod seccomp;
pub mod skeleton;
pub mod state;
mod stdio;
mod sysctl;
pub mod tell;
mod user;
pub mod visit;
mod wire;
