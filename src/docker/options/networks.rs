//! The keys of an option map that are about networks: Compose's short and long forms.

use serde_json::Value;

use crate::base::Result;
use crate::docker::network::{self, Common};
use crate::docker::options::fields;
use crate::docker::value::Field;
use crate::model::container::ContainerOptions;
use crate::model::network::{Attachment, Publish};

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
