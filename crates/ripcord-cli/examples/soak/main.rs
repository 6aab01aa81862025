//! Sends a million requests. The clients abandon a tenth of them, and a tenth exceed the deadline.
//!
//! `cargo run --release --example soak`, or `-- 10000000` for more.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

mod load;

use std::{error::Error, process::ExitCode};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let requests = match std::env::args().nth(1) {
        Some(argument) => {
            argument.parse().map_err(|error| format!("expected a number of requests, got {argument:?}: {error}"))?
        }
        None => 1_000_000,
    };
    let report = load::run(requests).await?;

    let load::Seen { answered, timed_out, given_up } = report.seen;
    let seconds = report.took.as_secs_f64();
    println!("{requests} requests in {seconds:.1} s, {:.0}/s", requests as f64 / seconds);
    println!("answered {answered}, timed out {timed_out}, abandoned {given_up}");
    println!("left: {} in flight, {} Contexts held", report.stats.in_flight, report.stats.held);
    if let Some((warm, end)) = report.memory {
        println!("memory: {} KiB after a tenth of the requests, {} KiB after all", warm / 1024, end / 1024);
    }
    let stats = report.stats;
    let is_right = (stats.requests, stats.timed_out, stats.disconnected) == (requests, timed_out, given_up);
    println!("the server's counts {}", if is_right { "match" } else { "differ" });
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
