//! Rhumb: a container engine that you script.
//!
//! There is no daemon. Every command opens the state root, finishes or undoes what an earlier one left half-done, and
//! works on it directly; each running container has a small monitor of its own, which is this same program.
//!
//! # The map
//!
//! A module imports from lower floors only; modules on one floor never import each other. Every noun has the same file
//! name on every floor: `ls src/*/container*` is the whole story of containers.
//!
//! ```text
//! 8  main      the hidden verbs that this program re-executes itself with, then the command line
//! 7  cli       Docker's command line: parse, one engine call, render
//!    repl      the prompt
//! 6  script    the Rhai host: one file per noun, arguments in, handles and errors out, the embedded standard library
//! 5  docker    Docker's dialect: option words and maps, JSON for inspect, formats
//! 4  engine    the facade: one file or folder per noun, one method per verb; synchronous; never prints
//! 3  store     the disk: records in SQLite, blobs, layers, image archives, volumes' content
//!    runtime   processes: plan, monitor, init, cgroups, logs, attach and exec
//!    net       networks: links, addresses, rules, and the resolver of a container's names
//!    registry  what is remote: bytes in and out
//! 2  sys       the only system calls and the only unsafe code
//! 1  model     what we talk about: options in, facts out, plain serde data
//! 0  base      error, id, digest, reference, units, time, paths, ignore patterns, undo, failpoint
//! ```
//!
//! # Invariants
//!
//! Those marked † are held by tests in `tests/house`.
//!
//! - † The floors, and inside [`engine`] the rank volume, network, image < container < build < system.
//! - † One door per library: `nix`, `rustix`, `libc` only in [`sys`], `rusqlite` only in `store/db`, `cgroups-rs` only in
//!   `runtime/cgroup.rs`, `rhai` only in [`script`], `clap` only in [`cli`], and so on.
//! - † `unsafe` only in [`sys`], in the smallest block, with its reasons.
//! - † The environment is read by front ends alone: the state root is a parameter ([`engine::EngineOptions`]), there are no
//!   globals, and nothing below the front ends prints or exits.
//! - [`store`] knows nothing of containers: a record is a noun, an id, a phase and a JSON body. [`runtime`] knows nothing of
//!   images: it gets a root file system and a specification. [`net`] knows neither: it gets a network namespace and a plan.
//! - Plan, then act: what will be done is made by functions without side effects (the OCI specification, the list of
//!   mounts, the members of an archive), and carried out by small executors.
//! - Whatever leaves something behind pushes its reversal first ([`base::undo`]), and is on record before it exists. A
//!   record is `Creating` until everything of it is there and `Removing` before anything of it goes; a flock per object,
//!   held by whoever works on it, tells a later command whether the work is still going on or is to be finished or undone.
//! - † Every step of a verb that changes something passes a named failpoint ([`base::failpoint`]), at which tests let it die.
//! - The engine's process is never forked, since it has threads: monitors and inits are executed anew, from a read-only
//!   handle of the binary that a container can never write to.
//! - The host's mount namespace never sees a container's mounts, so that no kill can leave one behind.
//! - A bare pid is never signalled: a process is a pid, its start time and the boot.
//! - A container's exit status is data, never an error. What nobody saw is said to be unknown, never guessed.
//! - A path inside a root file system or a volume is opened below a folder's descriptor ([`sys::path`]), never joined.
//!
//! # Follow one call
//!
//! `rhumb run --rm -v data:/data base:1 echo hi`:
//!
//! 1. `main` finds no hidden verb in its first argument and calls the command line, which parses the flags into
//!    [`model::container::ContainerOptions`], opens the [`engine::Engine`] (this is where a crash of an earlier command is
//!    repaired), and calls [`engine::Engine::container_run_attached`] with the terminal's streams.
//! 2. The engine looks up the image, makes the volume `data` if there is none, and decides: image and options become one
//!    [`model::container::ContainerRecord`]. The record goes into the [`store`] with its name and everything that it uses in
//!    one transaction, as `Creating`; then come the folders and files, under the record's lock.
//! 3. From record and image the engine makes a [`runtime::plan::Plan`]: an OCI runtime specification, the layers of the
//!    root, two folders, a cgroup's name. Addresses and ports are claimed in the [`store`] in one transaction, and the files
//!    of the resolver say so. [`runtime::client::create`] starts the monitor with the plan.
//! 4. The monitor (`rhumb [monitor]`) makes the cgroup, starts the init (`rhumb [init]`) in new namespaces, and waits at its
//!    socket. The init mounts the overlay and everything else in its own mount namespace, drops what it must not have,
//!    and waits for the word.
//!    The monitor holds the new network namespace for all runs and hands it to the client, which makes the interfaces in
//!    it ([`net`]) before anything runs, and then the ways to published ports.
//! 5. The client attaches to the monitor's socket and says start: the init becomes `echo hi`. The output goes through the
//!    monitor into the log and to the client.
//! 6. `echo` ends. The monitor records the status, tells the client, and goes. The client, which had taken the clean-up
//!    over, removes the container: `Removing`, then cgroup and folders, then the record. Had the client been killed, the
//!    monitor would have executed `rhumb [reap]` to do the same; had both been killed, the next command does it.
//! 7. The command line exits with the status of `echo`.

pub mod base;
pub mod cli;
pub mod docker;
pub mod engine;
pub mod model;
pub mod net;
pub mod registry;
pub mod repl;
pub mod runtime;
pub mod script;
pub mod store;
pub mod sys;
