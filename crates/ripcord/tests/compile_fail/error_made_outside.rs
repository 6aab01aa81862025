//! An error says who ended which context, so only a context makes one.

use ripcord::{Error, ErrorKind, Origin};

fn main() {
    let _error = Error { kind: ErrorKind::Canceled };
    let _origin = Origin {};
    let _error = Error::new(ErrorKind::Canceled);
}
