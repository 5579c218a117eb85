//! `rhumb port`: which ports of the host lead to a container.

use clap::Args;

use crate::base::{Error, Result};
use crate::cli::Session;
use crate::docker::network as docker;
use crate::model::network::PortBinding;

// `rhumb port`.
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// Name or id
    container: String,
    /// A port of the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

impl PortArgs {
    pub(super) fn run(&self, session: &mut Session) -> Result<u8> {
        let container = session.engine()?.container_get(&self.container)?;
        let published = docker::published(&container);
        let Some(text) = &self.port else {
            for one in published {
                session.out.line(format!("{}/{} -> {}", one.container_port, one.protocol, docker::host(one)))?;
            }
            return Ok(0);
        };
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if port.parse::<u16>().is_err() || !["tcp", "udp", "sctp"].contains(&protocol) {
            return Err(Error::invalid(format!("{text:?} is not a port")).with_hint("write 80 or 53/udp"));
        }
        let fits = |one: &PortBinding| one.container_port.to_string() == port && one.protocol.as_str() == protocol;
        let fitting: Vec<&PortBinding> = published.into_iter().filter(|one| fits(one)).collect();
        if fitting.is_empty() {
            let name = &container.name;
            return Err(Error::not_found(format!("no public port \"{port}/{protocol}\" published for {name:?}")));
        }
        fitting.into_iter().try_for_each(|one| session.out.line(docker::host(one)))?;
        Ok(0)
    }
}
