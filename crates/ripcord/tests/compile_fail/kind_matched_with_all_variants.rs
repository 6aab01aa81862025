//! Two ways to end, as in Go, and a caller's match over both is complete; a value that is neither does not exist.

use ripcord::ErrorKind;

fn told(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Canceled => "canceled",
    }
}

fn main() {
    told(ErrorKind::DeadlineExceeded);
}
