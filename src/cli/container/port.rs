//! `rhumb port`: which ports of the host lead to a container. There are none before there are networks, which is what it
//! says.

use clap::Args;

use crate::base::{Error, Result};
use crate::cli::Session;

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
        let Some(text) = &self.port else { return Ok(0) };
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if port.parse::<u16>().is_err() || !["tcp", "udp", "sctp"].contains(&protocol) {
            return Err(Error::invalid(format!("{text:?} is not a port")).with_hint("write 80 or 53/udp"));
        }
        Err(Error::not_found(format!("no public port \"{port}/{protocol}\" published for {:?}", container.name)))
    }
}
