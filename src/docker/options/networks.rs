//! The keys of an option map that are about networks: Compose's short and long forms.

use serde_json::Value;

use crate::base::Result;
use crate::docker::network::{self, Common};
use crate::docker::options::fields;
use crate::docker::value::Field;
use crate::model::container::ContainerOptions;
use crate::model::network::{Attachment, NetworkOptions, Publish};

/// Keys that say something about the first network.
pub(super) const COMMON: &[&str] = &["links", "network_alias", "ip", "ip6", "mac_address"];

/// `network_mode`: one network, or none, host, container:NAME.
pub(super) fn item(field: &Field<'_>) -> Result<Vec<Attachment>> {
    match field.value {
        Value::Array(_) => list(field),
        _ => Ok(vec![network::attachment(&field.string()?).map_err(|error| field.wrap(error))?]),
    }
}

/// `networks`: names, or a map of names to what is said of each.
pub(super) fn list(field: &Field<'_>) -> Result<Vec<Attachment>> {
    let Value::Object(map) = field.value else {
        let texts = field.strings()?;
        return texts.iter().map(|text| network::attachment(text)).collect::<Result<_>>().map_err(|e| field.wrap(e));
    };
    let mut list = Vec::new();
    for (name, value) in map {
        let mut one = Attachment::to(name);
        if !value.is_null() {
            let inner = Field { key: name, value };
            let keys: &[(&str, &[&str])] = &[
                ("aliases", &["alias"]),
                ("ipv4_address", &["ip"]),
                ("ipv6_address", &["ip6"]),
                ("mac_address", &[]),
                ("gw_priority", &["priority"]),
                ("interface_name", &[]),
                ("link", &["links"]),
                ("driver_opts", &[]),
                ("link_local_ips", &[]),
            ];
            for (canonical, field) in fields(inner.map()?, keys, &[])? {
                let values = match canonical {
                    "driver_opts" => {
                        let pairs = field.pairs()?.into_iter();
                        pairs.map(|(name, value)| format!("{name}={}", value.unwrap_or_default())).collect()
                    }
                    "gw_priority" => vec![field.integer()?.to_string()],
                    _ => field.strings()?,
                };
                for value in values {
                    network::set(&mut one, canonical, &value).map_err(|error| field.wrap(error))?;
                }
            }
        }
        list.push(one);
    }
    Ok(list)
}

/// `ports`: `-p` strings, numbers, or maps with `target` and `published`.
pub(super) fn ports(field: &Field<'_>) -> Result<Vec<Publish>> {
    let mut list = Vec::new();
    for item in field.items() {
        let text = match item.value {
            Value::Object(map) => {
                let keys: &[(&str, &[&str])] = &[
                    ("target", &[]),
                    ("published", &[]),
                    ("host_ip", &[]),
                    ("protocol", &[]),
                    ("mode", &[]),
                    ("name", &[]),
                    ("app_protocol", &[]),
                ];
                let (mut target, mut published, mut ip, mut protocol) = (String::new(), None, None, "tcp".to_owned());
                let number = |field: &Field<'_>| match field.value {
                    Value::Number(number) => Ok(number.to_string()),
                    _ => field.string(),
                };
                for (canonical, field) in fields(map, keys, &[])? {
                    match canonical {
                        "target" => target = number(&field)?,
                        "published" => published = Some(number(&field)?),
                        "host_ip" => ip = Some(field.string()?),
                        "protocol" => protocol = field.string()?,
                        _ => {}
                    }
                }
                let host = match (ip, published) {
                    (Some(ip), published) => format!("[{ip}]:{}:", published.unwrap_or_default()),
                    (None, Some(published)) => format!("{published}:"),
                    (None, None) => String::new(),
                };
                format!("{host}{target}/{protocol}")
            }
            Value::Number(number) => number.to_string(),
            _ => item.string()?,
        };
        list.extend(network::publish(&text).map_err(|error| field.wrap(error))?);
    }
    Ok(list)
}

/// What the other keys say of the first network.
pub(super) fn common(all: &[(&str, Field<'_>)], options: &mut ContainerOptions) -> Result<()> {
    let mut common = Common::default();
    for (canonical, field) in all {
        let wrap = |error| field.wrap(error);
        match *canonical {
            "network_alias" => common.aliases = field.strings()?,
            "ip" => common.ip = Some(network::ip4(&field.string()?).map_err(wrap)?),
            "ip6" => common.ip6 = Some(network::ip6(&field.string()?).map_err(wrap)?),
            "mac_address" => common.mac = Some(field.string()?),
            "links" => {
                let texts = field.strings()?;
                common.links = texts.iter().map(|text| network::link(text)).collect::<Result<_>>().map_err(wrap)?;
            }
            _ => {}
        }
    }
    common.apply(options)
}

/// Reads the map of a new network: `driver subnet ip_range gateway aux_addresses ipv6 internal attachable labels options`.
///
/// # Errors
/// `invalid_argument` with a did-you-mean for an unknown key; as the command line's readers.
pub fn network_options(name: &str, map: &serde_json::Map<String, Value>) -> Result<NetworkOptions> {
    const KEYS: &[(&str, &[&str])] = &[
        ("driver", &[]),
        ("subnet", &["subnets"]),
        ("ip_range", &["ip_ranges"]),
        ("gateway", &["gateways"]),
        ("aux_addresses", &["aux_address"]),
        ("ipv6", &["enable_ipv6"]),
        ("ipv4", &["enable_ipv4"]),
        ("internal", &[]),
        ("attachable", &[]),
        ("labels", &["label"]),
        ("options", &["driver_opts", "opt"]),
        ("parent", &[]),
        ("icc", &[]),
        ("masquerade", &[]),
        ("mtu", &[]),
    ];
    let mut options = NetworkOptions { name: name.to_owned(), ..NetworkOptions::default() };
    let (mut subnets, mut ranges, mut gateways, mut aux) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let pairs = |field: &Field<'_>| -> Result<Vec<(String, String)>> {
        Ok(field.pairs()?.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
    };
    for (canonical, field) in fields(map, KEYS, &[])? {
        let mut set = |key: &str, value: String| drop(options.options.insert(key.to_owned(), value));
        match canonical {
            "driver" => options.driver = network::driver(&field.string()?).map_err(|error| field.wrap(error))?,
            "subnet" => subnets = field.strings()?,
            "ip_range" => ranges = field.strings()?,
            "gateway" => gateways = field.strings()?,
            "aux_addresses" => {
                aux = pairs(&field)?.into_iter().map(|(name, address)| format!("{name}={address}")).collect();
            }
            "ipv6" => options.ipv6 = field.bool()?,
            "ipv4" => options.no_ipv4 = !field.bool()?,
            "internal" => options.internal = field.bool()?,
            "attachable" => options.attachable = field.bool()?,
            "labels" => options.labels.extend(pairs(&field)?),
            "options" => options.options.extend(pairs(&field)?),
            "parent" => set("parent", field.word()?),
            "icc" => set("com.docker.network.bridge.enable_icc", field.bool()?.to_string()),
            "masquerade" => set("com.docker.network.bridge.enable_ip_masquerade", field.bool()?.to_string()),
            _ => set("com.docker.network.driver.mtu", field.unsigned()?.to_string()),
        }
    }
    options.subnets = network::subnets(&subnets, &ranges, &gateways, &aux)?;
    Ok(options)
}

/// Reads the map of a connection: `aliases ip ip6 mac_address gw_priority links interface_name driver_opts`.
///
/// # Errors
/// As [`network_options`].
pub fn connection(name: &str, map: &serde_json::Map<String, Value>) -> Result<Attachment> {
    let whole = Value::Object(serde_json::Map::from_iter([(name.to_owned(), Value::Object(map.clone()))]));
    let mut list = list(&Field { key: "networks", value: &whole })?;
    Ok(list.remove(0))
}
