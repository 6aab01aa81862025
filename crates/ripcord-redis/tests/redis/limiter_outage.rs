//! The limiter while Redis is unavailable.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ripcord::{Context, block_on};
use ripcord_policy::{Rate, RateLimiter};
use ripcord_redis::{Client, Mode, OnOutage};

use crate::limiter::{BUCKET, SLOW, limiter};
use crate::server::{Server, SetOnDrop, client, until};

/// The timeout of a wait under load.
const DEADLINE: Duration = Duration::from_millis(300);

pub(crate) fn open_limiter_grants_everything_during_an_outage() {
    let mut server = Server::start();
    let client = client(&server);
    let (limiter, backend) = limiter(&client, SLOW, 1, OnOutage::Open);
    assert!(limiter.allow() && !limiter.allow() && backend.stats().mode == Mode::Connected);
    server.kill();
    until("the failure is known", || !client.is_available());
    let ctx = Context::background();
    assert!(limiter.allow() && limiter.reserve_n(1).expect("within the burst").delay().is_zero());
    block_on(limiter.wait(&ctx)).expect("granted");
    assert_eq!(limiter.tokens(), 1.0);
    let stats = backend.stats();
    assert_eq!((stats.mode, stats.open, stats.closed, stats.local), (Mode::Open, 3, 0, 0), "{stats:?}");
    assert!(stats.retry_after.is_some() && stats.mode.to_string() == "open");
    server.restart();
    until("Redis decides again", || backend.stats().mode == Mode::Connected);
    assert!(!limiter.allow(), "the bucket is as before");
}

pub(crate) fn closed_limiter_refuses_everything_during_an_outage() {
    let mut server = Server::start();
    let client = client(&server);
    let (limiter, backend) = limiter(&client, Rate::INFINITE, 1, OnOutage::Closed);
    assert!(limiter.allow());
    server.kill();
    until("the failure is known", || !client.is_available());
    assert!(!limiter.allow() && limiter.reserve().delay() == Duration::MAX && limiter.tokens() == 0.0);
    let refused = block_on(limiter.wait(&Context::background())).unwrap_err();
    assert!(refused.is_unavailable() && refused.retry_after().is_some(), "{refused}");
    let error = limiter.set_rate(SLOW).unwrap_err();
    assert!(error.field() == "rate" && error.to_string().contains("unavailable"), "{error}");
    let (stats, requests) = (backend.stats(), limiter.stats());
    assert_eq!((stats.mode, stats.closed, requests.unavailable), (Mode::Closed, 3, 3), "{stats:?}");
    server.restart();
    until("Redis decides again", || limiter.allow());
}

pub(crate) fn local_limiter_grants_its_share_once_over_several_outages() {
    let mut server = Server::start();
    // A client counts as a peer for five of these intervals.
    let client = || {
        let builder = Client::builder().url(server.url()).timeout(Duration::from_secs(10));
        builder.retry_every(Duration::from_millis(200)).build().expect("valid settings")
    };
    let (one, two) = (client(), client());
    let (limiter, backend) = limiter(&one, SLOW, 8, OnOutage::Local);
    until("both clients are counted", || one.stats().peers == 2 && two.stats().peers == 2);
    let mut granted = 0;
    for _ in 0..3 {
        server.kill();
        until("the failure is known", || !one.is_available());
        granted += (0..20).filter(|_| limiter.allow()).count();
        assert!(limiter.tokens() < 1.0 && backend.stats().mode == Mode::Local);
        server.restart();
        until("Redis decides again", || one.is_available());
    }
    assert_eq!(granted, 4, "the share of the burst");
    let stats = backend.stats();
    assert!(stats.local >= 20 && (stats.open, stats.closed) == (0, 0), "{stats:?}");
    assert!(limiter.allow_n(8), "the bucket in Redis is full");
}

pub(crate) fn denied_key_stays_denied_when_the_limiter_becomes_local() {
    let mut server = Server::start();
    let client = client(&server);
    let (limiter, backend) = limiter(&client, SLOW, 2, OnOutage::Local);
    assert!(limiter.allow() && !limiter.allow_n(2));
    server.kill();
    until("the failure is known", || !client.is_available());
    assert!(!limiter.allow_n(2) && backend.stats().saved == 1);
    assert!(limiter.allow(), "fewer tokens were not denied");
}

pub(crate) fn error_of_the_server_counts_as_an_outage() {
    let server = Server::start();
    let client = client(&server);
    let (limiter, backend) = limiter(&client, SLOW, 2, OnOutage::Closed);
    assert!(limiter.allow());
    server.command(&["SET", BUCKET, "not a bucket"]);
    let refused = block_on(limiter.wait(&Context::background())).unwrap_err();
    assert!(refused.is_unavailable() && backend.stats().mode == Mode::Closed && client.is_available(), "{refused}");
    server.command(&["DEL", BUCKET]);
    assert!(limiter.allow() && backend.stats().mode == Mode::Connected);
}

pub(crate) fn data_lost_by_the_server_is_not_remembered() {
    let server = Server::start();
    let (limiter, _) = limiter(&client(&server), SLOW, 1, OnOutage::Local);
    limiter.set_burst(7).expect("Redis is available");
    limiter.set_burst(8).expect("Redis is available");
    assert_eq!((limiter.burst(), limiter.allow_n(8)), (8, true));
    server.command(&["FLUSHALL"]);
    assert_eq!((limiter.burst(), limiter.allow(), limiter.allow()), (1, true, false));
    limiter.set_burst(2).expect("Redis is available");
    assert_eq!(limiter.burst(), 2);
}

pub(crate) fn outage_costs_one_timeout_and_not_one_per_request() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let server = Server::start();
    let builder = Client::builder().url(server.url()).timeout(TIMEOUT).retry_every(60 * TIMEOUT);
    let client = builder.build().expect("valid settings");
    let (limiter, backend) = limiter(&client, Rate::INFINITE, 1, OnOutage::Closed);
    assert!(limiter.allow());
    server.pause();
    let start = Instant::now();
    assert!(!limiter.allow() && start.elapsed() >= TIMEOUT);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert!(block_on(limiter.wait(&Context::background())).unwrap_err().is_unavailable());
                }
            });
        }
    });
    assert!(start.elapsed() < TIMEOUT, "{:?} for 1,000 requests", start.elapsed());
    let stats = backend.stats();
    // The limiter may have asked for its settings too.
    assert!(stats.closed == 1001 && stats.failures < 5, "{stats:?}");
    server.resume();
}

/// Calls the limiter from four threads until `test` returns. `test` gets the number of calls that each thread has made.
fn under_load(limiter: &RateLimiter, test: impl FnOnce(&[AtomicU64; 4])) {
    let (is_over, calls) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 4]);
    std::thread::scope(|scope| {
        let _over = SetOnDrop(&is_over);
        for (thread, calls) in calls.iter().enumerate() {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    // An `allow` ends after the client's timeout.
                    match thread {
                        0 => drop(limiter.allow()),
                        _ => drop(block_on(limiter.wait(&Context::background().with_timeout(DEADLINE)))),
                    }
                    calls.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                }
            });
        }
        test(&calls);
    });
}

/// Waits until each thread has made two more calls, so that one of them began after this.
fn until_called(calls: &[AtomicU64; 4]) {
    let count = || calls.each_ref().map(|calls| calls.load(Ordering::SeqCst));
    let before = count();
    until("no call hangs", || count().iter().zip(before).all(|(now, before)| *now >= before + 2));
}

pub(crate) fn server_killed_and_restarted_under_load_leaves_nothing_hanging() {
    let mut server = Server::start();
    let client = client(&server);
    let (limiter, backend) = limiter(&client, Rate::per_second(200.0), 10, OnOutage::Closed);
    under_load(&limiter, |calls| {
        for _ in 0..3 {
            let before = backend.stats();
            until("Redis decides", || backend.stats().connected > before.connected);
            server.kill();
            until("the limiter is closed", || backend.stats().closed > before.closed);
            until_called(calls);
            server.restart();
        }
        let before = backend.stats();
        until("Redis decides again", || backend.stats().connected > before.connected);
        until_called(calls);
    });
    assert_eq!(limiter.stats().waiters, 0);
}

pub(crate) fn server_paused_for_two_seconds_under_load_leaves_nothing_hanging() {
    let server = Server::start();
    let builder = Client::builder().url(server.url()).retry_every(Duration::from_millis(50));
    let client = builder.build().expect("valid settings");
    let (limiter, backend) = limiter(&client, Rate::per_second(200.0), 10, OnOutage::Open);
    under_load(&limiter, |calls| {
        until("Redis decides", || backend.stats().connected > 0);
        server.pause();
        let start = Instant::now();
        until("the limiter is open", || backend.stats().mode == Mode::Open);
        until_called(calls);
        until("the pause is over", || start.elapsed() > Duration::from_secs(2));
        server.resume();
        let before = backend.stats();
        until("Redis decides again", || backend.stats().connected > before.connected);
    });
    assert_eq!(limiter.stats().waiters, 0);
}
