//! A context ends in two ways, as in Go. A caller's match over both is complete, and a third variant does not exist.

use ripcord::ErrorKind;

fn told(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Canceled => "canceled",
    }
}

fn main() {
    told(ErrorKind::DeadlineExceeded);
}
