//! What the tests share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ripcord::Context;
use ripcord_sql::postgres::tokio_postgres::{Client, Config, NoTls};
use ripcord_sql::postgres::{Pool, PoolBuilder};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::server::Server;

/// No test takes this long unless it hangs. 10,000 cancels take some minutes.
const PATIENCE: Duration = Duration::from_secs(1800);

pub(crate) struct Fixture<'a> {
    pub(crate) server: &'a Server,
    /// The name of the pool's connections. Each test has its own.
    name: String,
}

impl<'a> Fixture<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        static TESTS: AtomicU32 = AtomicU32::new(0);
        Fixture { server, name: format!("pool {}", TESTS.fetch_add(1, Ordering::Relaxed)) }
    }

    /// Runs a test on a runtime of its own.
    pub(crate) fn run(&self, test: impl AsyncFnOnce(&Fixture<'_>)) {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts");
        runtime.block_on(async { timeout(PATIENCE, test(self)).await.expect("the test does not hang") });
    }

    pub(crate) fn config(&self) -> Config {
        let mut config: Config = self.server.settings().parse().expect("the settings are valid");
        config.application_name(&self.name);
        config
    }

    pub(crate) fn builder(&self) -> PoolBuilder {
        Pool::builder(self.config()).max_size(1).grace(Duration::from_secs(5))
    }

    /// Returns a pool of one connection.
    pub(crate) fn pool(&self) -> Pool {
        self.builder().build().expect("the settings are valid")
    }

    /// Connects outside of the pool.
    pub(crate) async fn admin(&self) -> Admin {
        let mut config = self.config();
        let (client, connection) = config.application_name("admin").connect(NoTls).await.expect("the server accepts");
        tokio::spawn(connection);
        Admin { client, name: self.name.clone() }
    }

    /// Starts a TCP proxy to the server.
    pub(crate) async fn proxy(&self) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (state, watched) = watch::channel(Traffic::Flows);
        let socket = Arc::new(self.server.socket());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (socket, watched) = (Arc::clone(&socket), watched.clone());
                tokio::spawn(async move {
                    let server = UnixStream::connect(&*socket).await.expect("the server listens");
                    let ((client_read, client_write), (server_read, server_write)) =
                        (client.into_split(), server.into_split());
                    tokio::spawn(forward(server_read, client_write, watched.clone(), &[Traffic::Stops]));
                    forward(client_read, server_write, watched, &[Traffic::Stops, Traffic::StopsRequests]).await;
                });
            }
        });
        Proxy { address, state, name: self.name.clone() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    Flows,
    Stops,
    /// Only the server's answers flow.
    StopsRequests,
    Breaks,
}

/// A proxy between a pool and the server.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: watch::Sender<Traffic>,
    name: String,
}

impl Proxy {
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new();
        config.host(self.address.ip().to_string()).port(self.address.port()).user("postgres").dbname("postgres");
        config.application_name(&self.name);
        config
    }

    pub(crate) fn set(&self, traffic: Traffic) {
        let _ = self.state.send(traffic);
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<Traffic>,
    stops: &'static [Traffic],
) {
    let mut buffer = [0; 4096];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = state.wait_for(|state| *state == Traffic::Breaks) => return,
        };
        let Ok(length @ 1..) = read else { break };
        let Ok(now) = state.wait_for(|state| !stops.contains(state)).await.map(|state| *state) else { return };
        if now == Traffic::Breaks || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// A client outside of the pool.
pub(crate) struct Admin {
    client: Client,
    name: String,
}

impl Admin {
    /// Returns what the pool's connections are doing, except for idle ones.
    pub(crate) async fn activity(&self) -> Vec<String> {
        let sql =
            "SELECT concat(state, ': ', query) FROM pg_stat_activity WHERE application_name = $1 AND state <> 'idle'";
        let rows = self.client.query(sql, &[&self.name]).await.expect("the server answers");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Waits until the pool's connections do something that `is_wanted`.
    pub(crate) async fn wait_for(&self, is_wanted: impl Fn(&[String]) -> bool) {
        let started = Instant::now();
        loop {
            let activity = self.activity().await;
            if is_wanted(&activity) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "still: {activity:?}");
            tokio::task::yield_now().await;
        }
    }

    /// Waits until a statement of the pool sleeps. One that is being prepared has the same text, so the text does not tell.
    pub(crate) async fn wait_for_sleep(&self) {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event = 'PgSleep'";
        let started = Instant::now();
        while self.client.query_one(sql, &[&self.name]).await.expect("the server answers").get::<_, i64>(0) == 0 {
            assert!(started.elapsed() < Duration::from_secs(60), "nothing sleeps: {:?}", self.activity().await);
            tokio::task::yield_now().await;
        }
    }

    /// Waits until nothing of the pool runs, and returns how long that took.
    pub(crate) async fn wait_for_nothing(&self) -> Duration {
        let started = Instant::now();
        self.wait_for(<[String]>::is_empty).await;
        started.elapsed()
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.expect("the server accepts it");
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        let row = self.client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await;
        row.expect("the table exists").get(0)
    }
}

/// Returns the shortest of five times. Other programs may delay one, not all.
pub(crate) async fn least_of_five(mut time: impl AsyncFnMut() -> Duration) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..5 {
        least = least.min(time().await);
    }
    least
}

pub(crate) fn background() -> Context {
    Context::background()
}

pub(crate) fn within(milliseconds: u64) -> Context {
    Context::background().with_timeout(Duration::from_millis(milliseconds))
}

/// Asserts that the pool's connection answers, and has no open transaction.
#[track_caller]
pub(crate) fn assert_clean(pool: &Pool) -> impl Future<Output = ()> + use<'_> {
    let caller = std::panic::Location::caller();
    async move {
        let one = pool.query_one(&background(), "SELECT 1, pg_backend_pid()", &[]).await;
        let one = one.unwrap_or_else(|error| panic!("{caller}: {error:#}"));
        assert_eq!(one.get::<_, i32>(0), 1);
        // Every statement has its own transaction.
        let sql = "SELECT txid_current()";
        let first: i64 = pool.query_one(&background(), sql, &[]).await.expect("it is clean").get(0);
        let second: i64 = pool.query_one(&background(), sql, &[]).await.expect("it is clean").get(0);
        assert!(first < second, "{caller}: both statements are in the transaction {first}");
    }
}

/// Returns the id of the server's process for the pool's connection.
pub(crate) async fn backend(pool: &Pool) -> i32 {
    pool.query_one(&background(), "SELECT pg_backend_pid()", &[]).await.expect("the server answers").get(0)
}
