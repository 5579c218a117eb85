//! A shell in a build: where a step failed, with everything as it was, or at the end of the target.

use super::run::chain_ids;
use super::state::State;
use super::{Progress, Solver};
use crate::base::{Error, Result};
use crate::engine::Engine;
use crate::engine::container::{Attachment, StepRun};
use crate::model::build::{BuildOptions, BuildReport, Command, Graph, Run};
use crate::model::image::Layer;
use crate::model::network;

/// Joins the user's terminal to a shell: it is given where the shell is and what to call with the terminal.
pub type Shell<'a> = dyn Fn(&str, &mut Enter<'_>) -> Result<()> + Sync + 'a;
/// Runs the shell to its end; gives its exit status.
pub type Enter<'a> = dyn FnMut(Attachment<'_>) -> Result<i32> + 'a;

impl Engine {
    /// As [`Engine::build_solve`], with a shell where a command fails, or at the end. What is changed in it is lost.
    ///
    /// # Errors
    /// As [`Engine::build_solve`], after the shell has ended.
    pub fn build_solve_with(
        &self,
        graph: &Graph,
        options: &BuildOptions,
        progress: &Progress<'_>,
        debug: &Debug<'_>,
    ) -> Result<BuildReport> {
        let _lease = self.store.lease()?;
        Ok(self.solve_with(graph, options, progress, debug)?.report)
    }
}

/// What is looked at while a build goes on.
#[derive(Clone, Copy, Default)]
pub struct Debug<'a> {
    /// Opens a shell where a command fails.
    pub shell: Option<&'a Shell<'a>>,
    /// Also when nothing failed.
    pub at_end: bool,
    /// Commands see another machine: what they come to should not depend on it.
    pub elsewhere: bool,
}

impl Solver<'_> {
    /// A shell where a command failed. `changed` is what it changed until then.
    /// On the networks its services are on.
    pub(super) fn shell_of_failed(
        &self,
        text: &str,
        run: &Run,
        state: &State,
        changed: Option<Layer>,
        networks: &[network::Attachment],
    ) -> Result<()> {
        let Some(shell) = self.debug.shell else { return Ok(()) };
        let mut state = state.clone();
        state.layers.extend(changed);
        self.shell(&format!("the failed step {text:?}"), shell, (run, networks), &state)
    }

    /// A shell at the end of the target.
    pub(super) fn shell_at_end(&self, state: &State) -> Result<()> {
        match self.debug.shell.filter(|_| self.debug.at_end) {
            Some(shell) => self.shell("the end of the build", shell, (&Run::default(), &[]), state),
            None => Ok(()),
        }
    }

    fn shell(
        &self,
        place: &str,
        shell: &Shell<'_>,
        (run, networks): (&Run, &[network::Attachment]),
        state: &State,
    ) -> Result<()> {
        if chain_ids(state).is_empty() {
            return Err(Error::unsupported("there is no shell in nothing"));
        }
        let program = state.shell().into_iter().next().unwrap_or_else(|| "/bin/sh".to_owned());
        let run = Run { command: Command::Exec(vec![program]), timeout: None, ..run.clone() };
        let prepared = self.prepare(&run, state)?;
        let mut options = self.container_options(&run, state, &prepared, networks)?;
        (options.tty, options.stdin_open) = (true, true);
        let image = self.image_of(state);
        let mut enter = |attachment: Attachment<'_>| {
            let step = StepRun {
                image: &image,
                options: options.clone(),
                secret_env: prepared.secret_env.clone(),
                lower: None,
                umask: None,
                overlays: &prepared.overlays,
                mount_order: &prepared.targets,
                take_failed: false,
                output: attachment.output,
                stdin: attachment.stdin,
                terminal: attachment.terminal,
                deadline: None,
                interrupt: attachment.interrupt,
            };
            self.engine.container_step(step, |_| Ok(())).map(|(code, _)| code)
        };
        shell(place, &mut enter)
    }
}
