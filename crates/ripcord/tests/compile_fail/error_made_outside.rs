//! An error says who ended which context, so only a context makes one.

use ripcord::{Error, ErrorKind};

fn main() {
    let _error = Error::new(ErrorKind::Canceled);
    let _error = Error::default();
}
