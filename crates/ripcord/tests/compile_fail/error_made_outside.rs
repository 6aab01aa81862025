//! An error says how a context ended, so only a context can create one.

use ripcord::{Error, ErrorKind};

fn main() {
    let _error = Error::new(ErrorKind::Canceled);
    let _error = Error::default();
}
