//! The verbs of networks.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;

use clap::{Args, Subcommand};

use crate::base::{Error, Result};
use crate::cli::inspect::{self, InspectArgs};
use crate::cli::system::PruneArgs;
use crate::cli::{Session, filter, flags, listing};
use crate::docker::format::Format;
use crate::docker::{env, members, network as docker};
use crate::engine::network::topology::{self, Drawing};
use crate::model::network::{Attachment, NetworkOptions};

/// The columns of a picture in a pipe or a file.
const PAGE: usize = 100;

/// `rhumb network`.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum NetworkCommand {
    /// Connect a container to a network, also while it runs
    Connect(ConnectArgs),
    /// Make a network
    Create(CreateArgs),
    /// Disconnect a container from a network, also while it runs
    Disconnect(DisconnectArgs),
    /// Show all facts of networks as JSON
    Inspect(InspectArgs),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// List the containers that are on a network now
    Members(MembersArgs),
    /// Remove networks that no container is connected to
    Prune(PruneArgs),
    /// Rename a network, also while it is in use
    Rename(RenameArgs),
    /// Make bridges and rules anew that somebody took away
    Repair(RepairArgs),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Show who is on networks, who reaches whom and what is published
    Topology(TopologyArgs),
}

// `rhumb network connect`.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// Add a name of the container on this network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Set an option of the driver
    #[arg(long, value_name = "NAME=VALUE")]
    driver_opt: Vec<String>,
    /// Have the default route when this is the highest number
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    gw_priority: Option<i32>,
    /// Have this IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Have this IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Give another container a name here
    #[arg(long, value_name = "CONTAINER[:NAME]")]
    link: Vec<String>,
    /// Name or id
    network: String,
    /// Name or id
    container: String,
}

// `rhumb network create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Keep this for tools that ask for it; without an effect here
    #[arg(long)]
    attachable: bool,
    /// Reserve addresses that others have, by name
    #[arg(long, value_name = "NAME=ADDRESS")]
    aux_address: Vec<String>,
    /// Use this driver: bridge, macvlan or ipvlan
    #[arg(short, long, value_name = "DRIVER")]
    driver: Option<String>,
    /// Have this gateway, one for each subnet
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// Let nothing out and nothing in
    #[arg(long)]
    internal: bool,
    /// Choose addresses from this part of a subnet
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<String>,
    /// Have IPv6 addresses
    #[arg(long)]
    ipv6: bool,
    /// Have IPv4 addresses; false for none
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ipv4: Option<bool>,
    /// Add a label
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Set an option of the driver
    #[arg(short, long, value_name = "NAME=VALUE")]
    opt: Vec<String>,
    /// Have this range of addresses, such as 10.1.0.0/24
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<String>,
    /// Choose addresses in this way; there is only the default one
    #[arg(long, value_name = "DRIVER", hide = true)]
    ipam_driver: Option<String>,
    /// The name
    name: String,
}

// `rhumb network disconnect`.
#[derive(Debug, Args)]
pub(crate) struct DisconnectArgs {
    /// Say nothing when it is not connected
    #[arg(short, long)]
    force: bool,
    /// Name or id
    network: String,
    /// Name or id
    container: String,
}

// `rhumb network ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Show only what fits: driver, id, label, name, type, dangling
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print in this form: table or json
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

// `rhumb network members`.
#[derive(Debug, Args)]
pub(crate) struct MembersArgs {
    /// Print in this form: table, json or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Name or id
    network: String,
}

// `rhumb network rename`.
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// Name or id
    network: String,
    /// The new name
    name: String,
}

// `rhumb network repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {}

// `rhumb network rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Say nothing about missing networks
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

// `rhumb network topology`.
#[derive(Debug, Args)]
pub(crate) struct TopologyArgs {
    /// Draw it in this form: tree, mermaid, dot or svg
    #[arg(long, value_name = "FORMAT", default_value = "tree", hide_default_value = true)]
    format: String,
    /// Names or ids; all without any
    #[arg(value_name = "NETWORK")]
    networks: Vec<String>,
}

impl NetworkCommand {
    pub(crate) fn run(self, session: &mut Session) -> Result<u8> {
        match self {
            NetworkCommand::Connect(args) => connect(args, session),
            NetworkCommand::Create(args) => create(args, session),
            NetworkCommand::Disconnect(args) => {
                match session.engine()?.network_disconnect(&args.container, &args.network) {
                    Err(error) if args.force && error.kind() == crate::base::Kind::NotFound => Ok(0),
                    other => other.map(|()| 0),
                }
            }
            NetworkCommand::Inspect(args) => inspect::run(&args, inspect::Kind::Network, session),
            NetworkCommand::Ls(args) => ls(&args, session),
            NetworkCommand::Members(args) => {
                let format = Format::new(&members::LISTING, args.format.as_deref(), args.quiet)?;
                let state = session.engine()?.network_inspect(&args.network)?;
                let rows = state.endpoints.iter().map(|one| members::row(one, args.no_trunc));
                listing::print(&mut session.out, &format, rows)?;
                Ok(0)
            }
            NetworkCommand::Prune(args) => {
                let warning = "This will remove all networks that no container is connected to.";
                args.run(session, warning, "Deleted Networks:", |engine, filter| engine.network_prune(filter))
            }
            NetworkCommand::Rename(args) => {
                session.engine()?.network_rename(&args.network, &args.name)?;
                Ok(0)
            }
            NetworkCommand::Repair(RepairArgs {}) => {
                session.engine()?.network_repair()?;
                Ok(0)
            }
            NetworkCommand::Rm(args) => {
                let engine = session.engine()?;
                Ok(session.each(&args.networks, |session, network| {
                    engine.network_remove(network, args.force)?;
                    session.out.line(network)
                }))
            }
            NetworkCommand::Topology(args) => {
                let drawing = flags::flag("--format", Drawing::of_word(&args.format, screen_width()))?;
                let picture = topology::draw(&session.engine()?.network_topology(&args.networks)?, drawing);
                session.out.text(&picture)?;
                Ok(0)
            }
        }
    }
}

fn connect(args: ConnectArgs, session: &mut Session) -> Result<u8> {
    let mut one = Attachment { network: args.network, priority: args.gw_priority.unwrap_or(0), ..Default::default() };
    let mut set = |flag: &str, key: &str, values: &[String]| -> Result<()> {
        let all: Result<Vec<()>> = values.iter().map(|value| docker::set(&mut one, key, value)).collect();
        flags::flag(flag, all).map(drop)
    };
    set("--alias", "alias", &args.alias)?;
    set("--driver-opt", "driver-opt", &args.driver_opt)?;
    set("--ip", "ip", args.ip.as_slice())?;
    set("--ip6", "ip6", args.ip6.as_slice())?;
    set("--link", "link", &args.link)?;
    session.engine()?.network_connect(&args.container, &one)?;
    Ok(0)
}

fn create(args: CreateArgs, session: &mut Session) -> Result<u8> {
    if let Some(driver) = args.ipam_driver.filter(|driver| driver != "default") {
        return Err(Error::unsupported(format!("there is no driver {driver:?} for addresses")));
    }
    let labels = args.label.iter().map(|text| env::label(text)).collect::<Result<_>>();
    let driver_options: Result<BTreeMap<String, String>> = args.opt.iter().map(|text| env::label(text)).collect();
    let subnets = docker::subnets(&args.subnet, &args.ip_range, &args.gateway, &args.aux_address)?;
    let options = NetworkOptions {
        name: args.name,
        driver: flags::flag("--driver", args.driver.as_deref().map_or(Ok(Default::default()), docker::driver))?,
        subnets,
        ipv6: args.ipv6,
        no_ipv4: args.ipv4 == Some(false),
        internal: args.internal,
        attachable: args.attachable,
        labels: flags::flag("--label", labels)?,
        options: flags::flag("--opt", driver_options)?,
    };
    let network = session.engine()?.network_create(&options)?;
    session.out.line(network.id)?;
    Ok(0)
}

fn ls(args: &LsArgs, session: &mut Session) -> Result<u8> {
    let format = Format::new(&docker::LISTING, args.format.as_deref(), args.quiet)?;
    let networks = session.engine()?.network_list(&filter::network(&args.filter)?)?;
    listing::print(&mut session.out, &format, networks.iter().map(|one| docker::list_row(one, args.no_trunc)))?;
    Ok(0)
}

/// The columns of the terminal, or of a page when standard output is none.
fn screen_width() -> usize {
    let stdout = std::io::stdout();
    let size = if stdout.is_terminal() { crate::sys::terminal::size(stdout.as_fd()) } else { None };
    size.map_or(PAGE, |(columns, _)| usize::from(columns))
}
