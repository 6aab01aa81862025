//! A program that runs itself as a child process. The child gets the remaining time of its parent.
//!
//! `cargo run -p ripcord-process --example deadline_of_the_parent`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::env;
use std::time::Duration;

use ripcord::Context;
use ripcord_process::{Command, FromEnv as _, InheritedDeadline};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    match env::args().nth(1).as_deref() {
        Some("child") => child(&Context::from_env()),
        _ => parent().await?,
    }
    Ok(())
}

async fn parent() -> Result<(), Box<dyn std::error::Error>> {
    let ctx = Context::background().with_name("nightly").with_timeout(Duration::from_secs(60));
    let output = Command::new(env::current_exe()?).arg("child").output(&ctx).await?;
    print!("{}", String::from_utf8_lossy(&output.stdout));

    // A context without a deadline passes no deadline to the child.
    let output = Command::new(env::current_exe()?).arg("child").output(&ctx.without_cancel()).await?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn child(ctx: &Context) {
    match (ctx.remaining(), ctx.value::<InheritedDeadline>()) {
        (Some(left), Some(inherited)) => {
            println!("{inherited} leaves less than a minute: {}", left < Duration::from_secs(60));
        }
        _ => println!("there is no deadline"),
    }
}
