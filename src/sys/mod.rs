//! Floor 2: the only system calls and the only `unsafe`. The one door to `nix`, `rustix` and `libc`.

pub mod capability;
pub mod child;
pub mod device_filter;
pub mod exchange;
pub mod fs;
pub mod group;
pub mod idmap;
pub mod lock;
pub mod machine;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod node;
pub mod notify;
pub mod overlay;
pub mod path;
pub mod process;
pub mod scheduling;
pub mod seccomp;
pub mod self_exe;
pub mod signal;
pub mod signal_pipe;
pub mod socket;
pub mod terminal;
pub mod tty;
pub mod user;
