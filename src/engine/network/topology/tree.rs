//! The picture as text for a terminal. Pure.
//!
//! ```text
//! front  10.10.0.0/24
//! ├─ api  10.10.0.2  (backend)
//! └─ web  10.10.0.3
//!    └─ 127.0.0.1:18080 → 8000/tcp
//!
//! api reaches db, web, the outside
//! ```

use crate::engine::network::topology::{place, ranges, target};
use crate::model::network::Driver;
use crate::model::topology::{Foot, Host, Segment, Topology};

/// Fewer columns than this are not worth a picture.
const LEAST_WIDTH: usize = 20;
/// More containers than these are counted, not named.
const MOST_NAMED: usize = 12;

/// Draws it within so many columns.
pub fn tree(topology: &Topology, width: usize) -> String {
    let width = width.max(LEAST_WIDTH);
    let mut lines = Vec::new();
    for (index, segment) in topology.segments.iter().enumerate() {
        wrap(&mut lines, "", "  ", &heading(segment), width);
        let members: Vec<(&Host, &Foot)> = topology.members(index).collect();
        let column = members.iter().map(|(host, _)| host.name.chars().count()).max().unwrap_or(0);
        for (at, (host, foot)) in members.iter().enumerate() {
            let is_last = at + 1 == members.len();
            let (first, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            wrap(&mut lines, first, &format!("{rest}  "), &member(host, foot, column), width);
            // What is published is said once, where the way out is.
            let ports = if leads(topology, host) == Some(index) { host.ports.as_slice() } else { &[] };
            for (at, port) in ports.iter().enumerate() {
                let branch = if at + 1 == ports.len() { "└─ " } else { "├─ " };
                let text = format!("{} → {}", place(port), target(port));
                wrap(&mut lines, &format!("{rest}{branch}"), &format!("{rest}     "), &text, width);
            }
        }
    }
    let running: Vec<usize> = (0..topology.hosts.len()).filter(|host| topology.hosts[*host].is_up).collect();
    if !running.is_empty() {
        lines.push(String::new());
        let column = running.iter().map(|host| topology.hosts[*host].name.chars().count()).max().unwrap_or(0);
        for host in running {
            let text = format!("{:column$} reaches {}", topology.hosts[host].name, reached(topology, host));
            wrap(&mut lines, "", "  ", &text, width);
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The network that a container's ports are shown at: the first that is not internal.
fn leads(topology: &Topology, host: &Host) -> Option<usize> {
    let open = host.feet.iter().find(|foot| !topology.segments[foot.segment].internal);
    open.or(host.feet.first()).map(|foot| foot.segment)
}

fn heading(segment: &Segment) -> String {
    let mut parts = vec![segment.name.clone(), ranges(segment)];
    if segment.driver != Driver::Bridge {
        parts.push(segment.driver.to_string());
    }
    if segment.internal {
        parts.push("internal: no way out".to_owned());
    }
    if !segment.icc {
        parts.push("its containers are kept apart".to_owned());
    }
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

fn member(host: &Host, foot: &Foot, column: usize) -> String {
    let mut text = format!("{:column$}", host.name);
    match host.is_up {
        true => foot.addresses.iter().for_each(|address| text.push_str(&format!("  {address}"))),
        false => text.push_str("  does not run"),
    }
    if !foot.aliases.is_empty() {
        text.push_str(&format!("  ({})", foot.aliases.join(", ")));
    }
    text
}

fn reached(topology: &Topology, host: usize) -> String {
    let others = topology.reached_from(host);
    let mut names: Vec<String> = match others.len() > MOST_NAMED {
        true => vec![format!("{} containers", others.len())],
        false => others.into_iter().map(|other| topology.hosts[other].name.clone()).collect(),
    };
    if topology.hosts[host].leads_out {
        names.push("the outside".to_owned());
    }
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// Adds a text, on as many lines as it takes; breaks at spaces where there are some.
fn wrap(lines: &mut Vec<String>, first: &str, rest: &str, text: &str, width: usize) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if !is_empty && line.chars().count() + length > width {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
        }
        for c in word.chars() {
            // A word that is longer than a line is cut.
            if line.chars().count() >= width && c != ' ' {
                lines.push(std::mem::replace(&mut line, rest.to_owned()));
            }
            line.push(c);
        }
        is_empty = false;
    }
    lines.push(line);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::network::topology::tests::sample;

    #[test]
    fn a_tree_says_who_is_where_what_is_published_and_who_reaches_whom() {
        let expected = "\
back  10.20.0.0/24  internal: no way out
├─ api   10.20.0.3
├─ db    10.20.0.2
└─ idle  does not run
front  10.10.0.0/24
├─ api  10.10.0.2  (backend)
└─ web  10.10.0.3
   ├─ 127.0.0.1:18080 → 8000/tcp
   ├─ *:80 → 8000/tcp
   └─ [*]:80 → 8000/tcp

api reaches db, web, the outside
db  reaches api
web reaches api, the outside
";
        assert_eq!(tree(&sample(), 80), expected);
    }

    #[test]
    fn it_fits_narrow_terminals() {
        let mut topology = sample();
        topology.hosts[0].name = "a-container-with-a-name-that-is-longer-than-the-terminal-is-wide".to_owned();
        for width in [20, 33, 50] {
            let text = tree(&topology, width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
        }
    }
}
