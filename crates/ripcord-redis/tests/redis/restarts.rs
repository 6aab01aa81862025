//! A server that is killed and restarted in the middle of calls that submit or run no job.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ripcord::{Context, block_on};
use ripcord_policy::{Rate, RateLimiter};
use ripcord_redis::{Error, Fleet, JobId, OnOutage, Queue};

use crate::limiter::limiter;
use crate::queue_setup::Numbers;
use crate::server::{PATIENCE, Server, SetOnDrop, client, until};

/// Number of times that the server is killed.
const KILLS: u64 = 10;

/// Waits for a call. Returns whether the server has answered.
#[track_caller]
fn is_answered<T>(call: impl Future<Output = Result<T, Error>>) -> bool {
    match block_on(call) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.is_unavailable(), "{error:#}");
            false
        }
    }
}

/// Returns which of the calls of a queue were answered.
fn use_queue(queue: &Numbers, id: JobId) -> [bool; 7] {
    let (ctx, ids) = (Context::background().with_timeout(PATIENCE), [id]);
    [
        is_answered(queue.stats(&ctx)),
        is_answered(queue.list(&ctx, 10)),
        is_answered(queue.dead_letters(&ctx, 10)),
        is_answered(queue.resend(&ctx, &ids)),
        is_answered(queue.resend_all(&ctx)),
        is_answered(queue.delete(&ctx, &ids)),
        is_answered(queue.delete_all(&ctx)),
    ]
}

/// Returns which of the calls of a fleet were answered.
fn use_fleet(fleet: &Fleet) -> [bool; 2] {
    let ctx = Context::background().with_timeout(PATIENCE);
    [is_answered(fleet.publish(&ctx, &1, PATIENCE)), is_answered(fleet.members::<u32>(&ctx))]
}

/// Returns which of the calls of a limiter were answered.
fn use_limiter(limiter: &RateLimiter, rate: Rate) -> [bool; 2] {
    let reserved = limiter.reserve();
    // A limiter that refuses everything during an outage reserves nothing then.
    let is_reserved = reserved.delay() != Duration::MAX;
    reserved.cancel();
    let is_set = match limiter.set_rate(rate) {
        Ok(()) => true,
        Err(error) => {
            assert!(error.to_string().contains("unavailable"), "{error}");
            false
        }
    };
    [is_reserved, is_set]
}

pub(crate) fn server_killed_in_the_middle_of_any_call_fails_it_at_most_and_the_next_calls_work() {
    let mut server = Server::start();
    let new = || client(&server);
    let queue: Numbers = Queue::builder("numbers").client(&new()).build().expect("valid settings");
    let fleet = Fleet::new(&new());
    let rates = [Rate::per_second(10.0), Rate::per_second(20.0)];
    let (limiter, _) = limiter(&new(), rates[0], 5, OnOutage::Closed);
    let id = block_on(queue.submit(&Context::background(), 1)).expect("a server");
    let (is_over, rounds) = (AtomicBool::new(false), [(); 3].map(|()| AtomicU64::new(0)));
    let repeat = |number: usize, call: &(dyn Fn(usize) -> bool + Sync)| {
        while !is_over.load(Ordering::SeqCst) {
            let count = rounds[number].load(Ordering::SeqCst);
            if call(count as usize) {
                rounds[number].fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    std::thread::scope(|scope| {
        let over = SetOnDrop(&is_over);
        let repeat = &repeat;
        let (queue, fleet, limiter) = (&queue, &fleet, &limiter);
        let threads = [
            scope.spawn(move || repeat(0, &|_| use_queue(queue, id) == [true; 7])),
            scope.spawn(move || repeat(1, &|_| use_fleet(fleet) == [true; 2])),
            scope.spawn(move || repeat(2, &|count| use_limiter(limiter, rates[count % 2]) == [true; 2])),
        ];
        for kill in 1..=KILLS {
            // All calls are answered again after each restart.
            let before = rounds.each_ref().map(|count| count.load(Ordering::SeqCst));
            until("all calls are answered", || {
                assert!(!threads.iter().any(|thread| thread.is_finished()), "a call has failed");
                rounds.iter().zip(before).all(|(count, before)| count.load(Ordering::SeqCst) > before + kill % 3)
            });
            server.kill();
            server.restart();
        }
        drop(over);
    });
    until("the queue works", || use_queue(&queue, id) == [true; 7]);
    until("the fleet works", || use_fleet(&fleet) == [true; 2]);
    until("the limiter works", || use_limiter(&limiter, rates[1]) == [true; 2]);
    let ctx = Context::background();
    assert_eq!(block_on(queue.stats(&ctx)).expect("a server").waiting, 1, "no call has touched the waiting job");
    assert_eq!(block_on(fleet.members::<u32>(&ctx)).expect("a server").len(), 1);
    assert_eq!(limiter.rate(), rates[1]);
    until("all tokens have returned", || limiter.tokens() >= 5.0);
}
