//! Tests the real binary over real sockets.

#[path = "../common/mod.rs"]
mod common;

mod connections;
mod logs;
mod requests;
mod settings;

use common::run;

/// Runs the binary, which must print a one-line error and exit with code 2. Returns the line.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let (code, stdout, mut stderr) = run(args);
    assert_eq!((code, stdout.len(), stderr.len()), (Some(2), 0, 1), "{stdout:?} {stderr:?}");
    stderr.remove(0)
}
