//! The flags of `create` and `run` that describe the container, in groups, and how each group reaches the options.
//!
//! Names, short forms and notations are Docker's. Values are read by [`crate::docker`], the same readers that option maps
//! use; errors name the flag.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::base::{Error, Result, units};
use crate::cli::flags::health::HealthFlags;
use crate::cli::flags::isolation::IsolationFlags;
use crate::cli::flags::limits::LimitFlags;
use crate::cli::refused::RefusedFlags;
use crate::cli::registry::View;
use crate::docker::{env, logging, mounts, network, options, words};
use crate::engine::Engine;
use crate::model::container::ContainerOptions;
use crate::model::image::Pull;
use crate::model::restart::RestartPolicy;

mod health;
mod isolation;
mod limits;

// Everything about a new container but its image and command.
#[derive(Debug, Args)]
pub(crate) struct ContainerFlags {
    #[command(flatten)]
    process: ProcessFlags,
    #[command(flatten)]
    storage: StorageFlags,
    #[command(flatten)]
    isolation: IsolationFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    life: LifeFlags,
    #[command(flatten)]
    health: HealthFlags,
    #[command(flatten)]
    refused: RefusedFlags,
}

impl ContainerFlags {
    /// Keep standard input open, allocate a terminal.
    pub(crate) fn interactive(&self) -> (bool, bool) {
        (self.process.interactive, self.process.tty)
    }

    /// The options that the flags describe; `command` are the arguments after the image.
    ///
    /// # Errors
    /// `invalid_argument` and `unsupported` name the flag.
    pub(crate) fn options(&self, command: &[String]) -> Result<ContainerOptions> {
        self.refused.check()?;
        let mut options = ContainerOptions::default();
        if !command.is_empty() {
            options.command = Some(command.to_vec());
        }
        self.process.apply(&mut options)?;
        self.storage.apply(&mut options)?;
        self.isolation.apply(&mut options)?;
        self.network.apply(&mut options)?;
        self.limits.apply(&mut options)?;
        self.life.apply(&mut options)?;
        self.health.apply(&mut options)?;
        mounts::check_targets(&options)?;
        Ok(options)
    }
}

/// Environment entries of `run` and `exec`: files first, so that `-e` wins.
///
/// # Errors
/// As the readers.
pub(crate) fn environment(files: &[PathBuf], entries: &[String]) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for file in files {
        all.extend(flag("--env-file", env::file(file))?);
    }
    for entry in entries {
        all.extend(flag("--env", env::entry(entry))?);
    }
    Ok(all)
}

/// Adds the flag to an error about its value.
pub(crate) fn flag<T>(name: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| error.context(format!("reading option {name:?}")))
}

/// Seconds to wait for a container to stop; Docker's -1 is for ever, as far as anybody can tell.
///
/// # Errors
/// `invalid_argument` for other numbers below zero.
pub(crate) fn stop_grace(name: &str, seconds: Option<i64>) -> Result<Option<Duration>> {
    match seconds {
        None => Ok(None),
        Some(-1) => Ok(Some(Duration::MAX)),
        Some(seconds) => u64::try_from(seconds)
            .map(|seconds| Some(Duration::from_secs(seconds)))
            .map_err(|_| Error::invalid(format!("option {name:?} takes seconds or -1, not {seconds}"))),
    }
}

fn each<T>(name: &str, texts: &[String], read: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    flag(name, texts.iter().map(|text| read(text)).collect())
}

pub(crate) fn size(name: &str, text: Option<&str>) -> Result<Option<u64>> {
    Ok(flag(name, text.map(units::parse_bytes).transpose())?.filter(|bytes| *bytes > 0))
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
struct ProcessFlags {
    /// Set an environment variable; NAME alone takes the one of this shell
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true)]
    entrypoint: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Run as this user, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Add a group, by name or number
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Start in this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Run a small init as process 1
    #[arg(long)]
    init: bool,
}

impl ProcessFlags {
    fn apply(&self, options: &mut ContainerOptions) -> Result<()> {
        options.env = environment(&self.env_file, &self.env)?;
        // An empty entrypoint is none at all.
        options.entrypoint = self.entrypoint.as_ref().map(|program| match program.as_str() {
            "" => Vec::new(),
            program => vec![program.to_owned()],
        });
        options.stdin_open = self.interactive;
        options.tty = self.tty;
        options.user = self.user.clone();
        options.group_add = self.group_add.clone();
        options.working_dir = flag("--workdir", self.workdir.as_deref().map(options::absolute_dir).transpose())?;
        options.init = self.init;
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Storage")]
struct StorageFlags {
    /// Mount a volume or a path of the host
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:ro]")]
    volume: Vec<String>,
    /// Mount in the long form: type=bind,source=/a,target=/b
    #[arg(long, value_name = "FIELDS")]
    mount: Vec<String>,
    /// Mount memory
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Take over the mounts of another container
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Limit the size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
}

impl StorageFlags {
    fn apply(&self, options: &mut ContainerOptions) -> Result<()> {
        options.mounts.extend(each("--volume", &self.volume, mounts::volume)?);
        options.mounts.extend(each("--mount", &self.mount, mounts::mount)?);
        options.mounts.extend(each("--tmpfs", &self.tmpfs, mounts::tmpfs)?);
        options.volumes_from = each("--volumes-from", &self.volumes_from, mounts::volumes_from)?;
        options.read_only = self.read_only;
        options.shm_size_bytes = size("--shm-size", self.shm_size.as_deref())?;
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
struct NetworkFlags {
    /// Join a network, none, host or container:NAME; name=…,alias=…,ip=… says more [default: bridge]
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Vec<String>,
    /// Add a name of the container on its network
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// Have this IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Have this IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Have this hardware address
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Give another container a name here
    #[arg(long, value_name = "CONTAINER[:NAME]")]
    link: Vec<String>,
    /// Publish a port of the container on this host
    #[arg(short, long, value_name = "[[IP:]HOST:]PORT[/PROTOCOL]")]
    publish: Vec<String>,
    /// Publish all exposed ports on free ports of this host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Set the host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Set the NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Set a name server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Set a search domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Set a resolver option
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Note a port that the container listens on
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
}

impl NetworkFlags {
    fn apply(&self, options: &mut ContainerOptions) -> Result<()> {
        options.networks = each("--network", &self.network, network::attachment)?;
        options.publish = each("--publish", &self.publish, network::publish)?.concat();
        options.publish_all = self.publish_all;
        let common = network::Common {
            aliases: self.network_alias.clone(),
            ip: flag("--ip", self.ip.as_deref().map(network::ip4).transpose())?,
            ip6: flag("--ip6", self.ip6.as_deref().map(network::ip6).transpose())?,
            mac: self.mac_address.clone(),
            links: each("--link", &self.link, network::link)?,
        };
        common.apply(options)?;
        options.hostname = self.hostname.clone();
        options.domainname = self.domainname.clone();
        options.extra_hosts = each("--add-host", &self.add_host, words::extra_host)?;
        options.dns = each("--dns", &self.dns, words::dns_server)?;
        options.dns_search = each("--dns-search", &self.dns_search, words::resolver_word)?;
        options.dns_options = each("--dns-option", &self.dns_option, words::resolver_word)?;
        options.expose = each("--expose", &self.expose, words::expose)?.concat();
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Life")]
struct LifeFlags {
    /// Name the container
    #[arg(long)]
    name: Option<String>,
    /// Remove the container and its anonymous volumes when it ends
    #[arg(long)]
    rm: bool,
    /// Add a label
    #[arg(short, long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Stop with this signal
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Kill so many seconds after the stop signal; -1 to wait for ever
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
    /// Keep the log in this way: json-file, local, syslog, journald or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Set an option of the log driver, such as max-size=10m
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
    /// Restart when it ends: no, always, unless-stopped or on-failure[:N]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Fetch the image from its registry: missing, always or never
    #[arg(long, value_name = "WHEN")]
    pull: Option<String>,
    /// Say nothing of what is fetched
    #[arg(short, long)]
    quiet: bool,
    /// Skip verification of a pull; there is none
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Write the container's id to a new file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
}

impl LifeFlags {
    fn apply(&self, options: &mut ContainerOptions) -> Result<()> {
        options.name = self.name.clone();
        options.auto_remove = self.rm;
        for file in &self.label_file {
            options.labels.extend(flag("--label-file", env::label_file(file))?);
        }
        options.labels.extend(each("--label", &self.label, env::label)?);
        options.stop_signal = self.stop_signal.clone();
        options.stop_grace_period = stop_grace("--stop-timeout", self.stop_timeout)?;
        if self.log_driver.is_some() || !self.log_opt.is_empty() {
            let pairs = each("--log-opt", &self.log_opt, log_option)?;
            options.log = flag("--log-driver", logging::logging(self.log_driver.as_deref(), &pairs))?;
        }
        options.restart = flag("--restart", self.restart.as_deref().map_or(Ok(RestartPolicy::No), words::restart))?;
        options.pull = flag("--pull", self.pull.as_deref().map(Pull::parse).transpose())?;
        Ok(())
    }
}

impl ContainerFlags {
    /// Fetches the image where that is wanted, and shows it.
    pub(crate) fn fetch(&self, engine: &Engine, image: &str, options: &mut ContainerOptions) -> Result<()> {
        let pull = options.pull.unwrap_or(engine.pull_policy());
        if pull != Pull::Never {
            let view = View::new(self.life.quiet, "Pull complete");
            view.show(|hears| engine.image_for(image, pull, hears))?;
            options.pull = Some(Pull::Missing);
        }
        Ok(())
    }

    /// Where the id is written.
    pub(crate) fn cidfile(&self) -> Option<&Path> {
        self.life.cidfile.as_deref()
    }
}

fn log_option(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => {
            Err(Error::invalid(format!("{text:?} is not a log option"))
                .with_hint("write name=value, such as max-size=10m"))
        }
    }
}
