//! The picture of networks in scripts: a value that prints as a tree, and gives itself as Mermaid, DOT and SVG.

use rhai::plugin::*;
use rhai::{Array, ImmutableString, NativeCallContext};

use crate::base::{Context as _, Result};
use crate::engine::network::topology::{Drawing, draw};
use crate::model::topology;
use crate::script::context::{engine, tag};
use crate::script::error::{Fallible, Raise};
use crate::script::network::network_name;

/// The columns of a tree where nobody says how many there are.
const WIDTH: usize = 80;

/// What there was when it was asked for.
#[derive(Clone)]
pub(crate) struct Topology(topology::Topology);

impl Topology {
    /// Its text within a line.
    pub(crate) fn shown(&self) -> String {
        format!("Topology({} networks, {} containers)", self.0.segments.len(), self.0.hosts.len())
    }

    /// As a tree of so many columns.
    pub(crate) fn tree(&self, width: usize) -> String {
        draw(&self.0, Drawing::Tree(width)).trim_end().to_owned()
    }
}

#[export_module]
#[allow(missing_docs, unreachable_pub, reason = "the names are the script's; docs are read from the metadata")]
pub(crate) mod topology_functions {
    use super::*;

    /// A picture of networks, or of all: who is on them, who reaches whom and what is published. It prints as a tree that
    /// fits the terminal, and has `mermaid() dot() svg() save(path)`.
    ///
    /// ```rhai
    /// let n = network::create("doc-picture", #{ subnet: "10.231.9.0/24" });
    /// let c = container::run("base", #{ command: ["sleep", "300"], networks: [n], name: "drawn" });
    /// print(network::topology([n]));
    /// assert(network::topology([n]).mermaid().contains("drawn"));
    /// c.remove(#{ force: true });
    /// n.remove();
    /// ```
    #[rhai_fn(name = "topology", return_raw)]
    pub fn topology_of(ctx: NativeCallContext, networks: Array) -> Fallible<Topology> {
        let names = networks.iter().map(network_name).collect::<Result<Vec<String>>>().raise(&ctx)?;
        // Of no network there is an empty picture, not one of all.
        if names.is_empty() {
            return Ok(Topology(topology::Topology::default()));
        }
        engine(&ctx)?.network_topology(&names).map(Topology).raise(&ctx)
    }

    #[rhai_fn(name = "topology", return_raw)]
    pub fn topology_of_all(ctx: NativeCallContext) -> Fallible<Topology> {
        engine(&ctx)?.network_topology(&[]).map(Topology).raise(&ctx)
    }

    /// The picture as a flow chart of Mermaid's, which many pages of documentation draw.
    ///
    /// ```rhai
    /// assert(network::topology().mermaid().starts_with("flowchart LR"));
    /// ```
    #[rhai_fn(global)]
    pub fn mermaid(topology: Topology) -> String {
        draw(&topology.0, Drawing::Mermaid)
    }

    /// The picture as a graph for Graphviz.
    ///
    /// ```rhai
    /// assert(network::topology().dot().starts_with("digraph"));
    /// ```
    #[rhai_fn(global)]
    pub fn dot(topology: Topology) -> String {
        draw(&topology.0, Drawing::Dot)
    }

    /// The picture as an image.
    ///
    /// ```rhai
    /// assert(network::topology().svg().starts_with("<svg"));
    /// ```
    #[rhai_fn(global)]
    pub fn svg(topology: Topology) -> String {
        draw(&topology.0, Drawing::Svg)
    }

    /// Writes the picture to a file whose name says what it is: `.svg`, `.dot`, `.mmd` or `.txt`.
    ///
    /// ```rhai
    /// network::topology().save(`${host::temp_dir()}/net.svg`);
    /// ```
    #[rhai_fn(global, name = "save", return_raw)]
    pub fn save_topology(ctx: NativeCallContext, topology: Topology, path: ImmutableString) -> Fallible<()> {
        let text = Drawing::of_path(&path).map(|drawing| draw(&topology.0, drawing)).raise(&ctx)?;
        std::fs::write(path.as_str(), text).context(|| format!("writing {path:?}")).raise(&ctx)
    }

    #[rhai_fn(global, name = "print", return_raw)]
    pub fn print_topology(ctx: NativeCallContext, topology: Topology) -> Fallible<String> {
        Ok(topology.tree(tag(&ctx)?.host.width))
    }

    #[rhai_fn(global, name = "to_string", name = "to_debug")]
    pub fn text(topology: Topology) -> String {
        topology.tree(WIDTH)
    }
}
