//! The process that a resolver is: it opens its sockets inside the container's network namespace, goes back, gives up its
//! rights, and answers until it is killed.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::{Resolver, redirect};
use crate::base::{Context as _, Result};
use crate::sys::capability::{self, Capabilities, Set};
use crate::sys::{memory, namespace, process};

/// A container that lives this long is worth giving back the memory that only its start needed.
const SETTLING: Duration = Duration::from_secs(1);

/// Serves the container of this network namespace, whose names are in the file `names`, in a process with one thread and
/// nothing else to do. `tell` hears whether it has begun. Returns when it cannot go on.
pub fn serve(namespace: OwnedFd, names: &Path, tell: &mut dyn FnMut(Result<()>)) {
    let mut resolver = match begin(namespace, names) {
        Ok(resolver) => resolver,
        Err(error) => return tell(Err(error)),
    };
    tell(Ok(()));
    let mut settled = Some(SETTLING);
    while resolver.turn(settled).is_ok() {
        if settled.take().is_some() {
            memory::release_program_pages();
        }
    }
}

fn begin(container: OwnedFd, names: &Path) -> Result<Resolver> {
    let own = namespace::open(Path::new("/proc/self/ns/net")).context(|| "opening our own network namespace")?;
    namespace::join(container.as_fd(), namespace::NETWORK).context(|| "entering the container's network")?;
    let sockets = redirect::listen();
    // Servers are asked from where the host asks them.
    namespace::join(own.as_fd(), namespace::NETWORK).context(|| "leaving the container's network")?;
    drop((container, own));
    let sockets = sockets?;
    capability::limit_bounding(Set::default())?;
    capability::apply(&Capabilities::default(), Set::default())?;
    process::set_no_new_privileges().context(|| "giving up new privileges")?;
    Ok(Resolver::new(sockets, names.to_owned()))
}
