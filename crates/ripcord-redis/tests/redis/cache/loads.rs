//! Loads that machines share, and leases.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ripcord::Context;
use ripcord_policy::Cache;
use tokio::sync::Notify;

use super::{Machine, run};
use crate::server::{PATIENCE, Server, client, until};

/// The variable with the server's URL that makes the test binary [hold a lease](hold_lease).
pub(crate) const HOLD_LEASE: &str = "RIPCORD_REDIS_TEST_HOLD_LEASE";

/// The name of the lease of key 1.
pub(super) const LEASE: &str = "ripcord:cache:numbers:{1}:lease";

/// A load that ends when it is told to.
#[derive(Clone, Default)]
pub(super) struct Load {
    pub(super) started: Arc<AtomicU32>,
    pub(super) finish: Arc<Notify>,
}

impl Load {
    /// Starts a call of key 1 that loads `result`.
    pub(super) fn call(
        &self,
        machine: &Machine,
        ctx: &Context,
        result: Result<u32, &'static str>,
    ) -> tokio::task::JoinHandle<Result<u32, String>> {
        let (load, machine, ctx) = (self.clone(), machine.clone(), ctx.clone());
        tokio::spawn(async move {
            let load = move |_| async move {
                load.started.fetch_add(1, Ordering::SeqCst);
                load.finish.notified().await;
                result.map_err(io::Error::other)
            };
            machine.cache.get_or_load(&ctx, 1, load).await.map_err(|error| error.to_string())
        })
    }

    pub(super) fn started(&self) -> u32 {
        self.started.load(Ordering::SeqCst)
    }
}

pub(crate) fn hundred_callers_on_two_machines_share_one_load() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        let load = Load::default();
        let calls: Vec<_> =
            (0..100).map(|number| load.call(if number % 2 == 0 { &one } else { &two }, &one.ctx, Ok(10))).collect();
        until("a machine waits for the other", || one.cache.stats().waited + two.cache.stats().waited == 1);
        until("the load has started", || load.started() == 1);
        load.finish.notify_one();
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(10));
        }
        assert_eq!(load.started(), 1);
        for machine in [&one, &two] {
            machine.until_in_memory(1, 0).await;
            assert_eq!((machine.get_or_load(1, 0).await, machine.loads()), (10, 0));
        }
    });
}

pub(crate) fn failed_load_lets_the_other_machine_load_at_once() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        let (first, second) = (Load::default(), Load::default());
        let failing = first.call(&one, &one.ctx, Err("failed"));
        until("the load has started", || first.started() == 1);
        let waiting = second.call(&two, &two.ctx, Ok(10));
        until("the other machine waits", || two.cache.stats().waited == 1);
        first.finish.notify_one();
        assert!(failing.await.unwrap().is_err());
        // The lease would hold for an hour.
        until("the other machine loads", || second.started() == 1);
        second.finish.notify_one();
        assert_eq!(waiting.await.unwrap(), Ok(10));
    });
}

pub(crate) fn canceled_load_releases_its_lease_at_once() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        let (first, second) = (Load::default(), Load::default());
        let (ctx, canceler) = one.ctx.with_cancel();
        let canceled = first.call(&one, &ctx, Ok(0));
        until("the load has started", || first.started() == 1);
        let waiting = second.call(&two, &two.ctx, Ok(10));
        until("the other machine waits", || two.cache.stats().waited == 1);
        canceler.cancel();
        assert!(canceled.await.unwrap().is_err());
        until("the other machine loads", || second.started() == 1);
        second.finish.notify_one();
        assert_eq!(waiting.await.unwrap(), Ok(10));
    });
}

pub(crate) fn waiting_caller_leaves_at_its_deadline() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        let load = Load::default();
        let first = load.call(&one, &one.ctx, Ok(10));
        until("the load has started", || load.started() == 1);
        let start = Instant::now();
        let late = load.call(&two, &two.ctx.with_timeout(Duration::from_millis(100)), Ok(0)).await.unwrap();
        assert!(late.unwrap_err().contains("deadline"));
        assert!(start.elapsed() < Duration::from_secs(10), "the lease holds for an hour");
        load.finish.notify_one();
        assert_eq!((first.await.unwrap(), load.started()), (Ok(10), 1));
    });
}

pub(crate) fn key_removed_during_a_load_is_stored_nowhere() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        for inserts in [false, true] {
            let load = Load::default();
            let call = load.call(&one, &one.ctx, Ok(10));
            until("the load has started", || load.started() == 1);
            let before = one.cache.stats().invalidated;
            if inserts {
                two.insert(1, 20)
            } else {
                two.remove(1)
            }
            two.sync().await;
            until("the change is heard of", || one.cache.stats().invalidated > before);
            load.finish.notify_one();
            assert_eq!(call.await.unwrap(), Ok(10), "the caller still gets the value of its load");
            one.sync().await;
            until("the value is not in memory", || one.get(1).is_none());
            let stored = server.command(&["GET", "ripcord:cache:numbers:{1}"]);
            assert_eq!(stored.ends_with(":20\r\n"), inserts, "{stored}");
            assert!(!stored.ends_with(":10\r\n"), "{stored}");
            two.remove(1);
            two.sync().await;
        }
    });
}

pub(crate) fn dead_machine_loses_its_lease_to_another() {
    run(async {
        let server = Server::start();
        let lease = Duration::from_secs(3);
        let machine = Machine::with(&client(&server), |level| level.lease(lease), |cache| cache);
        let mut worker = Command::new(std::env::current_exe().expect("this test"));
        worker.env(HOLD_LEASE, server.url()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut worker = worker.spawn().expect("this test");
        until("the other process loads", || server.command(&["EXISTS", LEASE]) == ":1\r\n");
        let load = Load::default();
        let call = load.call(&machine, &machine.ctx, Ok(10));
        until("this process waits", || machine.cache.stats().waited == 1);
        // The lease is extended as long as its process lives.
        let extended = Instant::now();
        until("the lease would have ended", || extended.elapsed() > lease + lease / 2);
        assert_eq!(load.started(), 0);
        worker.kill().expect("a child");
        worker.wait().expect("a child");
        let killed = Instant::now();
        until("this process loads", || load.started() == 1);
        assert!(killed.elapsed() < 10 * lease, "{:?}", killed.elapsed());
        load.finish.notify_one();
        assert_eq!(call.await.unwrap(), Ok(10));
    });
}

/// Loads key 1 forever. The test kills this process.
pub(crate) fn hold_lease(url: &str) {
    run(async {
        let client = ripcord_redis::Client::builder().url(url).timeout(PATIENCE).build().expect("valid settings");
        let level = ripcord_redis::CacheLevel::builder(&client, "numbers").lease(Duration::from_secs(3));
        let ctx = Context::background().with_timeout(PATIENCE);
        let cache: Cache<u32, u32> =
            Cache::builder().capacity(10).second_level(level.build().unwrap()).build(&ctx).unwrap();
        // A question during the first connection would be asked again.
        until("this process hears of changes", || cache.stats().flushes > 0);
        let load = |ctx: Context| async move { Err::<u32, _>(ctx.done().await.to_string()) };
        drop(cache.get_or_load(&ctx, 1, load).await);
    });
}
