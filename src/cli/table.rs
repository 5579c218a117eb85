//! Tables in Docker's layout: upper-case headers, columns of at least ten and three apart, nothing else.
//!
//! Complete in a pipe. On a terminal rows are never wrapped: when they are too long, gaps shrink to one, columns without any
//! content go, and the widest ones are cut with `…`. Ids stay whole as long as anything else can give.

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
/// The gap between columns when they do not fit otherwise.
const NARROW_GAP: usize = 1;
/// No column is cut below this.
const MIN_CUT: usize = 6;

/// A table that is printed at once.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headers: &[&str]) -> Table {
        Table { rows: vec![headers.iter().map(|&header| header.to_owned()).collect()] }
    }

    /// A table from lines whose cells end at tabs, if all lines have the same cells.
    pub(crate) fn of_lines(text: &str) -> Option<Table> {
        let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        let mut table = Table::new(&lines.next()?);
        for cells in lines {
            if cells.len() != table.rows[0].len() {
                return None;
            }
            table.row(cells.into_iter().map(str::to_owned).collect());
        }
        Some(table)
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
        let wide = Spacing { gap: GAP, least: MIN_WIDTH };
        let Some(limit) = limit.filter(|limit| wide.total(&self.widths()) > *limit) else {
            let widths = self.widths();
            return self.rows.iter().map(|row| wide.line(row, &widths)).collect();
        };
        let narrow = Spacing { gap: NARROW_GAP, least: 0 };
        if narrow.total(&self.widths()) > limit {
            self.drop_empty_columns();
        }
        let mut widths = self.widths();
        self.cut(&mut widths, narrow, limit);
        for row in &mut self.rows {
            for (cell, width) in row.iter_mut().zip(&widths) {
                *cell = ellipsis(cell, *width);
            }
        }
        self.rows.iter().map(|row| ellipsis(&narrow.line(row, &widths), limit)).collect()
    }

    /// The longest cell of each column.
    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        (0..columns).map(|column| width(column).unwrap_or(0)).collect()
    }

    /// Takes from the widest column until the rows fit, or nothing more can be taken.
    fn cut(&self, widths: &mut [usize], spacing: Spacing, limit: usize) {
        let is_id = |column: usize| self.rows[0][column].ends_with("ID");
        while spacing.total(widths) > limit {
            let widest = (0..widths.len()).filter(|&column| !is_id(column)).max_by_key(|&column| widths[column]);
            match widest {
                Some(column) if widths[column] > MIN_CUT => widths[column] -= 1,
                _ => break,
            }
        }
    }

    fn drop_empty_columns(&mut self) {
        let columns = self.rows.first().map_or(0, Vec::len);
        for column in (0..columns).rev() {
            if self.rows[1..].iter().all(|row| row.get(column).is_none_or(String::is_empty)) && self.rows.len() > 1 {
                for row in self.rows.iter_mut().filter(|row| column < row.len()) {
                    row.remove(column);
                }
            }
        }
    }
}

/// How far columns are apart.
#[derive(Clone, Copy)]
struct Spacing {
    gap: usize,
    least: usize,
}

impl Spacing {
    fn padded(self, width: usize) -> usize {
        (width + self.gap).max(self.least)
    }

    /// The length of the longest row.
    fn total(self, widths: &[usize]) -> usize {
        let Some((last, others)) = widths.split_last() else { return 0 };
        others.iter().map(|width| self.padded(*width)).sum::<usize>() + last
    }

    fn line(self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            line.push_str(cell);
            if at + 1 < row.len() {
                line.extend(std::iter::repeat_n(' ', self.padded(*width) - cell.chars().count()));
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
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
        assert_eq!(
            table().lines(Some(52)),
            ["ID           COMMAND              NAMES", "0123456789ab \"sleep 300 and more\" a_long_name_here"]
        );
        assert_eq!(
            table().lines(Some(40)),
            ["ID           COMMAND       NAMES", "0123456789ab \"sleep 300 a… a_long_name_…"]
        );
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let mut table = Table::new(&["A"]);
        table.row(vec!["x\u{1b}[2J\ny".into()]);
        assert_eq!(table.lines(None)[1], "x\u{fffd}[2J\u{fffd}y");
    }
}
