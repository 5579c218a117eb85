//! Tables in Docker's layout: upper-case headers, columns of at least ten and three apart, nothing else.
//!
//! Complete in a pipe. On a terminal rows are never wrapped: the widest columns are cut with `…` until they fit.

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;

use crate::base::Result;
use crate::cli::Out;
use crate::docker::words::ellipsis;
use crate::sys;

/// The least width of a column that is not the last, its gap included; Docker's number.
const MIN_WIDTH: usize = 10;
/// The gap between columns; Docker's number.
const GAP: usize = 3;
/// No column is cut below this.
const MIN_CUT: usize = 8;

/// A table that is printed at once.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headers: &[&str]) -> Table {
        Table { rows: vec![headers.iter().map(|&header| header.to_owned()).collect()] }
    }

    /// Adds a row; cells may come from images and containers, so what could move a terminal's cursor is replaced.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let clean = |cell: String| match cell.contains(char::is_control) {
            true => cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
            false => cell,
        };
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// Prints it on standard output.
    pub(crate) fn print(self, out: &mut Out) -> Result<()> {
        let stdout = std::io::stdout();
        let columns = if stdout.is_terminal() { sys::terminal::size(stdout.as_fd()) } else { None };
        for line in self.lines(columns.map(|(columns, _)| usize::from(columns))) {
            out.line(line)?;
        }
        Ok(())
    }

    fn lines(mut self, limit: Option<usize>) -> Vec<String> {
        let mut widths = self.widths();
        if let Some(limit) = limit {
            fit(&mut widths, limit);
            for row in &mut self.rows {
                for (cell, width) in row.iter_mut().zip(&widths) {
                    *cell = ellipsis(cell, *width);
                }
            }
        }
        self.rows
            .iter()
            .map(|row| line(row, &widths))
            .map(|line| limit.map_or(line.clone(), |limit| ellipsis(&line, limit)))
            .collect()
    }

    /// The longest cell of each column.
    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        (0..columns).map(|column| width(column).unwrap_or(0)).collect()
    }
}

/// Takes from the widest column until the row fits, or nothing more can be taken.
fn fit(widths: &mut [usize], limit: usize) {
    let total = |widths: &[usize]| -> usize {
        let last = widths.len().saturating_sub(1);
        widths.iter().enumerate().map(|(at, width)| if at == last { *width } else { padded(*width) }).sum()
    };
    while total(widths) > limit {
        match widths.iter_mut().max_by_key(|width| **width) {
            Some(widest) if *widest > MIN_CUT => *widest -= 1,
            _ => break,
        }
    }
}

fn padded(width: usize) -> usize {
    (width + GAP).max(MIN_WIDTH)
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
        line.push_str(cell);
        if at + 1 < row.len() {
            let gap = padded(*width) - cell.chars().count();
            line.extend(std::iter::repeat_n(' ', gap));
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["ID", "COMMAND", "PORTS", "NAMES"]);
        table.row(vec![
            "0123456789ab".into(),
            "\"sleep 300 and more\"".into(),
            String::new(),
            "a_long_name_here".into(),
        ]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_dockers() {
        assert_eq!(
            table().lines(None),
            [
                "ID             COMMAND                PORTS     NAMES",
                "0123456789ab   \"sleep 300 and more\"             a_long_name_here",
            ]
        );
    }

    #[test]
    fn rows_are_cut_to_the_terminal_and_never_wrapped() {
        for limit in [1, 20, 40, 50, 60] {
            for line in table().lines(Some(limit)) {
                assert!(line.chars().count() <= limit, "{limit}: {line}");
            }
        }
        assert!(table().lines(Some(60))[1].ends_with("a_long_name_here") || table().lines(Some(60))[1].ends_with('…'));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let mut table = Table::new(&["A"]);
        table.row(vec!["x\u{1b}[2J\ny".into()]);
        assert_eq!(table.lines(None)[1], "x\u{fffd}[2J\u{fffd}y");
    }
}
