//! A worker that takes jobs from a queue and stops gracefully: it takes no more jobs, finishes the job in flight, then flushes.
//!
//! `cargo run --example worker` stops in the middle of its work and prints the report. With an argument, as in
//! `cargo run --example worker wait`, it works until Ctrl-C.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ripcord::{Context, Shutdown};
use tokio::sync::Notify;

/// The queue, and the results.
#[derive(Default)]
struct Queue {
    taken: AtomicUsize,
    done: AtomicUsize,
    third: Notify,
}

impl Queue {
    /// Takes the next job. The queue is never empty.
    fn take(&self) -> usize {
        let job = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        if job == 3 {
            self.third.notify_one();
        }
        job
    }

    async fn work(&self, ctx: &Context, job: usize) -> Result<(), ripcord::Error> {
        ctx.sleep(Duration::from_millis(50)).await?;
        self.done.fetch_add(1, Ordering::Relaxed);
        println!("job {job} is done");
        Ok(())
    }
}

/// Works until the drain begins. A started job is finished, unless the drain takes too long. In that case, its context ends.
async fn work(ctx: Context, queue: Arc<Queue>) -> Result<(), ripcord::Error> {
    while !ctx.is_draining() {
        queue.work(&ctx, queue.take()).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Arc::new(Queue::default());
    let flushed = Arc::clone(&queue);
    let shutdown = Shutdown::builder()
        .context(&Context::background().with_name("worker"))
        .drain(Duration::from_secs(10))
        .phase("flush", Duration::from_secs(5), |_ctx| async move {
            println!("flushing {} results", flushed.done.load(Ordering::Relaxed));
        })
        .phase("report", Duration::from_secs(5), |_ctx| async { Err("nobody listens") })
        .build();

    let worker = shutdown.context().with_name("queue").spawn(|ctx| work(ctx, Arc::clone(&queue)));
    let cleaner = shutdown.context().with_name("cleaner").spawn(|ctx| async move { ctx.draining().await });

    if std::env::args().nth(1).is_some() {
        shutdown.on_signals()?;
    } else {
        queue.third.notified().await;
        println!("stopping, with job 3 in flight");
        shutdown.begin("deployment");
    }
    let report = shutdown.run().await;
    worker.await??;
    cleaner.await?;
    for phase in report.phases() {
        println!("{}: {}", phase.name(), phase.outcome());
    }
    println!("canceled: {}, left: {}", report.canceled().len(), report.left().len());
    Ok(())
}
