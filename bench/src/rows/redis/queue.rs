//! R3: the cost of a job of a queue over Redis.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use apalis_core::backend::TaskSink as _;
use apalis_core::error::BoxDynError;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::ext::parallelize::ParallelizeExt as _;
use apalis_redis::{Config, RedisStorage};
use ripcord::Context;
use ripcord_redis::{Client, Queue};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::server::{Server, client};
use super::{not_run, start};
use crate::harness::{Bench, Measured};
use crate::report::{Line, Rival, Target};
use crate::timing::nanoseconds;

const WHAT: &str = "Redis queue, submit and run a job";
const APALIS: &str = "apalis-redis";
const TARGET: Target = Target::NoWorse(0.05);
/// Number of jobs of one side in one round.
const JOBS: u64 = 5_000;
/// Number of jobs that one command submits.
const BATCH: usize = 200;
/// Number of jobs that a worker runs at a time.
const CONCURRENCY: usize = 64;

/// R3. A process on a runtime with two threads submits 5,000 jobs, each a number, with 200 jobs per command. Then one worker in this
/// process runs them, up to 64 at a time, in tasks. A job does nothing. The Redis on a loopback port keeps its data in memory. Ours has
/// the lease of the defaults and no retries. The rival is apalis-redis as its documentation shows it: `push_bulk`, and a worker with
/// `parallelize` and batches of 64 jobs, where the default is 10. It keeps the results of jobs; ours deletes a job that is done. It
/// cannot start with more than about 8,000 waiting jobs, because one of its scripts then fails.
///
/// The figure is the time from the first submit until the last job runs, per job.
pub(in crate::rows) fn jobs(bench: &Bench) -> Vec<Line> {
    let Some(server) = start() else { return vec![not_run("R3", WHAT, APALIS, TARGET)] };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts");
    let client = client(&server);
    let jobs = bench.size(JOBS, 128);
    let [[ours], [apalis]] = bench.interleave(
        bench.few_rounds(),
        [&mut || ours(&server, &client, &runtime, jobs), &mut || apalis(&server, &runtime, jobs)],
    );
    vec![Line::time("R3", WHAT, Measured::new(ours, apalis), Rival::named(APALIS), TARGET).by_round()]
}

/// Counts the jobs that have run.
#[derive(Clone)]
struct Jobs(Arc<(AtomicU64, Notify)>);

impl Jobs {
    fn new(jobs: u64) -> Jobs {
        Jobs(Arc::new((AtomicU64::new(jobs), Notify::new())))
    }

    fn count(&self) {
        if self.0.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.1.notify_one();
        }
    }

    /// Drives `worker` until the last job has run. Returns the time per job.
    async fn until_done(&self, started: Instant, jobs: u64, worker: impl Future) -> Option<[f64; 1]> {
        tokio::select! {
            () = self.0.1.notified() => Some([nanoseconds(started.elapsed()) / jobs as f64]),
            _ = worker => panic!("the worker has ended"),
        }
    }
}

fn ours(server: &Server, client: &Client, runtime: &Runtime, jobs: u64) -> Option<[f64; 1]> {
    server.command(&["FLUSHALL"]);
    let (left, ctx) = (Jobs::new(jobs), Context::background());
    runtime.block_on(async {
        let queue = Queue::builder("bench").client(client).build().expect("the settings are valid");
        let started = Instant::now();
        queue.submit_all(&ctx, 0..jobs).await.expect("the server answers");
        let counted = left.clone();
        let handler = move |_, _: u64| {
            counted.count();
            async { Ok::<_, Infallible>(()) }
        };
        left.until_done(started, jobs, queue.worker().concurrency(CONCURRENCY).run(&ctx, handler)).await
    })
}

fn apalis(server: &Server, runtime: &Runtime, jobs: u64) -> Option<[f64; 1]> {
    server.command(&["FLUSHALL"]);
    let left = Jobs::new(jobs);
    runtime.block_on(async {
        let connection = apalis_redis::connect(server.url()).await.expect("the server accepts");
        let config = Config::default().queue("bench").batch_size(CONCURRENCY);
        let mut storage = RedisStorage::<u64>::new(connection).with_config(config);
        let started = Instant::now();
        for batch in (0..jobs).collect::<Vec<_>>().chunks(BATCH) {
            storage.push_bulk(batch.to_vec()).await.expect("the server answers");
        }
        let counted = left.clone();
        let handler = move |_: u64| {
            let counted = counted.clone();
            async move {
                counted.count();
                Ok::<(), BoxDynError>(())
            }
        };
        let worker = WorkerBuilder::new("bench").backend(storage).parallelize(tokio::spawn).build(handler);
        left.until_done(started, jobs, worker.run()).await
    })
}
