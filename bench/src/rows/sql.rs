//! Q1: the cost of a query.

#[path = "../../../crates/ripcord-sql/tests/postgres/server.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod server;

use std::fs;
use std::time::{Duration, Instant};

use ripcord::Context;
use ripcord_sql::postgres::Pool;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Config, NoTls};

use crate::harness::{Bench, Figure, Measured};
use crate::http::on_one_core;
use crate::report::{Line, Rival, Target};
use crate::timing::nanoseconds;
use server::Server;

const DEADPOOL: &str = "deadpool";
const SQL: &str = "SELECT $1::int8";
const BACKEND: &str = "SELECT pg_backend_pid()";
const TIMEOUT: Duration = Duration::from_secs(5);
/// Number of queries of one side in one round.
const QUERIES: i64 = 2000;

/// Q1. The main task of a current-thread runtime asks a Postgres on a local socket for the value of a parameter, one query at a time,
/// through a pool of one connection. The statement is prepared once. Ours is `query_one` under a context with a timeout of five
/// seconds, created for each query: the query has a span, and the server knows the limit. The rival is deadpool-postgres as its
/// documentation shows it: `get`, `prepare_cached`, `query_one`. It has no timeout.
///
/// The figure is the time that the client's thread and the server's process ran per query, so other programs do not count. The two
/// share one core: they take turns anyway. The ratio is the median of the ratios of all rounds.
pub(super) fn query(bench: &Bench) -> Vec<Line> {
    on_one_core(|| measure(bench))
}

fn measure(bench: &Bench) -> Vec<Line> {
    let line =
        |measured, rival| vec![Line::time("Q1", "query, pool of one", measured, rival, Target::Ratio(0.95)).by_round()];
    let server = match Server::start() {
        Ok(server) => server,
        Err(reason) => {
            let rival = Rival { name: DEADPOOL, missing: Some(reason) };
            return line(Measured::new(Figure::default(), Figure::default()), rival);
        }
    };
    let config: Config = server.settings().parse().expect("the settings are valid");
    let (ours, deadpool) = (Ours::new(config.clone()), Deadpool::new(config));
    let queries = bench.size(QUERIES, 16);
    let per_query = |time: Duration| Some([nanoseconds(time) / queries as f64]);
    let [[ours], [deadpool]] = bench.interleave(
        bench.many_rounds(),
        [&mut || per_query(ours.time(queries)), &mut || per_query(deadpool.time(queries))],
    );
    line(Measured::new(ours, deadpool), Rival::named(DEADPOOL))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// Runs `work`, and returns the time that this thread and the server's process `backend` ran meanwhile.
fn cost(runtime: &Runtime, backend: i32, work: impl Future<Output = ()>) -> Duration {
    let processes = ["thread-self".to_owned(), backend.to_string()];
    let on_core = || processes.iter().map(|process| time_on_core(process)).sum::<Option<Duration>>();
    let (before, started) = (on_core(), Instant::now());
    runtime.block_on(work);
    // Where the system does not tell, this is the elapsed time.
    on_core().zip(before).map_or(started.elapsed(), |(after, before)| after - before)
}

/// Returns how long a process, or a thread of this one, has run.
fn time_on_core(process: &str) -> Option<Duration> {
    let statistics = fs::read_to_string(format!("/proc/{process}/schedstat")).ok()?;
    Some(Duration::from_nanos(statistics.split(' ').next()?.parse().ok()?))
}

struct Ours {
    runtime: Runtime,
    pool: Pool,
    backend: i32,
}

impl Ours {
    fn new(config: Config) -> Self {
        let pool = Pool::builder(config).max_size(1).build().expect("the settings are valid");
        let runtime = runtime();
        let ctx = Context::background();
        let backend = runtime.block_on(pool.query_one(&ctx, BACKEND, &[])).expect("the server answers").get(0);
        Ours { runtime, pool, backend }
    }

    fn time(&self, queries: i64) -> Duration {
        let root = Context::background();
        cost(&self.runtime, self.backend, async {
            for number in 0..queries {
                let ctx = root.with_timeout(TIMEOUT);
                let row = self.pool.query_one(&ctx, SQL, &[&number]).await.expect("the server answers");
                assert_eq!(row.get::<_, i64>(0), number);
            }
        })
    }
}

struct Deadpool {
    runtime: Runtime,
    pool: deadpool_postgres::Pool,
    backend: i32,
}

impl Deadpool {
    fn new(config: Config) -> Self {
        let manager = deadpool_postgres::Manager::new(config, NoTls);
        let pool = deadpool_postgres::Pool::builder(manager).max_size(1).build().expect("it needs no runtime");
        let runtime = runtime();
        let backend = runtime.block_on(async {
            let client = pool.get().await.expect("the server accepts");
            client.query_one(BACKEND, &[]).await.expect("the server answers").get(0)
        });
        Deadpool { runtime, pool, backend }
    }

    fn time(&self, queries: i64) -> Duration {
        cost(&self.runtime, self.backend, async {
            for number in 0..queries {
                let client = self.pool.get().await.expect("the server accepts");
                let statement = client.prepare_cached(SQL).await.expect("it is valid");
                let row = client.query_one(&statement, &[&number]).await.expect("the server answers");
                assert_eq!(row.get::<_, i64>(0), number);
            }
        })
    }
}
