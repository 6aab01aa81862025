//! Reads a command's output line by line, and cancels the command after the wanted lines.
//!
//! `cargo run -p ripcord-process --example streamed_lines`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::error::Error;
use std::process::Stdio;

use ripcord::Context;
use ripcord_process::Command;
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (ctx, cancel) = Context::background().with_name("search").with_cancel();
    let mut child = Command::new("yes").arg("a line").stdout(Stdio::piped()).spawn(&ctx)?;
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    for number in 1..=3 {
        let line = lines.next_line().await?.unwrap_or_default();
        println!("{number}: {line}");
    }
    cancel.cancel_with("three lines are enough");
    let error = child.wait().await.unwrap_err();
    println!("{error}: {}", error.context_error().and_then(|error| error.cause()).expect("there is a cause"));
    Ok(())
}
