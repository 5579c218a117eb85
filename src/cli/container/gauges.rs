//! The live view of `stats`: usage in columns that fit the window, with the last minute of it as small curves.
//!
//! Pure: numbers in, lines out.

use std::collections::VecDeque;

use crate::docker::stats::{TITLES, cells};
use crate::docker::words::ellipsis;
use crate::model::stats::Usage;

/// How many readings a curve remembers.
const MEMORY: usize = 60;
/// Characters of a curve.
const CURVE: usize = 10;
/// The levels of a curve.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// What a curve of processor time reaches up to at least, in percent: idling is flat.
const LEAST_CPU: f64 = 5.0;
/// A name is shown up to this, and cut down to that when there is no room.
const NAME: std::ops::RangeInclusive<usize> = 8..=24;

/// What is remembered of a container.
#[derive(Debug, Clone, Default)]
pub(super) struct Curves {
    cpu: VecDeque<f64>,
    memory: VecDeque<f64>,
}

/// A container in the view.
pub(super) struct Row<'a> {
    /// The short id.
    pub id: &'a str,
    /// The name.
    pub name: &'a str,
    /// None until there were two readings.
    pub usage: Option<&'a Usage>,
    /// What was before.
    pub curves: &'a Curves,
}

impl Curves {
    /// Remembers what is used now.
    pub(super) fn push(&mut self, usage: &Usage) {
        for (curve, value) in [(&mut self.cpu, usage.cpu_percent), (&mut self.memory, usage.memory_bytes as f64)] {
            if curve.len() == MEMORY {
                curve.pop_front();
            }
            curve.push_back(value);
        }
    }

    /// From nothing to the most there was.
    fn cpu(&self) -> String {
        let most = self.cpu.iter().copied().fold(LEAST_CPU, f64::max);
        curve(&self.cpu, 0.0, most)
    }

    /// From the least to the most, but a change of less than a twentieth is none.
    fn memory(&self) -> String {
        let most = self.memory.iter().copied().fold(0.0, f64::max);
        let least = self.memory.iter().copied().fold(most, f64::min).min(most * 0.95);
        curve(&self.memory, least, most)
    }
}

/// The newest values, the last one at the right.
fn curve(values: &VecDeque<f64>, least: f64, most: f64) -> String {
    let level = |value: f64| {
        let share = if most > least { (value - least) / (most - least) } else { 0.0 };
        LEVELS[((share * LEVELS.len() as f64) as usize).min(LEVELS.len() - 1)]
    };
    let newest = values.iter().skip(values.len().saturating_sub(CURVE));
    let text: String = newest.map(|value| level(*value)).collect();
    format!("{text:>CURVE$}")
}

/// Titles and rows in lines of at most `width` characters: the least needed columns go first.
pub(super) fn lines(rows: &[Row<'_>], width: usize) -> Vec<String> {
    let [id, name, cpu, memory, share, network, block, pids] = TITLES;
    let mut table: Vec<Vec<String>> =
        vec![[id, name, cpu, "", memory, share, "", network, block, pids].map(str::to_owned).to_vec()];
    for row in rows {
        let cells = cells(row.usage);
        table.push(vec![
            row.id.to_owned(),
            ellipsis(row.name, *NAME.end()),
            cells.cpu,
            row.curves.cpu(),
            cells.memory,
            cells.memory_percent,
            row.curves.memory(),
            cells.network,
            cells.block,
            cells.pids,
        ]);
    }
    let widths: Vec<usize> =
        (0..table[0].len()).map(|at| table.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut shown: Vec<usize> = (0..widths.len()).collect();
    let total = |shown: &[usize], name: usize| {
        shown.iter().map(|&at| if at == 1 { name } else { widths[at] }).sum::<usize>() + 2 * (shown.len() - 1)
    };
    // The id, input and output, then the curves, then what follows from the rest.
    for spare in [0, 8, 7, 6, 3, 5] {
        if total(&shown, widths[1].min(*NAME.start())) > width {
            shown.retain(|at| *at != spare);
        }
    }
    let mut name = widths[1];
    while total(&shown, name) > width && name > *NAME.start() {
        name -= 1;
    }
    let line = |row: &Vec<String>| {
        let cells = shown.iter().map(|&at| match at {
            1 => format!("{:<name$}", ellipsis(&row[1], name)),
            at => format!("{:<width$}", row[at], width = widths[at]),
        });
        ellipsis(cells.collect::<Vec<_>>().join("  ").trim_end(), width)
    };
    table.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(cpu_percent: f64, memory_bytes: u64) -> Usage {
        Usage {
            cpu_percent,
            memory_bytes,
            memory_limit_bytes: 16_700_000_000,
            memory_percent: 12.34,
            rx_bytes: 123_456_789,
            tx_bytes: 12_345,
            read_bytes: 4_100_000,
            written_bytes: 1_234_567_890,
            pids: 1234,
        }
    }

    #[test]
    fn curves_show_the_newest_values_at_the_right() {
        let mut curves = Curves::default();
        assert_eq!(curves.cpu(), " ".repeat(CURVE));
        for cpu in [0.0, 50.0, 100.0] {
            curves.push(&usage(cpu, 1 << 20));
        }
        assert_eq!(curves.cpu(), "       ▁▅█");
        assert_eq!(curves.memory(), "       ███", "the same all the time, and not nothing");
        for _ in 0..200 {
            curves.push(&usage(0.0, 1 << 21));
        }
        assert_eq!((curves.cpu(), curves.cpu.len()), ("▁".repeat(CURVE), MEMORY));
        let mut halved = Curves::default();
        for memory in [4, 2, 3] {
            halved.push(&usage(0.0, memory << 20));
        }
        assert_eq!(halved.memory(), "       █▁▅");
    }

    #[test]
    fn rows_fit_every_window_and_eighty_columns_keep_both_curves() {
        let mut curves = Curves::default();
        curves.push(&usage(99.0, 1_600_000_000));
        let usage = usage(199.99, 1_600_000_000);
        let row = Row { id: "0123456789ab", name: "a_long_name_for_a_container", usage: Some(&usage), curves: &curves };
        let all = |width: usize| lines(std::slice::from_ref(&row), width);
        for width in 1..200 {
            for line in all(width) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        let text = all(80);
        for part in ["NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "PIDS"] {
            assert!(text[0].contains(part), "{text:?}");
        }
        assert_eq!(text[1].matches('█').count(), 2, "{text:?}");
        assert!(all(200)[0].starts_with("CONTAINER ID  NAME"));
        assert!(all(200)[1].contains("123MB / 12.3kB  4.1MB / 1.23GB  1234"), "{:?}", all(200));
        // Before the second reading nothing is known.
        let blank = lines(&[Row { usage: None, curves: &Curves::default(), ..row }], 80);
        assert!(blank[1].contains("-- / --"), "{blank:?}");
    }
}
