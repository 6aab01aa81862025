//! The cache that several processes share.

pub(crate) mod faults;
pub(crate) mod loads;
pub(crate) mod nodes;
pub(crate) mod values;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::Cache;
use ripcord_policy::cache::{CacheBuilder, Found, Source};
use ripcord_redis::{CacheLevel, CacheLevelBuilder, Client};

use crate::server::{Server, client, until};

/// A duration that is longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// A machine: a client and a cache, which no other machine uses.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) ctx: Context,
    pub(crate) client: Client,
    pub(crate) cache: Cache<u32, u32>,
    /// The loads that ran on this machine.
    pub(crate) loads: Arc<AtomicU32>,
}

impl Machine {
    /// Starts a machine, and waits until it receives the reports of changed keys.
    pub(crate) fn start(server: &Server) -> Machine {
        Machine::with(&client(server), |level| level, |cache| cache)
    }

    pub(crate) fn with(
        client: &Client,
        level: impl FnOnce(CacheLevelBuilder) -> CacheLevelBuilder,
        cache: impl FnOnce(CacheBuilder<u32, u32>) -> CacheBuilder<u32, u32>,
    ) -> Machine {
        let level = level(CacheLevel::builder(client, "numbers").lease(LONG)).build().expect("valid settings");
        let ctx = Context::background();
        let builder = cache(Cache::builder().capacity(1000).ttl(LONG).second_level(level));
        let machine = Machine {
            client: client.clone(),
            cache: builder.build(&ctx).expect("valid settings"),
            ctx,
            loads: Arc::default(),
        };
        // The cache is emptied when the connection is established.
        until("the machine hears of changes", || machine.cache.stats().flushes > 0);
        machine
    }

    /// Returns the value of `key`. Loads `value` if there is none.
    pub(crate) async fn get_or_load(&self, key: u32, value: u32) -> u32 {
        self.run(key, value).await.value
    }

    pub(crate) async fn run(&self, key: u32, value: u32) -> Found<u32> {
        let loads = Arc::clone(&self.loads);
        let load = move |_| async move {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok::<_, io::Error>(value)
        };
        self.cache.run(&self.ctx, key, load).await.expect("the load returns a value")
    }

    pub(crate) fn get(&self, key: u32) -> Option<u32> {
        self.cache.get(&self.ctx, &key).expect("an open cache")
    }

    pub(crate) fn insert(&self, key: u32, value: u32) {
        self.cache.insert(&self.ctx, key, value).expect("an open cache");
    }

    pub(crate) fn remove(&self, key: u32) {
        self.cache.remove(&self.ctx, &key).expect("an open cache");
    }

    /// Waits until Redis has the writes of this machine.
    pub(crate) async fn sync(&self) {
        self.cache.sync(&self.ctx).await.expect("an open cache");
    }

    pub(crate) fn loads(&self) -> u32 {
        self.loads.load(Ordering::SeqCst)
    }

    /// Returns how often the memory was emptied. It is emptied when the connection is lost, and when it is back.
    fn flushes(&self) -> u64 {
        self.cache.stats().flushes
    }

    /// Gets the key until its value is in memory. Loads `value` if there is none. The report of an earlier change may come after the
    /// first answer, and then removes the value from memory once, or keeps a load from storing its value anywhere.
    pub(crate) async fn until_in_memory(&self, key: u32, value: u32) {
        crate::queue_setup::until("the value is in memory", || async move {
            self.run(key, value).await.source == Source::Hit
        })
        .await;
    }
}

/// Kills the server, and waits until the machines have noticed.
pub(crate) fn kill(server: &mut Server, machines: &[&Machine]) {
    let before: Vec<u64> = machines.iter().map(|machine| machine.flushes()).collect();
    server.kill();
    until("the loss is noticed", || machines.iter().zip(&before).all(|(machine, before)| machine.flushes() > *before));
}

/// Starts the server again, and waits until the machines have noticed.
pub(crate) fn restart(server: &mut Server, machines: &[&Machine]) {
    // A client that has sent no command since the server died still believes that it is available, until its next heartbeat fails.
    let counts = |machine: &Machine| (machine.flushes(), machine.client.stats().reconnects);
    let before: Vec<_> = machines.iter().map(|machine| counts(machine)).collect();
    server.restart();
    until("the machines are connected again", || {
        machines.iter().zip(&before).all(|(machine, (flushes, reconnects))| {
            let now = counts(machine);
            now.0 > *flushes && now.1 > *reconnects && machine.client.is_available()
        })
    });
}

/// Runs a test whose loads have threads of their own, so that the test may block.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("threads").block_on(test);
}
