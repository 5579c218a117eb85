//! Flags of rights, devices, namespaces and kernel parameters.

use clap::Args;

use crate::base::Result;
use crate::cli::flags::{each, flag};
use crate::docker::{devices, isolation};
use crate::model::container::ContainerOptions;

#[derive(Debug, Args)]
#[command(next_help_heading = "Isolation")]
pub(super) struct IsolationFlags {
    /// Give all rights and devices
    #[arg(long)]
    privileged: bool,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Set a security option: no-new-privileges, seccomp=FILE, …
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Add a device of the host, a folder of them, or one by its vendor's name: vendor.com/class=name
    #[arg(long, value_name = "HOST[:PATH[:rwm]]")]
    device: Vec<String>,
    /// Add a rule for devices, such as "c 1:3 mr"
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// Use this pid namespace: private, host or container:NAME
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// Use this ipc namespace: private, shareable, none, host, container:NAME
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// Use this uts namespace: private or host
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    /// Use this user namespace: host, auto[:size=N] or BASE:SIZE
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
    /// Use this cgroup namespace: private or host
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<String>,
    /// Make the container's cgroup in this one
    #[arg(long, value_name = "CGROUP")]
    cgroup_parent: Option<String>,
    /// Set a kernel parameter of the container's own namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// Add an annotation to the OCI specification
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
}

impl IsolationFlags {
    pub(super) fn apply(&self, options: &mut ContainerOptions) -> Result<()> {
        options.privileged = self.privileged;
        options.cap_add = self.cap_add.clone();
        options.cap_drop = self.cap_drop.clone();
        options.security_opt = each("--security-opt", &self.security_opt, isolation::security_option)?;
        options.devices = each("--device", &self.device, devices::device)?;
        options.device_cgroup_rules =
            each("--device-cgroup-rule", &self.device_cgroup_rule, devices::device_cgroup_rule)?;
        let parent = self.cgroup_parent.as_deref().map(isolation::cgroup_parent).transpose();
        options.cgroup_parent = flag("--cgroup-parent", parent)?;
        if let Some(mode) = &self.pid {
            options.pid_mode = flag("--pid", isolation::namespace_mode("pid", mode))?;
        }
        if let Some(mode) = &self.ipc {
            options.ipc_mode = flag("--ipc", isolation::ipc_mode(mode))?;
        }
        if let Some(mode) = &self.uts {
            options.uts_mode = flag("--uts", isolation::private_or_host("uts", mode))?;
        }
        if let Some(mode) = &self.userns {
            options.userns_mode = flag("--userns", isolation::userns_mode(mode))?;
        }
        if let Some(mode) = &self.cgroupns {
            options.cgroupns_mode = flag("--cgroupns", isolation::private_or_host("cgroup", mode))?;
        }
        options.sysctls.extend(each("--sysctl", &self.sysctl, isolation::sysctl)?);
        options.annotations.extend(each("--annotation", &self.annotation, isolation::annotation)?);
        Ok(())
    }
}
