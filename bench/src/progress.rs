//! What is being measured right now, on stderr, so that stdout holds nothing but the table.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};

#[derive(Debug, Default)]
pub(crate) struct Progress {
    row: RefCell<String>,
}

impl Progress {
    /// A row begins.
    pub(crate) fn row(&self, id: &str, title: &str) {
        *self.row.borrow_mut() = format!("{id} {title}");
        if !io::stderr().is_terminal() {
            self.say(&format!("measuring {id} {title}"));
        }
    }

    /// A round of that row begins; shown only where the line can be written over.
    pub(crate) fn round(&self, round: usize, rounds: usize) {
        if io::stderr().is_terminal() {
            let row = self.row.borrow();
            // Losing a line of progress is no reason to stop measuring.
            let _ = write!(io::stderr(), "\r\x1b[2Kmeasuring {row}, round {round} of {rounds}");
        }
    }

    /// Something worth a line of its own.
    pub(crate) fn say(&self, message: &str) {
        self.clear();
        let _ = writeln!(io::stderr(), "{message}");
    }

    /// Takes the line back, before something else is printed.
    pub(crate) fn clear(&self) {
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}
