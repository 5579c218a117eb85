//! The picture as an image: a row for each container, a column for each network, a dot where one is on the other. Pure.
//!
//! ```text
//!                         front           back
//!                      10.10.0.0/24   10.20.0.0/24
//!                           │              │
//!  :18080 → 8000 ▸ [ web ]──● 10.10.0.3    │
//!                  [ api ]──● 10.10.0.2 ───● 10.20.0.3
//!                           ▾              ┴
//!                        outside        internal
//! ```

use crate::base::xml::escaped;
use crate::engine::network::topology::{place, ranges, target};
use crate::model::topology::{Host, Topology};

/// The width of a letter and the height of a line, in pixels, of the font that is asked for; a guess on the safe side.
const LETTER: usize = 8;
const LINE: usize = 16;
/// The space around things.
const GAP: usize = 24;
/// The height of a container's box.
const BOX: usize = 28;
/// The room above the rows, for the names of networks.
const HEAD: usize = 2 * GAP + 2 * LINE;
/// The colours of the columns, one after the other.
const COLOURS: [&str; 6] = ["#2563eb", "#b45309", "#15803d", "#9333ea", "#be123c", "#0f766e"];

/// Draws it.
pub fn svg(topology: &Topology) -> String {
    let widest = |texts: &mut dyn Iterator<Item = String>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let ports = widest(&mut topology.hosts.iter().flat_map(|host| host.ports.iter().map(port)));
    let names = widest(&mut topology.hosts.iter().map(|host| host.name.clone()));
    let left = GAP + if ports == 0 { 0 } else { ports * LETTER + 2 * GAP };
    let name_width = names * LETTER + GAP;
    let mut columns = Vec::new();
    let mut x = left + name_width + 2 * GAP;
    for (at, segment) in topology.segments.iter().enumerate() {
        let labels = topology.members(at).flat_map(|(_, foot)| labels(foot));
        let heading = [segment.name.clone(), ranges(segment)].into_iter();
        // Headings are in the middle of a line, labels to the right of it.
        let half = widest(&mut heading.chain([END.to_owned()])) * LETTER / 2;
        x += half.max(GAP);
        columns.push(x);
        x += half.max(widest(&mut { labels }) * LETTER + GAP) + GAP;
    }
    let mut rows = Vec::new();
    let mut y = HEAD;
    for host in &topology.hosts {
        let lines = host.feet.iter().map(|foot| labels(foot).count()).chain([host.ports.len()]).max().unwrap_or(1);
        let height = (lines * LINE).max(BOX);
        rows.push(y + height / 2);
        y += height + GAP;
    }
    let (width, height) = (x + GAP, y + GAP + 2 * LINE);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"12\">\n<title>Networks</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, segment) in topology.segments.iter().enumerate() {
        let (x, colour) = (columns[at], COLOURS[at % COLOURS.len()]);
        let end = y + LINE / 2;
        out += &format!(
            "<line x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{end}\" stroke=\"{colour}\" stroke-width=\"3\"{}/>\n",
            HEAD - LINE,
            if segment.icc { "" } else { " stroke-dasharray=\"6 4\"" }
        );
        out += &text(x, GAP, "middle", colour, &segment.name, true);
        out += &text(x, GAP + LINE, "middle", "#555", &ranges(segment), false);
        let word = if segment.internal { "internal" } else { END };
        if !segment.internal {
            out += &format!("<path d=\"M{} {end}h12l-6 8z\" fill=\"{colour}\"/>\n", x - 6);
        }
        out += &text(x, end + LINE + 8, "middle", "#555", word, false);
    }
    for (at, host) in topology.hosts.iter().enumerate() {
        out += &row(topology, host, rows[at], left, name_width, &columns);
    }
    out + "</svg>\n"
}

/// Where a network leads.
const END: &str = "outside";

fn row(topology: &Topology, host: &Host, y: usize, left: usize, name_width: usize, columns: &[usize]) -> String {
    let mut out = String::new();
    let right = left + name_width;
    if let Some(last) = host.feet.iter().map(|foot| columns[foot.segment]).max() {
        out += &format!("<line x1=\"{right}\" y1=\"{y}\" x2=\"{last}\" y2=\"{y}\" stroke=\"#999\"/>\n");
    }
    let dashed = if host.is_up { "" } else { " stroke-dasharray=\"4 3\"" };
    out += &format!(
        "<rect x=\"{left}\" y=\"{}\" width=\"{name_width}\" height=\"{BOX}\" rx=\"5\" fill=\"#f3f4f6\" stroke=\"#444\"{dashed}/>\n",
        y - BOX / 2
    );
    out += &text(left + name_width / 2, y + 4, "middle", "#111", &host.name, true);
    for (at, one) in host.ports.iter().enumerate() {
        let y = y + at * LINE - host.ports.len().saturating_sub(1) * LINE / 2;
        out += &text(left - GAP - 6, y + 4, "end", "#111", &port(one), false);
    }
    if !host.ports.is_empty() {
        out += &format!("<path d=\"M{} {y}h14v-4l8 4l-8 4v-4\" fill=\"#111\" stroke=\"#111\"/>\n", left - GAP);
    }
    for foot in &host.feet {
        let (x, colour) = (columns[foot.segment], COLOURS[foot.segment % COLOURS.len()]);
        out += &format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/>\n");
        debug_assert!(foot.segment < topology.segments.len());
        for (at, label) in labels(foot).enumerate() {
            out += &text(x + 10, y + at * LINE - 5, "start", "#333", &label, false);
        }
    }
    out
}

fn labels(foot: &crate::model::topology::Foot) -> impl Iterator<Item = String> {
    foot.addresses.iter().map(ToString::to_string).chain(foot.aliases.iter().map(|name| format!("({name})")))
}

fn port(port: &crate::model::network::PortBinding) -> String {
    format!("{} → {}", place(port), target(port))
}

fn text(x: usize, y: usize, anchor: &str, colour: &str, text: &str, bold: bool) -> String {
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let text = escaped(text);
    format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{colour}\"{weight}>{text}</text>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::network::topology::tests::sample;

    #[test]
    fn an_image_has_a_row_for_each_container_and_a_column_for_each_network() {
        let image = svg(&sample());
        assert_eq!(image.matches("<circle").count(), 5);
        assert_eq!(image.matches("<rect x=").count(), 4);
        for part in ["127.0.0.1:18080 → 8000/tcp", ">(backend)<", ">internal<", ">outside<"] {
            assert!(image.contains(part), "{part}:\n{image}");
        }
        assert!(image.starts_with("<svg ") && image.ends_with("</svg>\n"));
        // Also with nothing at all.
        assert!(svg(&Topology::default()).contains("</svg>"));
    }
}
