//! What the tests of the queue share.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ripcord::{Context, Shutdown};
use ripcord_redis::{Client, Error, Queue, QueueStats};

use crate::server::{PATIENCE, Server, patient};

/// A job of the tests: a number.
pub(crate) type Numbers = Queue<u64>;

/// The lease of the tests that wait for the end of a lease. It is longer than a busy machine holds up a worker.
pub(crate) const SHORT: Duration = Duration::from_millis(1500);

/// A server, a client and a queue.
pub(crate) struct Setup {
    pub(crate) queue: Numbers,
    pub(crate) client: Client,
    pub(crate) server: Server,
}

impl Setup {
    pub(crate) fn new() -> Setup {
        Setup::with(Duration::from_secs(30))
    }

    pub(crate) fn with(lease: Duration) -> Setup {
        let server = Server::start();
        let client = client(&server.url());
        Setup { queue: queue(&client, lease, 3), client, server }
    }

    /// Creates a queue whose jobs are delivered again and again.
    pub(crate) fn persistent(lease: Duration) -> Setup {
        let server = Server::start();
        let client = client(&server.url());
        Setup { queue: queue(&client, lease, 100), client, server }
    }

    /// Creates a queue whose client does not wait long for a paused server.
    pub(crate) fn impatient(lease: Duration) -> Setup {
        let server = Server::start();
        let client = Client::builder().url(server.url()).name("test").retry_every(Duration::from_millis(50)).build();
        let client = client.expect("valid settings");
        Setup { queue: queue(&client, lease, 3), client, server }
    }
}

fn queue(client: &Client, lease: Duration, deliveries: u32) -> Numbers {
    let queue = Queue::builder("numbers").client(client).lease(lease).max_deliveries(deliveries).build();
    queue.expect("valid settings")
}

pub(crate) fn client(url: &str) -> Client {
    patient(Client::builder().url(url).name("test"))
}

/// Runs a test on a runtime.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let result = runtime.block_on(test);
    runtime.shutdown_background();
    result
}

/// Waits until `condition` holds. Redis or another task makes it hold.
#[track_caller]
pub(crate) fn until<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> impl Future<Output = ()> {
    let (start, location) = (Instant::now(), std::panic::Location::caller());
    async move {
        while !condition().await {
            assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}, at {location}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Waits until the statistics are as expected.
#[track_caller]
pub(crate) fn until_stats(
    what: &'static str,
    queue: &Numbers,
    condition: impl Fn(QueueStats) -> bool + Copy,
) -> impl Future<Output = ()> {
    let queue = queue.clone();
    until(what, move || {
        let queue = queue.clone();
        async move { queue.stats(&Context::background()).await.is_ok_and(condition) }
    })
}

/// The numbers for which a handler has run.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<u64>>>, Arc<AtomicU64>);

impl Seen {
    pub(crate) fn add(&self, number: u64) {
        self.0.lock().expect("no panic").push(number);
        self.1.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the numbers in the order of their runs.
    pub(crate) fn all(&self) -> Vec<u64> {
        self.0.lock().expect("no panic").clone()
    }

    pub(crate) fn count(&self) -> u64 {
        self.1.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub(crate) fn until_count(&self, count: u64) -> impl Future<Output = ()> {
        let seen = self.clone();
        until("the handler runs", move || std::future::ready(seen.count() >= count))
    }
}

/// A worker in this process.
pub(crate) struct Running {
    pub(crate) shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Starts a worker: `run` gets its context.
    pub(crate) fn start<Fut>(run: impl FnOnce(Context) -> Fut) -> Running
    where
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let shutdown = Shutdown::builder().drain(PATIENCE).total(PATIENCE * 2).build();
        let task = tokio::spawn(run(shutdown.context().clone()));
        Running { shutdown, task }
    }

    /// Lets the worker drain.
    pub(crate) async fn drain(self) {
        self.shutdown.begin("the test is over");
        self.task.await.expect("no panic").expect("a drained worker returns Ok");
    }

    /// Kills the worker's task.
    pub(crate) fn abort(self) {
        self.task.abort();
    }
}

/// Starts a worker that adds the numbers of its jobs to `seen`.
pub(crate) fn counting(queue: &Numbers, seen: &Seen, concurrency: usize) -> Running {
    let (queue, seen) = (queue.clone(), seen.clone());
    Running::start(|ctx| async move {
        let handler = move |_, n| {
            seen.add(n);
            async { Ok::<_, Infallible>(()) }
        };
        queue.worker().concurrency(concurrency).run(&ctx, handler).await
    })
}
