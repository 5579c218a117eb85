//! The noun `network` in scripts: functions that find and make networks, the handle, and what containers do with networks.
//!
//! Decodes, calls the engine once, encodes; what a network is made of is the engine's business.

use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use serde_json::Value;

use crate::base::{Error, Id, Result, Timestamp};
use crate::docker::{network as notation, options};
use crate::engine::Engine;
use crate::model::container::Connection;
use crate::model::network::{NetworkFilter, PortBinding};
use crate::script::container::Container;
use crate::script::context::engine;
use crate::script::convert::{Keys, to_json};
use crate::script::error::{Fallible, Raise};
use crate::script::units::a_type;

/// A network: its id, and the engine to ask about it.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) engine: Engine,
    pub(crate) id: Id,
}

/// A [`Network`], a name or an id.
pub(crate) type OneNetwork = Dynamic;

impl Network {
    fn now(&self) -> Result<crate::model::network::Network> {
        self.engine.network_get(self.id.as_str())
    }

    /// Its text: name and short id.
    pub(crate) fn shown(&self) -> String {
        match self.now() {
            Ok(network) => format!("Network({} {})", network.name, self.id.short()),
            Err(_) => format!("Network({})", self.id.short()),
        }
    }
}

pub(crate) fn network_name(network: &OneNetwork) -> Result<String> {
    if let Some(network) = network.read_lock::<Network>() {
        return Ok(network.id.to_string());
    }
    let text = network.as_immutable_string_ref().map(|text| text.to_string());
    text.map_err(|_| Error::invalid(format!("expected a network, not {}", a_type(network))))
}

fn container_name(container: &Dynamic) -> Result<String> {
    if let Some(container) = container.read_lock::<Container>() {
        return Ok(container.id.to_string());
    }
    let text = container.as_immutable_string_ref().map(|text| text.to_string());
    text.map_err(|_| Error::invalid(format!("expected a container, not {}", a_type(container))))
}

fn json(options: Map) -> Result<serde_json::Map<String, Value>> {
    match to_json(&Dynamic::from(options))? {
        Value::Object(map) => Ok(map),
        _ => Err(Error::invalid("the options are not a map")),
    }
}

fn make(engine: &Engine, name: &str, options: Map, ensure: bool) -> Result<Network> {
    let options = options::network_options(name, &json(options)?)?;
    let made = if ensure { engine.network_ensure(&options)? } else { engine.network_create(&options)? };
    Ok(Network { engine: engine.clone(), id: made.id })
}

fn list(engine: &Engine, options: Map) -> Result<Array> {
    let mut keys = Keys::new("network::list", options);
    let filter = NetworkFilter {
        name: keys.texts("name")?,
        label: keys.texts("label")?,
        driver: keys.texts("driver")?,
        dangling: keys.optional_flag("dangling")?,
        ..NetworkFilter::default()
    };
    keys.finish()?;
    let handle = |one: crate::model::network::Network| Dynamic::from(Network { engine: engine.clone(), id: one.id });
    Ok(engine.network_list(&filter)?.into_iter().map(handle).collect())
}

fn connect(engine: &Engine, container: &str, network: &OneNetwork, options: Map) -> Result<()> {
    let attachment = options::connection(&network_name(network)?, &json(options)?)?;
    engine.network_connect(container, &attachment)
}

fn connection(container: &Container, network: &OneNetwork) -> Result<Connection> {
    let wanted = container.engine.network_get(&network_name(network)?)?;
    let now = container.engine.container_get(container.id.as_str())?;
    now.state.networks.into_iter().find(|one| one.id == wanted.id).ok_or_else(|| {
        Error::not_found(format!("the container {:?} is not connected to the network {:?}", now.name, wanted.name))
    })
}

fn address(one: &Connection) -> Option<String> {
    let endpoint = one.endpoint.as_ref()?;
    endpoint.ip.map(|ip| ip.to_string()).or_else(|| endpoint.ip6.map(|ip| ip.to_string()))
}

fn binding(port: &PortBinding) -> Dynamic {
    let mut map = Map::new();
    map.insert("host_ip".into(), port.host_ip.to_string().into());
    map.insert("host_port".into(), i64::from(port.host_port).into());
    map.insert("port".into(), i64::from(port.container_port).into());
    map.insert("protocol".into(), port.protocol.as_str().into());
    Dynamic::from(map)
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod network_functions {
    use super::*;

    /// Makes a network. Options: `driver subnet ip_range gateway aux_addresses ipv6 internal labels options parent icc
    /// masquerade mtu`. The first bridge makes this host forward packets, and it goes on to when the last one is gone.
    ///
    /// ```rhai
    /// let n = network::create("front", #{ subnet: "10.231.7.0/24" });
    /// assert(n.gateway == "10.231.7.1");
    /// n.remove();
    /// ```
    #[rhai_fn(name = "create", return_raw)]
    pub fn create_with(ctx: NativeCallContext, name: ImmutableString, options: Map) -> Fallible<Network> {
        make(&engine(&ctx)?, &name, options, false).raise(&ctx)
    }

    #[rhai_fn(name = "create", return_raw)]
    pub fn create_named(ctx: NativeCallContext, name: ImmutableString) -> Fallible<Network> {
        make(&engine(&ctx)?, &name, Map::new(), false).raise(&ctx)
    }

    /// The network of this name, id, or unique beginning of an id.
    ///
    /// ```rhai
    /// assert(network::get("host").driver == "host");
    /// ```
    #[rhai_fn(return_raw)]
    pub fn get(ctx: NativeCallContext, name: ImmutableString) -> Fallible<Network> {
        let engine = engine(&ctx)?;
        let id = engine.network_get(&name).raise(&ctx)?.id;
        Ok(Network { engine, id })
    }

    /// The networks, by name. Filters: `name label driver dangling`.
    ///
    /// ```rhai
    /// for n in network::list(#{ driver: "host" }) { print(n.name); }
    /// ```
    #[rhai_fn(name = "list", return_raw)]
    pub fn list_default(ctx: NativeCallContext) -> Fallible<Array> {
        list(&engine(&ctx)?, Map::new()).raise(&ctx)
    }

    #[rhai_fn(name = "list", return_raw)]
    pub fn list_with(ctx: NativeCallContext, options: Map) -> Fallible<Array> {
        list(&engine(&ctx)?, options).raise(&ctx)
    }

    /// The network of this name, made when it is missing. One with other options is a `conflict`.
    ///
    /// ```rhai
    /// let n = network::ensure("kept", #{ internal: true });
    /// assert(network::ensure("kept", #{ internal: true }) == n);
    /// n.remove();
    /// ```
    #[rhai_fn(return_raw)]
    pub fn ensure(ctx: NativeCallContext, name: ImmutableString, options: Map) -> Fallible<Network> {
        make(&engine(&ctx)?, &name, options, true).raise(&ctx)
    }

    /// Removes networks that no container is connected to; returns `count`, `freed` and `items`.
    ///
    /// ```rhai
    /// print(network::prune().count);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn prune(ctx: NativeCallContext) -> Fallible<Map> {
        let pruned = engine(&ctx)?.network_prune(&crate::model::system::PruneFilter::default());
        pruned.and_then(crate::script::system::report).raise(&ctx)
    }

    /// The id: 64 hexadecimal digits. It stays when the name changes.
    ///
    /// ```rhai
    /// let n = network::create("doc-id", #{ internal: true });
    /// print(n.id);
    /// n.remove();
    /// ```
    #[rhai_fn(global, get = "id")]
    pub fn id(network: Network) -> String {
        network.id.to_string()
    }

    /// The name.
    ///
    /// ```rhai
    /// let n = network::create("doc-name", #{ internal: true });
    /// assert(n.name == "doc-name");
    /// n.remove();
    /// ```
    #[rhai_fn(global, get = "name", return_raw)]
    pub fn name(ctx: NativeCallContext, network: Network) -> Fallible<String> {
        Ok(network.now().raise(&ctx)?.name)
    }

    /// The driver: `bridge`, `macvlan`, `ipvlan`, `host` or `null`.
    ///
    /// ```rhai
    /// let n = network::create("doc-driver", #{ internal: true });
    /// assert(n.driver == "bridge");
    /// n.remove();
    /// ```
    #[rhai_fn(global, get = "driver", return_raw)]
    pub fn driver(ctx: NativeCallContext, network: Network) -> Fallible<String> {
        Ok(network.now().raise(&ctx)?.driver.to_string())
    }

    /// The first range of addresses; nothing when it has none.
    ///
    /// ```rhai
    /// let n = network::create("doc-subnet", #{ internal: true });
    /// print(n.subnet);
    /// n.remove();
    /// ```
    #[rhai_fn(global, get = "subnet", return_raw)]
    pub fn subnet(ctx: NativeCallContext, network: Network) -> Fallible<Dynamic> {
        let now = network.now().raise(&ctx)?;
        Ok(now.subnets.first().map_or(Dynamic::UNIT, |one| one.subnet.to_string().into()))
    }

    /// The gateway of the first range; nothing when it has none.
    ///
    /// ```rhai
    /// let n = network::create("doc-gateway", #{ internal: true });
    /// print(n.gateway);
    /// n.remove();
    /// ```
    #[rhai_fn(global, get = "gateway", return_raw)]
    pub fn gateway(ctx: NativeCallContext, network: Network) -> Fallible<Dynamic> {
        let now = network.now().raise(&ctx)?;
        let gateway = now.subnets.first().and_then(|one| one.gateway);
        Ok(gateway.map_or(Dynamic::UNIT, |ip| ip.to_string().into()))
    }

    /// Nothing gets out of it and nothing in.
    ///
    /// ```rhai
    /// let n = network::create("doc-internal", #{ internal: true });
    /// assert(n.internal);
    /// n.remove();
    /// ```
    #[rhai_fn(global, get = "internal", return_raw)]
    pub fn internal(ctx: NativeCallContext, network: Network) -> Fallible<bool> {
        Ok(network.now().raise(&ctx)?.internal)
    }

    /// The labels, as a map.
    ///
    /// ```rhai
    /// let n = network::create("doc-labels", #{ internal: true });
    /// print(n.labels);
    /// n.remove();
    /// ```
    #[rhai_fn(global, get = "labels", return_raw)]
    pub fn labels(ctx: NativeCallContext, network: Network) -> Fallible<Map> {
        let labels = network.now().raise(&ctx)?.labels;
        Ok(labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// When it was made.
    ///
    /// ```rhai
    /// let n = network::create("doc-created", #{ internal: true });
    /// print(n.created);
    /// n.remove();
    /// ```
    #[rhai_fn(global, get = "created", return_raw)]
    pub fn created(ctx: NativeCallContext, network: Network) -> Fallible<Timestamp> {
        Ok(network.now().raise(&ctx)?.created)
    }

    /// The containers that are on it now.
    ///
    /// ```rhai
    /// let n = network::create("doc-members", #{ internal: true });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// assert(n.members().len() == 1);
    /// c.remove(#{ force: true });
    /// n.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn members(ctx: NativeCallContext, network: Network) -> Fallible<Array> {
        let state = network.engine.network_inspect(network.id.as_str()).raise(&ctx)?;
        let handle = |id| Dynamic::from(Container { engine: network.engine.clone(), id });
        Ok(state.endpoints.into_iter().map(|one| handle(one.container)).collect())
    }

    /// Connects a container, also while it runs. Options: `aliases ip ip6 mac_address gw_priority links interface_name`.
    ///
    /// ```rhai
    /// let n = network::create("doc-join", #{ internal: true });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// let more = network::create("doc-more", #{ internal: true });
    /// more.connect(c);
    /// more.disconnect(c);
    /// c.remove(#{ force: true });
    /// more.remove();
    /// n.remove();
    /// ```
    #[rhai_fn(global, name = "connect", return_raw)]
    pub fn connect_container(ctx: NativeCallContext, network: Network, container: Dynamic) -> Fallible<()> {
        connect_container_with(ctx, network, container, Map::new())
    }

    #[rhai_fn(global, name = "connect", return_raw)]
    pub fn connect_container_with(
        ctx: NativeCallContext,
        network: Network,
        container: Dynamic,
        options: Map,
    ) -> Fallible<()> {
        let name = container_name(&container).raise(&ctx)?;
        connect(&network.engine.clone(), &name, &Dynamic::from(network), options).raise(&ctx)
    }

    /// Disconnects a container, also while it runs.
    ///
    /// ```rhai
    /// let n = network::create("doc-join", #{ internal: true });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// let more = network::create("doc-more", #{ internal: true });
    /// more.connect(c);
    /// more.disconnect(c);
    /// c.remove(#{ force: true });
    /// more.remove();
    /// n.remove();
    /// ```
    #[rhai_fn(global, name = "disconnect", return_raw)]
    pub fn disconnect_container(ctx: NativeCallContext, network: Network, container: Dynamic) -> Fallible<()> {
        let name = container_name(&container).raise(&ctx)?;
        network.engine.network_disconnect(&name, network.id.as_str()).raise(&ctx)
    }

    /// Gives it another name, also while it is in use.
    ///
    /// ```rhai
    /// let n = network::create("doc-before", #{ internal: true });
    /// n.rename("doc-after");
    /// assert(n.name == "doc-after");
    /// n.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn rename(ctx: NativeCallContext, network: Network, name: ImmutableString) -> Fallible<()> {
        network.engine.network_rename(network.id.as_str(), &name).raise(&ctx)
    }

    /// Removes the network. A container that is connected to it makes it a `conflict`.
    ///
    /// ```rhai
    /// let n = network::create("doc-remove", #{ internal: true });
    /// n.remove();
    /// ```
    #[rhai_fn(global, name = "remove", return_raw)]
    pub fn remove(ctx: NativeCallContext, network: Network) -> Fallible<()> {
        network.engine.network_remove(network.id.as_str(), false).raise(&ctx)
    }

    /// Docker's JSON about the network, as a map.
    ///
    /// ```rhai
    /// let n = network::create("doc-inspect", #{ internal: true });
    /// print(n.inspect().Driver);
    /// n.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn inspect(ctx: NativeCallContext, network: Network) -> Fallible<Dynamic> {
        let state = network.engine.network_inspect(network.id.as_str()).raise(&ctx)?;
        Ok(crate::script::convert::from_json(&crate::docker::inspect::network(&state)))
    }

    #[rhai_fn(global, name = "==")]
    pub fn equal(a: Network, b: Network) -> bool {
        a.id == b.id
    }
    #[rhai_fn(global, name = "!=")]
    pub fn unequal(a: Network, b: Network) -> bool {
        a.id != b.id
    }
    #[rhai_fn(global, name = "to_string", name = "to_debug")]
    pub fn text(network: Network) -> String {
        network.shown()
    }
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_networks {
    use super::*;

    /// Connects it to a network, also while it runs. Options: `aliases ip ip6 mac_address gw_priority links interface_name`.
    ///
    /// ```rhai
    /// let n = network::create("doc-join", #{ internal: true });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// let more = network::create("doc-more", #{ internal: true });
    /// c.connect(more);
    /// c.disconnect(more);
    /// c.remove(#{ force: true });
    /// more.remove();
    /// n.remove();
    /// ```
    #[rhai_fn(global, name = "connect", return_raw)]
    pub fn connect_to(ctx: NativeCallContext, container: Container, network: OneNetwork) -> Fallible<()> {
        connect(&container.engine, container.id.as_str(), &network, Map::new()).raise(&ctx)
    }

    #[rhai_fn(global, name = "connect", return_raw)]
    pub fn connect_to_with(
        ctx: NativeCallContext,
        container: Container,
        network: OneNetwork,
        options: Map,
    ) -> Fallible<()> {
        connect(&container.engine, container.id.as_str(), &network, options).raise(&ctx)
    }

    /// Disconnects it from a network, also while it runs.
    ///
    /// ```rhai
    /// let n = network::create("doc-join", #{ internal: true });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// let more = network::create("doc-more", #{ internal: true });
    /// c.connect(more);
    /// c.disconnect(more);
    /// c.remove(#{ force: true });
    /// more.remove();
    /// n.remove();
    /// ```
    #[rhai_fn(global, name = "disconnect", return_raw)]
    pub fn disconnect_from(ctx: NativeCallContext, container: Container, network: OneNetwork) -> Fallible<()> {
        let network = network_name(&network).raise(&ctx)?;
        container.engine.network_disconnect(container.id.as_str(), &network).raise(&ctx)
    }

    /// Its address on a network; without one that of the network that leads outside. Nothing while it does not run.
    ///
    /// ```rhai
    /// let n = network::create("doc-ip", #{ internal: true });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// print(c.ip(n));
    /// c.remove(#{ force: true });
    /// n.remove();
    /// ```
    #[rhai_fn(global, name = "ip", return_raw)]
    pub fn ip_on(ctx: NativeCallContext, container: Container, network: OneNetwork) -> Fallible<Dynamic> {
        let one = connection(&container, &network).raise(&ctx)?;
        Ok(address(&one).map_or(Dynamic::UNIT, Dynamic::from))
    }

    #[rhai_fn(global, name = "ip", return_raw)]
    pub fn ip(ctx: NativeCallContext, container: Container) -> Fallible<Dynamic> {
        let now = container.engine.container_get(container.id.as_str()).raise(&ctx)?;
        let networks = &now.state.networks;
        let outside = networks.iter().find(|one| one.endpoint.as_ref().is_some_and(|endpoint| endpoint.is_gateway));
        Ok(outside.or(networks.first()).and_then(address).map_or(Dynamic::UNIT, Dynamic::from))
    }

    /// Its networks: a map of names to addresses.
    ///
    /// ```rhai
    /// let n = network::create("doc-networks", #{ internal: true });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// print(c.networks);
    /// c.remove(#{ force: true });
    /// n.remove();
    /// ```
    #[rhai_fn(global, get = "networks", return_raw)]
    pub fn networks(ctx: NativeCallContext, container: Container) -> Fallible<Map> {
        let now = container.engine.container_get(container.id.as_str()).raise(&ctx)?;
        let entry = |one: &Connection| (one.name.as_str().into(), address(one).map_or(Dynamic::UNIT, Dynamic::from));
        Ok(now.state.networks.iter().map(entry).collect())
    }

    /// What it publishes now: `host_ip host_port port protocol` each.
    ///
    /// ```rhai
    /// let n = network::create("doc-ports", #{ internal: true });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// print(c.ports);
    /// c.remove(#{ force: true });
    /// n.remove();
    /// ```
    #[rhai_fn(global, get = "ports", return_raw)]
    pub fn ports(ctx: NativeCallContext, container: Container) -> Fallible<Array> {
        let now = container.engine.container_get(container.id.as_str()).raise(&ctx)?;
        Ok(notation::published(&now).into_iter().map(binding).collect())
    }

    /// Publishes a further port while it runs, written as `-p` takes it: `"8081:80"`. Gives what was published.
    ///
    /// ```rhai
    /// let n = network::create("doc-publish", #{});
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// c.publish("127.0.0.1:28461:80");
    /// c.unpublish("80");
    /// c.remove(#{ force: true });
    /// n.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn publish(ctx: NativeCallContext, container: Container, port: ImmutableString) -> Fallible<Array> {
        let ports = notation::publish(&port).raise(&ctx)?;
        let added = container.engine.container_publish(container.id.as_str(), &ports).raise(&ctx)?;
        Ok(added.iter().map(binding).collect())
    }

    /// Publishes a port no longer: `"8081:80"`, or `"80"` for every one that leads there.
    ///
    /// ```rhai
    /// let n = network::create("doc-publish", #{});
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n] });
    /// c.publish("127.0.0.1:28461:80");
    /// c.unpublish("80");
    /// c.remove(#{ force: true });
    /// n.remove();
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn unpublish(ctx: NativeCallContext, container: Container, port: ImmutableString) -> Fallible<()> {
        for one in notation::publish(&port).raise(&ctx)? {
            container.engine.container_unpublish(container.id.as_str(), &one).raise(&ctx)?;
        }
        Ok(())
    }
}
