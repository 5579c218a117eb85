//! Floor 2: the only system calls and the only `unsafe`. The one door to `nix`, `rustix` and `libc`.

pub mod capability;
pub mod child;
pub mod exchange;
pub mod fs;
pub mod lock;
pub mod machine;
pub mod node;
pub mod overlay;
pub mod path;
pub mod signal_pipe;
pub mod terminal;
pub mod user;
