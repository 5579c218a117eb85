//! Who we are. No name service is asked: static glibc could not, and names belong to the containers.

/// The effective user is the superuser.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The effective user's number.
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The effective group's number.
pub fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}
