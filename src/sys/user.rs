//! Who we are. No name service is asked: static glibc could not, and names belong to the containers.

/// The effective user is the superuser.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
