//! Shows on stderr which row is being measured. Stdout contains only the table.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    row: RefCell<String>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress { start: Instant::now(), row: RefCell::default() }
    }

    /// Shows that a row starts.
    pub(crate) fn row(&self, id: &str, title: &str) {
        *self.row.borrow_mut() = format!("{id} {title}");
        if !io::stderr().is_terminal() {
            self.say(&format!("{:4} s  measuring {id} {title}", self.start.elapsed().as_secs()));
        }
    }

    /// Shows that a round of the current row starts. Replaces the line on a terminal. Does nothing if stderr is not a terminal.
    pub(crate) fn round(&self, round: usize, rounds: usize) {
        if io::stderr().is_terminal() {
            let row = self.row.borrow();
            let seconds = self.start.elapsed().as_secs();
            // A failed write of progress does not stop the run.
            let _ = write!(io::stderr(), "\r\x1b[2K{seconds:4} s  measuring {row}, round {round} of {rounds}");
        }
    }

    /// Prints a message on its own line.
    pub(crate) fn say(&self, message: &str) {
        self.clear();
        let _ = writeln!(io::stderr(), "{message}");
    }

    /// Erases the line that [`round`](Progress::round) wrote.
    pub(crate) fn clear(&self) {
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}
