//! The rate of four processes together. Each process writes one byte for each token, and the test counts the bytes.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ripcord::Context;
use ripcord_policy::Rate;
use ripcord_redis::{Client, OnOutage};

use crate::limiter::limiter;
use crate::server::{Server, until};

/// The argument with which this program is a worker.
pub(crate) const WORKER: &str = "--limiter-worker";

const WORKERS: usize = 4;
const RATE: f64 = 400.0;
const BURST: u32 = 40;
const WINDOW: Duration = Duration::from_secs(10);

/// Takes tokens until the reader of the standard output has gone. Writes one byte for each token.
pub(crate) fn work(url: &str) {
    // A slow answer of a busy machine must not count as an outage.
    let builder = Client::builder().url(url).timeout(Duration::from_secs(10)).retry_every(Duration::from_secs(1));
    let client = builder.build().expect("valid settings");
    let (limiter, _) = limiter(&client, Rate::per_second(RATE), BURST, OnOutage::Local);
    until("all workers are counted", || client.stats().peers == WORKERS);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let workers = (0..8).map(|_| {
            let limiter = limiter.clone();
            async move {
                let ctx = Context::background();
                loop {
                    limiter.wait(&ctx).await.expect("a token");
                    // The other tasks must run too, even if every token is available immediately.
                    tokio::task::yield_now().await;
                    let mut output = std::io::stdout();
                    if output.write_all(b".").and_then(|()| output.flush()).is_err() {
                        return;
                    }
                }
            }
        });
        let mut tasks = tokio::task::JoinSet::new();
        workers.for_each(|worker| drop(tasks.spawn(worker)));
        tasks.join_next().await;
    });
}

struct Workers(Vec<Child>);

impl Workers {
    fn start(server: &Server) -> Workers {
        let program = std::env::current_exe().expect("the path of this program");
        let start = || {
            let mut command = Command::new(&program);
            command.arg(WORKER).arg(server.url()).stdin(Stdio::null()).stdout(Stdio::piped());
            command.spawn().expect("this program starts")
        };
        Workers((0..WORKERS).map(|_| start()).collect())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.0 {
            let _ended_already = worker.kill();
            let _ended_already = worker.wait();
        }
    }
}

/// Counts the tokens of four workers in ten seconds, from the end of `prepare`. Returns the tokens and the measured time.
fn measure(server: &mut Server, prepare: impl FnOnce(&mut Server)) -> (f64, Duration) {
    let mut workers = Workers::start(server);
    let counts: Vec<AtomicU64> = (0..WORKERS).map(|_| AtomicU64::new(0)).collect();
    let outputs: Vec<_> = workers.0.iter_mut().map(|worker| worker.stdout.take().expect("a pipe")).collect();
    let total = || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
    std::thread::scope(|scope| {
        for (mut output, count) in outputs.into_iter().zip(&counts) {
            scope.spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = output.read(&mut bytes) {
                    count.fetch_add(read as u64, Ordering::Relaxed);
                }
            });
        }
        until("each worker has a token", || counts.iter().all(|count| count.load(Ordering::Relaxed) > 0));
        prepare(server);
        let (before, start) = (total(), Instant::now());
        std::thread::sleep(WINDOW);
        let (after, elapsed) = (total(), start.elapsed());
        // Ends the pipes, and so the threads.
        drop(workers);
        ((after - before) as f64, elapsed)
    })
}

pub(crate) fn four_processes_get_at_most_the_rate_and_one_burst() {
    let (tokens, elapsed) = measure(&mut Server::start(), |_| {});
    let due = RATE * elapsed.as_secs_f64();
    assert!(tokens <= due * 1.01 + f64::from(BURST), "{tokens} tokens in {elapsed:?}");
    assert_works(tokens, due);
}

pub(crate) fn four_processes_without_redis_get_at_most_the_rate_and_their_bursts() {
    let (tokens, elapsed) = measure(&mut Server::start(), Server::kill);
    let due = RATE * elapsed.as_secs_f64();
    assert!(tokens <= due * 1.05 + f64::from(BURST) * WORKERS as f64, "{tokens} tokens in {elapsed:?}");
    assert_works(tokens, due);
}

/// Checks that the workers have worked. On a busy machine, they cannot use the whole rate.
#[track_caller]
fn assert_works(tokens: f64, due: f64) {
    assert!(tokens >= due * 0.1, "{tokens} tokens, and {due} were due");
}
