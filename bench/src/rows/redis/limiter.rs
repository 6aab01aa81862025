//! R1: the cost of a decision of a limiter over Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Script};
use ripcord::Context;
use ripcord_policy::{Rate, RateLimiter};
use ripcord_redis::{Limiter, OnOutage};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::server::{Server, client};
use super::{not_run, start};
use crate::harness::{Bench, Measured};
use crate::report::{Line, Rival, Target};
use crate::timing::nanoseconds;

const WHAT: &str = "Redis limiter, 64 in flight";
const DIRECT: &str = "the script alone";
const TARGET: Target = Target::Ratio(0.9);
/// The script of the limiter.
const CLAIM: &str = concat!(
    include_str!("../../../../crates/ripcord-redis/src/limiter/bucket.lua"),
    include_str!("../../../../crates/ripcord-redis/src/limiter/claim.lua")
);
/// Number of requests in flight.
const TASKS: u64 = 64;
/// Number of requests of one side in one round.
const REQUESTS: u64 = 100_000;
const TIMEOUT: Duration = Duration::from_secs(5);
const RATE: f64 = 1e9;
const BURST: u32 = 1_000_000_000;

/// R1. 64 tasks on a runtime with two threads request tokens of one bucket in a Redis on a loopback port, each one after the other.
/// Every request is granted. Ours is `RateLimiter::wait` with a `Limiter` as the backend, under a context with a timeout of five
/// seconds. The rival calls the same script by `EVALSHA` through the crate `redis` with a connection that all tasks share. It has
/// no timeout, no breaker and no refunds.
///
/// The figure is the elapsed time per request. The ratio is the median of the ratios of all rounds.
pub(in crate::rows) fn wait(bench: &Bench) -> Vec<Line> {
    let Some(server) = start() else { return vec![not_run("R1", WHAT, DIRECT, TARGET)] };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts");
    let (ours, direct) = (Caller::ours(&server), Caller::direct(&server, &runtime));
    let requests = bench.size(REQUESTS, 640);
    let [[ours], [direct]] = bench.interleave(
        bench.few_rounds(),
        [&mut || time(&runtime, requests, &ours), &mut || time(&runtime, requests, &direct)],
    );
    vec![Line::time("R1", WHAT, Measured::new(ours, direct), Rival::named(DIRECT), TARGET).by_round()]
}

/// Runs `TASKS` tasks, each of which makes its share of the requests. Returns the time per request.
fn time(runtime: &Runtime, requests: u64, caller: &Caller) -> Option<[f64; 1]> {
    let started = Instant::now();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let mut caller = caller.clone();
            tasks.spawn(async move {
                for _ in 0..requests / TASKS {
                    caller.request().await;
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no request panics");
        }
    });
    Some([nanoseconds(started.elapsed()) / requests as f64])
}

#[derive(Clone)]
enum Caller {
    Ours(RateLimiter, Context),
    Direct { connection: MultiplexedConnection, script: Arc<Script>, promises: Arc<AtomicU64> },
}

impl Caller {
    fn ours(server: &Server) -> Caller {
        let backend = Limiter::new(&client(server), "ours", OnOutage::Closed);
        let limiter = RateLimiter::builder().rate(Rate::per_second(RATE)).burst(BURST).backend(backend).build();
        Caller::Ours(limiter.expect("the settings are valid"), Context::background())
    }

    fn direct(server: &Server, runtime: &Runtime) -> Caller {
        let client = redis::Client::open(server.url()).expect("the URL is valid");
        // The default timeout of the connection would be a difference.
        let settings = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = runtime.block_on(client.get_multiplexed_async_connection_with_config(&settings));
        Caller::Direct {
            connection: connection.expect("the server accepts"),
            script: Arc::new(Script::new(CLAIM)),
            promises: Arc::default(),
        }
    }

    async fn request(&mut self) {
        match self {
            Caller::Ours(limiter, root) => {
                let waited = limiter.wait(&root.with_timeout(TIMEOUT)).await.expect("a token is there");
                assert!(waited.is_zero());
            }
            Caller::Direct { connection, script, promises } => {
                let promise = promises.fetch_add(1, Ordering::Relaxed);
                let mut call = script.prepare_invoke();
                call.key("{limiter:direct}:bucket:").key("{limiter:direct}:promises:").key("{limiter:direct}:settings");
                call.arg(RATE).arg(1_000_000_000).arg(BURST).arg(0).arg(1).arg(TIMEOUT.as_micros() as u64);
                call.arg(format!("direct-{promise:x}"));
                let answer: (u8, u64) = call.invoke_async(connection).await.expect("the server answers");
                assert_eq!(answer, (1, 0));
            }
        }
    }
}
