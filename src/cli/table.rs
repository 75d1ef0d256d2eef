//! Columns that line up.

use anstyle::Style;

use super::paint::{DIM, PLAIN, Paint, plain};

const GAP: &str = "  ";

/// A cell: text that is safe to print, and how it looks.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    pub fn new(text: &str) -> Self {
        Self::styled(PLAIN, text)
    }

    pub fn styled(style: Style, text: &str) -> Self {
        Cell {
            text: plain(text).into_owned(),
            style,
            right: false,
        }
    }

    /// A number, which stands to the right.
    pub fn number(value: u64) -> Self {
        Cell {
            right: true,
            ..Self::new(&value.to_string())
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// A table with a head.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(head: &[&'static str]) -> Self {
        Table {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, each line ended. A column of numbers has its head to the right too.
    pub fn render(&self, paint: Paint) -> String {
        let width_of = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let head = self.head.get(column).map_or(0, |head| head.chars().count());
            cells.map(Cell::width).fold(head, usize::max)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width_of).collect();
        let is_right = |column: usize| {
            let first = self.rows.first().and_then(|row| row.get(column));
            first.is_some_and(|cell| cell.right)
        };
        let head = self.head.iter().enumerate().map(|(column, text)| Cell {
            right: is_right(column),
            ..Cell::styled(DIM, text)
        });
        let head: Vec<Cell> = head.collect();
        let mut out = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            line(&mut out, row, &widths, paint);
        }
        out
    }
}

fn line(out: &mut String, row: &[Cell], widths: &[usize], paint: Paint) {
    let last = widths.len().saturating_sub(1);
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        if column > 0 {
            out.push_str(GAP);
        }
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        let text = paint.paint(cell.style, &cell.text);
        match (cell.right, column == last) {
            (true, _) => out.extend([padding.as_str(), &text]),
            (false, true) => out.push_str(&text),
            (false, false) => out.extend([text.as_str(), &padding]),
        }
    }
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::paint::BAD;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let mut table = Table::new(&["ID", "N", "NOTE"]);
        table.row(vec![Cell::new("ä"), Cell::number(7), Cell::new("")]);
        table.row(vec![
            Cell::styled(BAD, "long\x1b"),
            Cell::number(1234),
            Cell::new("x"),
        ]);
        let plain = table.render(Paint { colour: false });
        assert_eq!(
            plain,
            "ID             N  NOTE\n\
             ä              7\n\
             long\\u{1b}  1234  x\n"
        );
        let coloured = table.render(Paint { colour: true });
        assert!(coloured.contains("\x1b[31mlong\\u{1b}\x1b[0m  1234  x\n"));
    }
}
