//! The flags of `update`: resources as a whole from a file, or one by one.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use crate::base::{Context as _, Error, Result, units};

/// The largest file of resources, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

// `update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Read all from this file, or from standard input with -
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Set the weight of block devices
    #[arg(long, value_name = "WEIGHT", allow_hyphen_values = true)]
    blkio_weight: Option<String>,
    /// Set the CPU period in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_period: Option<String>,
    /// Set the CPU time per period in microseconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    /// Set the CPU time that may be saved up in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_burst: Option<String>,
    /// Set the CPU weight
    #[arg(long, value_name = "SHARES", alias = "cpu-shares")]
    cpu_share: Option<String>,
    /// Set the period of real-time tasks in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_rt_period: Option<String>,
    /// Set the time of real-time tasks per period in microseconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<String>,
    /// Set the CPUs to run on
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Set the memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Make the container idle
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<String>,
    /// Ignored: the kernel has no such limit any more
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// Ignored, as --kernel-memory
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    /// Set the memory limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Set the memory that is kept under pressure
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Set the limit of memory and swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Set the number of processes
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<String>,
    /// Refused: there is no Intel RDT
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Refused: there is no Intel RDT
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
}

impl UpdateArgs {
    /// What is to change.
    ///
    /// # Errors
    /// `invalid_argument` for what is not a number, `unsupported` for Intel RDT.
    pub(crate) fn resources(&self) -> Result<LinuxResources> {
        if self.l3_cache_schema.is_some() || self.mem_bw_schema.is_some() {
            return Err(Error::unsupported("Intel RDT is not supported"));
        }
        let value = match &self.resources {
            Some(path) => return parse(&read(path)?),
            None => self.flags()?,
        };
        serde_json::from_value(value).map_err(|error| Error::invalid(crate::base::error::quoted(&error)))
    }

    fn flags(&self) -> Result<Value> {
        let mut cpu = Map::new();
        let mut memory = Map::new();
        let mut all = Map::new();
        for (name, flag, text) in [
            ("shares", "--cpu-share", &self.cpu_share),
            ("period", "--cpu-period", &self.cpu_period),
            ("burst", "--cpu-burst", &self.cpu_burst),
            ("realtimePeriod", "--cpu-rt-period", &self.cpu_rt_period),
            ("quota", "--cpu-quota", &self.cpu_quota),
            ("realtimeRuntime", "--cpu-rt-runtime", &self.cpu_rt_runtime),
            ("idle", "--cpu-idle", &self.cpu_idle),
        ] {
            if let Some(number) = number(flag, text)? {
                cpu.insert(name.to_owned(), number.into());
            }
        }
        for (name, text) in [("cpus", &self.cpuset_cpus), ("mems", &self.cpuset_mems)] {
            if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                cpu.insert(name.to_owned(), text.into());
            }
        }
        for (name, flag, text) in [
            ("limit", "--memory", &self.memory),
            ("reservation", "--memory-reservation", &self.memory_reservation),
            ("swap", "--memory-swap", &self.memory_swap),
        ] {
            if let Some(bytes) = bytes(flag, text)? {
                memory.insert(name.to_owned(), bytes.into());
            }
        }
        if let Some(weight) = number("--blkio-weight", &self.blkio_weight)?.filter(|weight| *weight != 0) {
            all.insert("blockIO".to_owned(), json!({"weight": weight}));
        }
        if let Some(limit) = number("--pids-limit", &self.pids_limit)?.filter(|limit| *limit != 0) {
            all.insert("pids".to_owned(), json!({"limit": limit}));
        }
        if !cpu.is_empty() {
            all.insert("cpu".to_owned(), cpu.into());
        }
        if !memory.is_empty() {
            all.insert("memory".to_owned(), memory.into());
        }
        Ok(all.into())
    }
}

fn number(flag: &str, text: &Option<String>) -> Result<Option<i64>> {
    let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Error::invalid(format!("invalid value for {flag}: {text:?} is not a number")))
}

/// Bytes, perhaps with a unit; -1 for no limit.
fn bytes(flag: &str, text: &Option<String>) -> Result<Option<i64>> {
    let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    if text == "-1" {
        return Ok(Some(-1));
    }
    let bytes = units::parse_bytes(text).map_err(|error| error.context(format!("invalid value for {flag}")))?;
    i64::try_from(bytes)
        .map(Some)
        .map_err(|_| Error::invalid(format!("invalid value for {flag}: {text:?} is too large")))
}

fn read(path: &PathBuf) -> Result<Vec<u8>> {
    let doing = || format!("reading the resources from {path:?}");
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_FILE + 1).read_to_end(&mut text).context(doing)?;
    } else {
        std::fs::File::open(path).context(doing)?.take(MAX_FILE + 1).read_to_end(&mut text).context(doing)?;
    }
    if text.len() as u64 > MAX_FILE {
        return Err(Error::invalid(format!("{path:?} is larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(text)
}

fn parse(text: &[u8]) -> Result<LinuxResources> {
    serde_json::from_slice(text).map_err(|error| {
        Error::invalid(format!("the resources cannot be read: {}", crate::base::error::quoted(&error)))
    })
}
