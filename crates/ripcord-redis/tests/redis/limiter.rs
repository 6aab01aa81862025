//! The limiter: buckets that clients share, refunds, settings, denied keys and clocks.

use std::pin::pin;
use std::task::{Context as Task, Waker};
use std::time::{Duration, Instant};

use ripcord::{Clock, Context, block_on};
use ripcord_policy::limiter::Quota;
use ripcord_policy::{Bulkhead, KeyedLimiter, Random, Rate, RateLimiter, Reservation, Stack};
use ripcord_redis::{Client, Limiter, Mode, OnOutage};

use crate::cluster::Cluster;
use crate::sentinel::Watched;
use crate::server::{Server, client, patient, until};

/// A rate at which no token comes during a test.
pub(crate) const SLOW: Rate = Rate::every(Duration::from_secs(3600));

const HOUR: Duration = Duration::from_secs(3600);

/// The keys of the limiter `api`.
pub(crate) const BUCKET: &str = "ripcord:{limiter:api}:bucket:";
const PROMISES: &str = "ripcord:{limiter:api}:promises:";

/// Creates a limiter with the name `api`.
pub(crate) fn limiter(client: &Client, rate: Rate, burst: u32, on_outage: OnOutage) -> (RateLimiter, Limiter) {
    let backend = Limiter::new(client, "api", on_outage);
    let limiter = RateLimiter::builder().rate(rate).burst(burst).backend(backend.clone()).build();
    (limiter.expect("valid settings"), backend)
}

/// Starts a server and two clients, each with a limiter.
fn pair(rate: Rate, burst: u32) -> (Server, RateLimiter, RateLimiter) {
    let server = Server::start();
    let new = || limiter(&client(&server), rate, burst, OnOutage::Closed).0;
    let (one, two) = (new(), new());
    (server, one, two)
}

/// Returns whether a delay is a number of hours, give or take the duration of a test.
fn is_hours(delay: Duration, hours: u32) -> bool {
    delay <= hours * HOUR && delay > hours * HOUR - HOUR / 2
}

pub(crate) fn two_clients_share_one_bucket() {
    let (_server, one, two) = pair(SLOW, 5);
    let ctx = Context::background();
    assert!(one.allow_n(2) && two.allow());
    block_on(one.wait(&ctx)).expect("a token");
    assert!(two.reserve().delay().is_zero());
    assert!(!one.allow() && !two.allow());
    assert!(two.tokens() < 0.5 && (one.rate(), two.burst()) == (SLOW, 5));
    assert_eq!((one.reserve_n(6).unwrap_err().burst, two.allow_n(6)), (5, false));
    assert!(block_on(two.wait_n(&ctx, 6)).unwrap_err().is_limited());
    let stats = (one.stats(), two.stats());
    assert_eq!((stats.0.allowed, stats.0.waited, stats.1.allowed, stats.1.reserved), (1, 1, 1, 1));
}

pub(crate) fn canceled_reservation_returns_its_token_to_the_other_client() {
    let (_server, one, two) = pair(SLOW, 1);
    assert!(one.allow());
    let (first, second) = (one.reserve(), two.reserve());
    assert!(is_hours(first.delay(), 1) && is_hours(second.delay(), 2), "{first:?} {second:?}");
    assert!(second.cancel() && first.cancel());
    let again = two.reserve();
    assert!(is_hours(again.delay(), 1), "{again:?}");
    assert_eq!((one.stats().refunded, two.stats().refunded), (1, 1));
}

pub(crate) fn reservation_canceled_mid_queue_is_free_when_those_behind_leave() {
    let (_server, one, two) = pair(SLOW, 3);
    assert!(one.allow_n(3));
    let [first, middle, last] = [one.reserve(), two.reserve_n(2).expect("within the burst"), one.reserve()];
    assert!(!middle.cancel(), "the reservation behind keeps its time");
    assert!(is_hours(last.delay(), 4) && is_hours(two.reserve().delay(), 5));
    assert!(!last.cancel(), "a reservation is behind");
    let (next, kept) = (two.reserve(), is_hours(first.delay(), 1));
    assert!(kept && is_hours(next.delay(), 6) && next.cancel());
}

pub(crate) fn rate_set_by_one_client_applies_to_the_next_decision_of_the_other() {
    let (_server, one, two) = pair(SLOW, 1);
    assert!(one.allow());
    one.set_rate(Rate::INFINITE).expect("Redis is available");
    assert!(two.allow() && two.allow() && two.rate() == Rate::INFINITE);
    two.set_rate(Rate::per(7, HOUR)).expect("Redis is available");
    assert!(one.allow() && !one.allow(), "the bucket is full after an infinite rate");
    assert_eq!(one.rate(), Rate::per(7, HOUR));
    one.set_burst(9).expect("Redis is available");
    assert_eq!((two.burst(), two.reserve_n(10).unwrap_err().burst), (9, 9));
    assert!(two.tokens() < 1.0, "the bucket has to earn the tokens of a larger burst");
}

pub(crate) fn new_rate_ends_a_denial_and_moves_a_waiter() {
    let (server, one, two) = pair(SLOW, 1);
    assert!(one.allow() && !two.allow());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| block_on(two.wait(&Context::background().with_timeout(2 * HOUR))));
        until("the waiter has its promise", || server.command(&["ZCARD", PROMISES]).starts_with(":1"));
        one.set_rate(Rate::per_second(1000.0)).expect("Redis is available");
        waiter.join().expect("no panic").expect("the token comes within a millisecond");
    });
    until("the key is not denied any longer", || two.allow());
}

pub(crate) fn wait_that_cannot_end_before_the_deadline_takes_nothing() {
    let (_server, one, two) = pair(SLOW, 1);
    assert!(one.allow());
    let ctx = Context::background().with_timeout(HOUR / 60);
    let start = Instant::now();
    let refused = block_on(two.wait(&ctx)).unwrap_err();
    assert!(refused.is_deadline_exceeded() && refused.deadline_origin().is_some(), "{refused}");
    assert!(start.elapsed() < HOUR / 120, "the wait fails at once");
    assert!(is_hours(one.reserve().delay(), 1), "no token was taken");
}

pub(crate) fn canceled_wait_returns_its_token() {
    let (server, one, two) = pair(SLOW, 1);
    assert!(one.allow());
    let (ctx, canceler) = Context::background().with_cancel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| block_on(two.wait(&ctx)));
        // The waiter may not know of its promise yet. The next test drops the wait before the answer.
        until("Redis has the promise", || server.command(&["ZCARD", PROMISES]).starts_with(":1"));
        canceler.cancel();
        assert!(waiter.join().expect("no panic").unwrap_err().is_canceled());
    });
    until("the token has returned", || one.tokens() >= 0.0 && two.stats().refunded == 1);
}

pub(crate) fn wait_dropped_before_the_answer_returns_its_token() {
    let (server, one, two) = pair(SLOW, 2);
    assert!(one.allow() && two.tokens() >= 1.0);
    server.pause();
    let ctx = Context::background();
    {
        let mut wait = pin!(two.wait(&ctx));
        assert!(wait.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
    }
    server.resume();
    until("the refund was sent", || calls(&server, "zscore") > 0);
    until("the token has returned", || one.tokens() >= 1.0 && two.stats().refunded == 1);
}

/// Returns how often the server has run a command.
pub(crate) fn calls(server: &Server, command: &str) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
}

pub(crate) fn each_decision_is_one_script_call() {
    let server = Server::start();
    // A heartbeat is a script call too. The second one comes after the test.
    let client = Client::builder().url(server.url()).timeout(Duration::from_secs(10)).retry_every(HOUR).build();
    let (one, _) = limiter(&client.expect("valid settings"), SLOW, 30, OnOutage::Closed);
    until("the first heartbeat is over", || server.command(&["EXISTS", "ripcord:{peers}"]).starts_with(":1"));
    // The first decision also loads the script.
    assert!(one.allow());
    let ctx = Context::background();
    let decisions: [(&str, &dyn Fn()); 5] = [
        ("allow", &|| assert!(one.allow())),
        ("wait", &|| assert!(block_on(one.wait(&ctx)).is_ok())),
        ("reserve", &|| assert!(one.reserve().delay().is_zero())),
        ("allow_n", &|| assert!(one.allow_n(2))),
        ("reserve_n", &|| assert!(one.reserve_n(2).expect("within the burst").delay().is_zero())),
    ];
    let sent = || ["evalsha", "eval", "script|load"].map(|command| calls(&server, command));
    for (name, decide) in decisions {
        let [evalsha, eval, load] = sent();
        for number in 1..=4 {
            decide();
            assert_eq!(sent(), [evalsha + number, eval, load], "{name}, call {number}");
        }
    }
}

pub(crate) fn denied_key_costs_no_command_until_its_tokens_come() {
    let server = Server::start();
    let client = client(&server);
    let backend = Limiter::new(&client, "clients", OnOutage::Closed);
    let slow = Quota::new(SLOW, 1).expect("a valid quota");
    let limiter = KeyedLimiter::builder()
        .rate(Rate::per_second(20.0))
        .burst(1)
        .quota(move |key: &u32| (*key == 1).then_some(slow))
        .backend(backend.clone(), |key: &u32| key.to_string())
        .build()
        .expect("valid settings");
    assert!(limiter.allow(&1) && !limiter.allow(&1));
    let (before, saves) = (backend.stats(), calls(&server, "hset"));
    let soon = Context::background().with_timeout(HOUR / 60);
    for _ in 0..100 {
        assert!(!limiter.allow(&1));
        assert!(block_on(limiter.wait(&soon, &1)).unwrap_err().is_deadline_exceeded());
    }
    let after = backend.stats();
    assert_eq!((after.saved - before.saved, after.connected - before.connected), (200, 0), "{after:?}");
    assert_eq!((after.denied_keys, after.mode, calls(&server, "hset")), (1, Mode::Connected, saves));
    let late = limiter.reserve(&1);
    assert!(is_hours(late.delay(), 1), "a reservation can wait");
    assert!(limiter.allow(&2), "another key");
    until("its tokens come", || limiter.allow(&2));
}

pub(crate) fn idle_bucket_expires_when_it_is_full() {
    let (server, one, _two) = pair(Rate::per_second(10.0), 1);
    assert!(one.allow());
    assert!(server.command(&["PTTL", BUCKET]).trim_start_matches(':').trim().parse::<i64>().expect("a number") <= 102);
    until("the bucket is gone", || server.command(&["EXISTS", BUCKET]).starts_with(":0"));
    one.set_rate(Rate::ZERO).expect("Redis is available");
    assert!(one.allow() && !one.allow());
    assert!(server.command(&["PTTL", BUCKET]).starts_with(":-1"), "a bucket that is never full stays");
}

pub(crate) fn random_operations_end_as_in_one_process() {
    random_operations(Random::new().next_u64());
}

pub(crate) fn token_returned_by_another_client_ends_no_denial() {
    let (_server, one, two) = pair(SLOW, 2);
    assert!(one.allow());
    let promised = one.reserve_n(2).expect("within the burst");
    assert!(!two.allow() && promised.cancel());
    assert!(!two.allow(), "a round trip would tell this client of the token");
    assert!(one.allow(), "the client that returned the token knows");
}

/// Compares two clients with a limiter of one process.
fn random_operations(seed: u64) {
    let server = Server::start();
    let clients = [(); 2].map(|()| limiter(&client(&server), SLOW, 5, OnOutage::Closed));
    let expected = RateLimiter::new(SLOW, 5).expect("valid settings");
    let random = Random::seeded(seed);
    let mut held: Vec<(Reservation, Reservation)> = Vec::new();
    for step in 0..500 {
        let (number, (limiter, backend)) = (random.next_u64(), &clients[step % 2]);
        let tokens = 1 + (number >> 8) as u32 % 3;
        match number % 4 {
            0 => {
                let saved = backend.stats().saved;
                let is_allowed = limiter.allow_n(tokens);
                if backend.stats().saved > saved {
                    // This client does not know of the tokens that the other has returned since the denial.
                    assert!(!is_allowed, "seed {seed}, step {step}");
                } else {
                    assert_eq!(is_allowed, expected.allow_n(tokens), "seed {seed}, step {step}");
                }
            }
            1 if !held.is_empty() => {
                let (ours, theirs) = held.swap_remove((number >> 16) as usize % held.len());
                assert_eq!(ours.cancel(), theirs.cancel(), "seed {seed}, step {step}");
            }
            // Fewer reservations than cancels, so that the queue becomes empty again.
            2 if held.len() < 8 => {
                let reserve = |limiter: &RateLimiter| limiter.reserve_n(tokens).expect("within the burst");
                let (ours, theirs) = (reserve(limiter), reserve(&expected));
                let hours = |delay: Duration| (delay.as_secs_f64() / HOUR.as_secs_f64()).round();
                assert_eq!(hours(ours.delay()), hours(theirs.delay()), "seed {seed}, step {step}");
                held.push((ours, theirs));
            }
            _ => {
                let (ours, theirs) = (limiter.tokens(), expected.tokens());
                assert!((ours - theirs).abs() < 0.1, "seed {seed}, step {step}: {ours} and {theirs} tokens");
            }
        }
    }
}

pub(crate) fn token_of_a_call_that_a_stack_does_not_send_returns() {
    let (_server, one, two) = pair(SLOW, 2);
    let bulkhead = Bulkhead::builder().limit(1).build().expect("valid settings");
    let builder = Stack::builder().limiter(one.clone()).bulkhead(bulkhead.clone());
    let stack: Stack<(), std::io::Error> = builder.build().expect("valid settings");
    let permit = bulkhead.try_acquire().expect("a permit");
    let (ctx, call) = (Context::background(), |_| async { Ok(()) });
    assert!(block_on(stack.run(&ctx, call)).expect_err("no permit").is_full());
    until("the token has returned", || two.tokens() >= 2.0 && one.stats().refunded == 1);
    drop(permit);
    block_on(stack.run(&ctx, call)).expect("a token and a permit");
    assert!(two.tokens() < 1.5);
}

pub(crate) fn synchronous_calls_work_inside_a_current_thread_runtime() {
    let (_server, one, two) = pair(SLOW, 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        assert!(one.allow() && two.reserve().delay().is_zero() && !one.allow());
        assert!(one.reserve().cancel() && two.tokens() < 1.0 && two.burst() == 2);
        one.set_burst(3).expect("Redis is available");
        assert!(two.wait(&Context::background().with_timeout(HOUR / 60)).await.is_err());
    });
}

pub(crate) fn many_synchronous_calls_work_in_a_task_that_does_not_yield() {
    let server = Server::start();
    let (limiter, backend) = limiter(&client(&server), SLOW, 1, OnOutage::Closed);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let task = async move { (0..500).map(|_| limiter.tokens()).sum::<f64>() };
    let sum = runtime.block_on(async { tokio::spawn(task).await.expect("no panic") });
    assert_eq!((sum, backend.stats().failures), (500.0, 0));
}

pub(crate) fn clock_of_a_client_does_not_matter() {
    let server = Server::start();
    let rate = Rate::per(10, HOUR / 60);
    let (clock, time) = Clock::manual();
    let ahead = || {
        let backend = Limiter::new(&client(&server), "api", OnOutage::Closed);
        let builder = RateLimiter::builder().rate(rate).burst(10).clock(clock.clone()).backend(backend);
        builder.build().expect("valid settings")
    };
    let (first, (second, _)) = (ahead(), limiter(&client(&server), rate, 10, OnOutage::Closed));
    assert!(first.allow_n(10));
    time.advance(HOUR / 60);
    let third = ahead();
    assert!(!first.allow_n(9) && !second.allow_n(9) && !third.allow_n(9), "no token came in this minute");
    // The wait sleeps by the context's clock, for the duration that the server named.
    let ctx = Context::background().with_clock(clock);
    let mut wait = pin!(third.wait_n(&ctx, 10));
    let mut task = Task::from_waker(Waker::noop());
    until("the wait sleeps", || {
        assert!(wait.as_mut().poll(&mut task).is_pending());
        time.timers() > 0
    });
    time.advance(HOUR / 60);
    assert!(wait.as_mut().poll(&mut task).is_ready());
}

pub(crate) fn clients_of_a_cluster_share_a_bucket_across_a_failover() {
    let mut cluster = Cluster::start();
    let new = || limiter(&patient(Client::builder().cluster(cluster.urls())), SLOW, 4, OnOutage::Closed).0;
    let (one, two) = (new(), new());
    assert!(one.allow() && two.allow());
    one.set_rate(Rate::per(2, HOUR)).expect("the cluster is available");
    assert_eq!(two.rate(), Rate::per(2, HOUR));
    let reserved = two.reserve_n(3).expect("within the burst");
    assert!(reserved.delay() > HOUR / 4 && reserved.cancel());
    let master = cluster.master_of(BUCKET);
    // WAIT would not do: the command of the tests closes its side, and a server drops such a client while it waits.
    crate::queue_faults::until_replicated(|| cluster.node(master).command(&["INFO", "replication"]));
    cluster.fail_over(BUCKET);
    until("the new master answers", || one.allow());
    until("the other client follows", || two.allow());
    let fresh = limiter(&patient(Client::builder().cluster(cluster.urls())), SLOW, 4, OnOutage::Closed).0;
    assert!(!fresh.allow(), "the bucket had four tokens before and after the failover");
}

pub(crate) fn clients_through_sentinels_share_a_bucket_across_a_failover() {
    let mut watched = Watched::start();
    let new = || limiter(&watched.client(), SLOW, 3, OnOutage::Closed).0;
    let (one, two) = (new(), new());
    until("the first token is granted", || one.allow());
    until("the second token is granted", || two.allow());
    watched.fail_over();
    until("the new master answers", || one.allow());
    until("the other client is denied by the new master", || !two.allow() && two.stats().denied > 0);
}
