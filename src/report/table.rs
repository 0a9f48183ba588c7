//! A Markdown table of at most so many bytes.

/// Rows are taken while they fit; how many did not is said below the table.
/// The room of all tables together, and what stands between them, is less than
/// [`super::LONGEST`].
pub struct Table {
    written: String,
    room: usize,
    rows: usize,
    left_out: usize,
}

impl Table {
    /// An empty table of at most `room` bytes.
    pub fn new(room: usize, columns: &[&str]) -> Self {
        let heading = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
        Self { written: heading, room, rows: 0, left_out: 0 }
    }

    /// One more row; its cells are escaped already.
    pub fn row(&mut self, cells: &[&str]) {
        let row = format!("| {} |\n", cells.join(" | "));
        // Once one is left out all that follow are, so that no gap looks like the whole.
        if self.left_out > 0 || self.written.len() + row.len() > self.room {
            self.left_out += 1;
        } else {
            self.written.push_str(&row);
            self.rows += 1;
        }
    }

    /// The table, or `otherwise` if it has no rows.
    pub fn or(self, otherwise: &str) -> String {
        if self.rows == 0 && self.left_out == 0 {
            return format!("{otherwise}\n");
        }
        let Self { mut written, left_out, .. } = self;
        if left_out > 0 {
            written.push_str(&format!(
                "\n_{left_out} more rows do not fit into this report; they are in the status of the Incident._\n"
            ));
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_do_not_fit_are_counted() {
        let mut table = Table::new(40, &["a", "b"]);
        for row in ["1", "2", "a very long one indeed", "3"] {
            table.row(&[row, row]);
        }
        let written = table.or("none");
        assert!(written.contains("| 2 | 2 |") && !written.contains("| 3 | 3 |"));
        assert!(written.contains("2 more rows"));
    }

    #[test]
    fn an_empty_table_is_a_sentence() {
        assert_eq!(Table::new(100, &["a"]).or("Nothing."), "Nothing.\n");
    }
}
