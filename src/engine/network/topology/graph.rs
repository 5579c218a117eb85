//! The picture for Mermaid and Graphviz: networks, containers, the host's ports and the outside as nodes. Pure.

use crate::engine::network::topology::{place, ranges, target};
use crate::model::topology::{Foot, Host, Segment, Topology};

/// A flow chart of Mermaid's.
pub fn mermaid(topology: &Topology) -> String {
    let mut text = String::from("flowchart LR\n");
    let mut line = |part: String| text.push_str(&format!("  {part}\n"));
    if topology.hosts.iter().any(|host| !host.ports.is_empty()) {
        line("host([\"this host\"])".to_owned());
    }
    for (at, host) in topology.hosts.iter().enumerate() {
        line(format!("c{at}[\"{}\"]", entities(&title(host))));
        for port in &host.ports {
            line(format!("host -->|\"{} → {}\"| c{at}", place(port), target(port)));
        }
    }
    for (at, segment) in topology.segments.iter().enumerate() {
        line(format!("n{at}{{{{\"{}<br/>{}\"}}}}", entities(&segment.name), notes(segment).join("<br/>")));
    }
    for (at, host) in topology.hosts.iter().enumerate() {
        for foot in &host.feet {
            let edge = if topology.segments[foot.segment].icc && host.is_up { "---" } else { "-.-" };
            let label = match label(foot) {
                label if label.is_empty() => String::new(),
                label => format!("|\"{}\"|", entities(&label)),
            };
            line(format!("c{at} {edge}{label} n{}", foot.segment));
        }
    }
    if topology.segments.iter().any(|segment| !segment.internal) {
        line("outside((\"outside\"))".to_owned());
    }
    for (at, _) in topology.segments.iter().enumerate().filter(|(_, segment)| !segment.internal) {
        line(format!("n{at} --> outside"));
    }
    text
}

/// A graph of Graphviz's.
pub fn dot(topology: &Topology) -> String {
    let mut text = String::from("digraph networks {\n");
    let mut line = |part: String| text.push_str(&format!("  {part}\n"));
    line("rankdir=LR".to_owned());
    line("node [fontname=\"sans-serif\"]".to_owned());
    line("edge [fontname=\"sans-serif\", fontsize=10]".to_owned());
    if topology.hosts.iter().any(|host| !host.ports.is_empty()) {
        line("host [label=\"this host\", shape=oval]".to_owned());
    }
    for (at, host) in topology.hosts.iter().enumerate() {
        let style = if host.is_up { "" } else { ", style=dashed" };
        line(format!("c{at} [label={}, shape=box{style}]", quoted(&host.name)));
        for port in &host.ports {
            line(format!("host -> c{at} [label={}]", quoted(&format!("{} → {}", place(port), target(port)))));
        }
    }
    for (at, segment) in topology.segments.iter().enumerate() {
        let label = [vec![segment.name.clone()], notes(segment)].concat().join("\n");
        line(format!("n{at} [label={}, shape=hexagon]", quoted(&label)));
    }
    for (at, host) in topology.hosts.iter().enumerate() {
        for foot in &host.feet {
            let style = if topology.segments[foot.segment].icc && host.is_up { "" } else { ", style=dashed" };
            line(format!("c{at} -> n{} [dir=none, label={}{style}]", foot.segment, quoted(&label(foot))));
        }
    }
    if topology.segments.iter().any(|segment| !segment.internal) {
        line("outside [shape=doublecircle]".to_owned());
    }
    for (at, _) in topology.segments.iter().enumerate().filter(|(_, segment)| !segment.internal) {
        line(format!("n{at} -> outside"));
    }
    text.push_str("}\n");
    text
}

fn title(host: &Host) -> String {
    if host.is_up { host.name.clone() } else { format!("{} (does not run)", host.name) }
}

fn label(foot: &Foot) -> String {
    let addresses = foot.addresses.iter().map(ToString::to_string);
    addresses.chain(foot.aliases.iter().cloned()).collect::<Vec<_>>().join(", ")
}

fn notes(segment: &Segment) -> Vec<String> {
    let mut notes = vec![ranges(segment)];
    notes.extend(segment.internal.then(|| "internal".to_owned()));
    notes.extend((!segment.icc).then(|| "kept apart".to_owned()));
    notes.retain(|note| !note.is_empty());
    notes
}

/// Mermaid takes a character that means something as its number.
fn entities(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '<' | '>' | '&' | '#' | '`' => format!("#{};", c as u32),
        _ => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::network::topology::tests::sample;

    #[test]
    fn mermaid_and_dot_have_every_edge() {
        let text = mermaid(&sample());
        for part in [
            "n0{{\"back<br/>10.20.0.0/24<br/>internal\"}}",
            "c0 ---|\"10.10.0.2, backend\"| n1",
            "host -->|\"127.0.0.1:18080 → 8000/tcp\"| c3",
            "c2 -.- n0",
            "n1 --> outside",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(!text.contains("n0 --> outside"), "{text}");
        let text = dot(&sample());
        for part in [
            "n0 [label=\"back\\n10.20.0.0/24\\ninternal\", shape=hexagon]",
            "c0 -> n1 [dir=none, label=\"10.10.0.2, backend\"]",
            "host -> c3 [label=\"*:80 → 8000/tcp\"]",
            "n1 -> outside",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
