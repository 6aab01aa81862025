//! A command with a deadline: its partial output is kept, and its whole process tree is ended.
//!
//! `cargo run -p ripcord-process --example partial_output`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::Duration;

use ripcord::Context;
use ripcord_process::{Command, Error};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let ctx = Context::background().with_name("report").with_timeout(Duration::from_secs(1));

    // This command ends in time.
    let output = Command::new("echo").arg("all pages").output(&ctx).await?;
    print!("in time: {}", String::from_utf8_lossy(&output.stdout));

    // This command cleans up when it receives SIGTERM, but has a child that does not end without a signal.
    let script = "trap 'echo cleaned up; exit 0' TERM; echo page 1; sleep 3600 & wait";
    let error = Command::new("sh").args(["-c", script]).output(&ctx).await.unwrap_err();
    println!("error: {error}");
    println!("deadline exceeded: {}", error.is_deadline_exceeded());
    let output = error.into_output().expect("the command was started");
    println!("status: {}, killed: {}", output.exit.status(), output.exit.was_killed());
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
