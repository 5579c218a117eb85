//! Flags of health checks.

use clap::Args;

use crate::base::{Error, Result, units};
use crate::cli::flags::flag;
use crate::docker::health;
use crate::model::container::ContainerOptions;
use crate::model::health::HealthCheck;

#[derive(Debug, Args)]
#[command(next_help_heading = "Health")]
pub(super) struct HealthFlags {
    /// Check health with this line for the shell
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    health_cmd: Option<String>,
    /// Check so often [default: 30s]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    health_interval: Option<String>,
    /// Call a check failed that takes longer [default: 30s]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    health_timeout: Option<String>,
    /// Call the container unhealthy after so many failures [default: 3]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    health_retries: Option<i64>,
    /// Do not count failures so soon after the start [default: 0s]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    health_start_period: Option<String>,
    /// Check so often within the start period [default: 5s]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    health_start_interval: Option<String>,
    /// Choose what follows: none, restart, stop or kill [default: none]
    #[arg(long, visible_alias = "health-on-failure", value_name = "ACTION")]
    health_on_unhealthy: Option<String>,
    /// Ignore the image's health check
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthFlags {
    pub(super) fn apply(&self, options: &mut ContainerOptions) -> Result<()> {
        let time = |name: &str, text: &Option<String>| {
            let read = |text: &String| units::parse_duration(text).and_then(health::time);
            flag(name, text.as_ref().map_or(Ok(None), read))
        };
        let retries = self.health_retries.map(|retries| {
            u32::try_from(retries)
                .map_err(|_| Error::invalid(format!("option \"--health-retries\" cannot be {retries}")))
        });
        let check = HealthCheck {
            test: self.health_cmd.as_deref().map(health::shell_test).unwrap_or_default(),
            interval: time("--health-interval", &self.health_interval)?,
            timeout: time("--health-timeout", &self.health_timeout)?,
            start_period: time("--health-start-period", &self.health_start_period)?,
            start_interval: time("--health-start-interval", &self.health_start_interval)?,
            retries: retries.transpose()?.filter(|retries| *retries > 0),
        };
        if let Some(action) = &self.health_on_unhealthy {
            options.on_unhealthy = flag("--health-on-unhealthy", health::on_unhealthy(action))?;
        }
        let given = check != HealthCheck::default();
        options.healthcheck = match (self.no_healthcheck, given) {
            (true, true) => {
                return Err(Error::invalid("option \"--no-healthcheck\" conflicts with \"--health-*\" options"));
            }
            (true, false) => Some(HealthCheck::none()),
            (false, given) => given.then_some(check),
        };
        Ok(())
    }
}
