//! A worker pool controlled and observed through contexts.
//!
//! It solves exercise 2 of a Go context tutorial, and more. Run it with `cargo run --example worker_pool`.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::Duration;

use ripcord::Context;
use ripcord_policy::pool::{Overflow, WorkerPool, WorkerState};

const MS: Duration = Duration::from_millis(1);

/// Takes 30 ms, unless the job is canceled.
async fn work(ctx: Context, number: u32) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    ctx.sleep(30 * MS).await?;
    if number == 3 {
        return Err("job 3 failed".into());
    }
    Ok(number * number)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("=== Context-Aware Worker Pool ===");

    // `build` starts the workers.
    let ctx = Context::background();
    let pool = WorkerPool::builder().name("squares").workers(2).queue(8).overflow(Overflow::Reject).build(&ctx)?;

    println!("\n1. Submit a job and await it");
    let job = pool.submit(&ctx, |ctx| work(ctx, 6)).await?;
    println!("  job {}: {}", job.id(), job.await?);

    println!("\n2. Results, in the order in which jobs finish");
    let mut results = pool.results();
    for number in 1..=4 {
        drop(pool.submit(&ctx, move |ctx| work(ctx, number)).await?);
    }
    for _ in 1..=4 {
        let Some(finished) = results.next(&ctx).await? else { break };
        match finished.take::<u32>() {
            Some(Ok(square)) => println!("  job {}: {square}", finished.id()),
            Some(Err(error)) => println!("  job {}: {error}", finished.id()),
            None => println!("  job {}: its handle owns the result", finished.id()),
        }
    }
    drop(results);

    println!("\n3. A job that panics, and a job that blocks");
    let panics = pool.submit(&ctx, |_ctx| async { Err::<(), std::io::Error>(panic_quietly()) }).await?;
    println!("  {}", panics.await.unwrap_err());
    let blocks = pool.submit_blocking(&ctx, |_ctx| Ok::<_, std::io::Error>("ran on a thread of its own")).await?;
    println!("  {}", blocks.await?);

    println!("\n4. Statistics show every worker");
    let (batch, cancel) = ctx.with_name("batch").with_cancel();
    let mut jobs = Vec::new();
    for number in 1..=10 {
        match pool.submit(&batch, move |ctx| work(ctx, number)).await {
            Ok(job) => jobs.push(job),
            Err(refused) => println!("  job refused: {refused}"),
        }
    }
    println!("  one job too many: {}", pool.submit(&batch, |ctx| work(ctx, 11)).await.unwrap_err());
    ctx.sleep(5 * MS).await?;
    let stats = pool.stats();
    println!("  {} running, {} queued", stats.running, stats.queued);
    for worker in stats.workers {
        match worker.state {
            WorkerState::Idle => println!("  worker {}: idle", worker.id),
            WorkerState::Running { job, .. } => println!("  worker {}: running job {job}", worker.id),
        }
    }

    println!("\n5. The end of the submitter's context cancels running and waiting jobs");
    cancel.cancel_with("the batch is no longer wanted");
    let mut canceled = 0;
    for job in jobs {
        canceled += u32::from(job.await.is_err_and(|error| error.is_canceled()));
    }
    println!("  {canceled} jobs canceled");

    println!("\n6. More workers");
    pool.resize(4)?;
    println!("  {} workers", pool.stats().workers.len());

    println!("\n7. Shutdown runs the accepted jobs, for at most ten seconds");
    let last = pool.submit(&ctx, |ctx| work(ctx, 9)).await?;
    pool.shutdown(&ctx.with_timeout(Duration::from_secs(10))).await?;
    println!("  the last job: {}", last.await?);
    println!("  a job after it: {}", pool.submit(&ctx, |ctx| work(ctx, 1)).await.unwrap_err());

    println!("\n8. The end of the pool's context cancels its jobs and closes it");
    let (program, end) = ctx.with_name("program").with_cancel();
    let other = WorkerPool::builder().workers(2).build(&program)?;
    let running = other.submit(&ctx, |ctx| work(ctx, 1)).await?;
    end.cancel_with("the program ends");
    println!("  the job: {}", running.await.unwrap_err());
    println!("  a job after it: {}", other.submit(&ctx, |ctx| work(ctx, 2)).await.unwrap_err());
    other.shutdown(&ctx).await?;
    println!("  {} workers", other.stats().workers.len());

    let stats = pool.stats();
    println!(
        "\nthe first pool: {} started, {} succeeded, {} failed ({} panicked), {} canceled; {} rejected",
        stats.calls.started,
        stats.calls.succeeded,
        stats.calls.failed,
        stats.panicked,
        stats.calls.canceled,
        stats.calls.rejected
    );
    Ok(())
}

/// Panics without the default hook's message, which would be part of this example's output.
fn panic_quietly() -> std::io::Error {
    std::panic::resume_unwind(Box::new("at the disco"))
}
