//! What a container's handle tells about whom it reaches, and where it is reached.

use std::time::Duration;

use rhai::plugin::*;
use rhai::{ImmutableString, NativeCallContext};

use crate::base::Error;
use crate::script::container::Container;
use crate::script::container::waits::port_of;
use crate::script::error::{Fallible, Raise};

/// How long a port is tried to be reached.
const REACH: Duration = Duration::from_secs(3);
/// The port whose addresses begin with https.
const HTTPS: u16 = 443;

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_reach {
    use super::*;

    /// Whether something answers on a TCP port of a host within three seconds, seen from inside the container. The host is
    /// an address, or a name as programs in the container know it.
    ///
    /// ```rhai
    /// let n = network::create("doc-reach", #{ internal: true });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// assert(!c.can_reach("127.0.0.1", 80));
    /// c.remove(#{ force: true });
    /// n.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn can_reach(ctx: NativeCallContext, container: Container, host: ImmutableString, port: i64) -> Fallible<bool> {
        let port = port_of(port).raise(&ctx)?;
        container.engine.container_can_reach(container.id.as_str(), &host, port, REACH).raise(&ctx)
    }

    /// The address that a name has inside the container, as its programs get it: from `/etc/hosts`, or else from whom
    /// `/etc/resolv.conf` names. A name that has none is `not_found`.
    ///
    /// ```rhai
    /// let n = network::create("doc-resolve", #{ internal: true });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n], name: "doc-named" });
    /// assert(c.resolve("doc-named") == c.ip(n));
    /// c.remove(#{ force: true });
    /// n.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn resolve(ctx: NativeCallContext, container: Container, name: ImmutableString) -> Fallible<String> {
        let found = container.engine.container_resolve(container.id.as_str(), &name).raise(&ctx)?;
        let first = found.first().ok_or_else(|| {
            Error::not_found(format!("the name {:?} has no address inside the container", name.as_str()))
        });
        first.raise(&ctx).map(ToString::to_string)
    }

    /// Where a TCP port of the container is found from this host, as the beginning of a URL: `http://127.0.0.1:8080` where it
    /// is published, or else with the container's own address.
    ///
    /// ```rhai
    /// let n = network::create("doc-url", #{ subnet: "10.231.8.0/24" });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n], ports: ["127.0.0.1:28462:80"] });
    /// assert(c.url(80) == "http://127.0.0.1:28462" && c.url(81) == "http://10.231.8.2:81");
    /// c.remove(#{ force: true });
    /// n.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn url(ctx: NativeCallContext, container: Container, port: i64) -> Fallible<String> {
        let port = port_of(port).raise(&ctx)?;
        let address = container.engine.container_address(container.id.as_str(), port).raise(&ctx)?;
        Ok(format!("{}://{address}", if port == HTTPS { "https" } else { "http" }))
    }
}
