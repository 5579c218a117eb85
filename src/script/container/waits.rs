//! Waiting for a container from its handle: until it is healthy, listens, answers, or says so.

use rhai::plugin::*;
use rhai::{ImmutableString, NativeCallContext};

use crate::base::{Error, Result};
use crate::script::error::{Fallible, Raise};
use crate::script::units::{TimeSpan, duration_of};

use crate::script::container::{Container, DEFAULT_WAIT};

pub(crate) fn port_of(number: i64) -> Result<u16> {
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| Error::invalid(format!("{number} is not a port")).with_hint("ports are 1 to 65535"))
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod container_waits {
    use super::*;

    /// Waits until the container's health check says healthy; at most 60 s unless a time is given. All waits end early when
    /// the container ends, and their errors show the last lines of its log.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"], healthcheck: #{ test: "true", interval: 100.ms } });
    /// c.wait_healthy(20.s);
    /// assert(c.health == "healthy");
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "wait_healthy", return_raw)]
    pub fn wait_healthy_for(ctx: NativeCallContext, container: Container, timeout: TimeSpan) -> Fallible<()> {
        let timeout = duration_of(&timeout).raise(&ctx)?;
        container.engine.container_wait_healthy(container.id.as_str(), timeout).raise(&ctx)
    }

    #[rhai_fn(global, name = "wait_healthy", return_raw)]
    pub fn wait_healthy_default(ctx: NativeCallContext, container: Container) -> Fallible<()> {
        container.engine.container_wait_healthy(container.id.as_str(), DEFAULT_WAIT).raise(&ctx)
    }

    /// Waits until something in the container listens on a TCP port; at most 60 s unless a time is given.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// try { c.wait_port(5432, 100.ms); } catch (e) { assert(e.kind == "timeout"); }
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "wait_port", return_raw)]
    pub fn wait_port_for(ctx: NativeCallContext, container: Container, port: i64, timeout: TimeSpan) -> Fallible<()> {
        let port = port_of(port).raise(&ctx)?;
        let timeout = duration_of(&timeout).raise(&ctx)?;
        container.engine.container_wait_port(container.id.as_str(), port, timeout).raise(&ctx)
    }

    #[rhai_fn(global, name = "wait_port", return_raw)]
    pub fn wait_port_default(ctx: NativeCallContext, container: Container, port: i64) -> Fallible<()> {
        let port = port_of(port).raise(&ctx)?;
        container.engine.container_wait_port(container.id.as_str(), port, DEFAULT_WAIT).raise(&ctx)
    }

    /// Waits until a GET of a path on a TCP port of the container is answered with a status from 200 to 399; at most 60 s
    /// unless a time is given. The path is `/` unless given; without a port it is the one that the container publishes or
    /// exposes.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: ["sleep", "300"] });
    /// try { c.wait_http(80, "/health", 100.ms); } catch (e) { assert(e.kind == "timeout"); }
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "wait_http", return_raw)]
    pub fn wait_http_for(
        ctx: NativeCallContext,
        container: Container,
        port: i64,
        path: ImmutableString,
        timeout: TimeSpan,
    ) -> Fallible<()> {
        let port = port_of(port).raise(&ctx)?;
        let timeout = duration_of(&timeout).raise(&ctx)?;
        container.engine.container_wait_http(container.id.as_str(), port, &path, timeout).raise(&ctx)
    }

    #[rhai_fn(global, name = "wait_http", return_raw)]
    pub fn wait_http_at(
        ctx: NativeCallContext,
        container: Container,
        port: i64,
        path: ImmutableString,
    ) -> Fallible<()> {
        let port = port_of(port).raise(&ctx)?;
        container.engine.container_wait_http(container.id.as_str(), port, &path, DEFAULT_WAIT).raise(&ctx)
    }

    #[rhai_fn(global, name = "wait_http", return_raw)]
    pub fn wait_http_within(
        ctx: NativeCallContext,
        container: Container,
        port: i64,
        timeout: TimeSpan,
    ) -> Fallible<()> {
        wait_http_for(ctx, container, port, "/".into(), timeout)
    }

    #[rhai_fn(global, name = "wait_http", return_raw)]
    pub fn wait_http_default(ctx: NativeCallContext, container: Container, port: i64) -> Fallible<()> {
        wait_http_at(ctx, container, port, "/".into())
    }

    #[rhai_fn(global, name = "wait_http", return_raw)]
    pub fn wait_http_path(ctx: NativeCallContext, container: Container, path: ImmutableString) -> Fallible<()> {
        let port = container.engine.container_http_port(container.id.as_str()).raise(&ctx)?;
        container.engine.container_wait_http(container.id.as_str(), port, &path, DEFAULT_WAIT).raise(&ctx)
    }

    #[rhai_fn(global, name = "wait_http", return_raw)]
    pub fn wait_http_path_for(
        ctx: NativeCallContext,
        container: Container,
        path: ImmutableString,
        timeout: TimeSpan,
    ) -> Fallible<()> {
        let timeout = duration_of(&timeout).raise(&ctx)?;
        let port = container.engine.container_http_port(container.id.as_str()).raise(&ctx)?;
        container.engine.container_wait_http(container.id.as_str(), port, &path, timeout).raise(&ctx)
    }

    /// Waits until the log of the container's present run contains a text; at most 60 s unless a time is given.
    ///
    /// ```rhai
    /// let c = container::run("base", #{ command: "echo ready; sleep 300" });
    /// c.wait_log("ready", 10.s);
    /// c.remove(#{ force: true });
    /// ```
    #[rhai_fn(global, name = "wait_log", return_raw)]
    pub fn wait_log_for(
        ctx: NativeCallContext,
        container: Container,
        text: ImmutableString,
        timeout: TimeSpan,
    ) -> Fallible<()> {
        let timeout = duration_of(&timeout).raise(&ctx)?;
        container.engine.container_wait_log(container.id.as_str(), &text, timeout).raise(&ctx)
    }

    #[rhai_fn(global, name = "wait_log", return_raw)]
    pub fn wait_log_default(ctx: NativeCallContext, container: Container, text: ImmutableString) -> Fallible<()> {
        container.engine.container_wait_log(container.id.as_str(), &text, DEFAULT_WAIT).raise(&ctx)
    }
}
