//! Policies under a deadline that moves after the call has started: each policy uses the current deadline. And policies under an
//! idle timeout, which is no deadline: no policy refuses a call because of it.

use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use ripcord::{Clock, Context, ManualTime, MovableDeadline};
use ripcord_policy::{
    Bulkhead, Cache, CircuitBreaker, Fallback, Hedge, Rate, RateLimiter, Retry, Stack, StopReason, WorkerPool,
};

const SECOND: Duration = Duration::from_secs(1);

/// Returns a context on a manual clock, with a deadline `left` from now.
fn movable(left: Duration) -> (Context, MovableDeadline, ManualTime) {
    let (clock, time) = Clock::manual();
    let (ctx, deadline) = Context::background().with_clock(clock).with_movable_deadline(time.now() + left);
    (ctx, deadline, time)
}

/// A call that fails when its context ends.
async fn heeds(ctx: Context) -> Result<u32, &'static str> {
    ctx.done().await;
    Err("ended")
}

async fn down(_: Context) -> Result<u32, &'static str> {
    Err("down")
}

/// Lets the spawned tasks of this single-threaded runtime run until they wait.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

// ===== every policy: the call ends at the current deadline =====

/// Starts a call under a deadline in 5 seconds, moves the deadline to `moved`, and asserts that the call ends then.
async fn assert_ends_at(policy: &str, moved: Duration, call: impl AsyncFn(&Context) -> bool) {
    let (ctx, deadline, time) = movable(SECOND * 5);
    let mut call = pin!(call(&ctx));
    assert!(call.as_mut().now_or_never().is_none(), "{policy}");
    settle().await;
    assert!(deadline.reset_after(moved));
    time.advance(moved - Duration::from_nanos(1));
    settle().await;
    assert!(call.as_mut().now_or_never().is_none(), "{policy} ends before the current deadline");
    time.advance(Duration::from_nanos(1));
    settle().await;
    let is_deadline = call.as_mut().now_or_never();
    assert_eq!(is_deadline, Some(true), "{policy} does not end at the current deadline");
}

#[tokio::test]
async fn call_ends_at_the_deadline_that_was_moved_after_its_start() {
    let root = Context::background();
    for moved in [SECOND, SECOND * 60] {
        let fallback = Fallback::<u32, &str>::new(async |_, error| Err(error));
        let retry = Retry::constant(SECOND).build().unwrap();
        let hedge = Hedge::after(SECOND * 100).build().unwrap();
        let breaker = CircuitBreaker::builder("callee").build().unwrap();
        let bulkhead = Bulkhead::builder().limit(1).queue(1).build().unwrap();
        let stack: Stack<u32, &str> = Stack::builder()
            .deadline(SECOND * 100)
            .retry(Retry::builder())
            .breaker(CircuitBreaker::builder("stack"))
            .bulkhead(Bulkhead::builder().limit(1))
            .attempt_timeout(SECOND * 90)
            .build()
            .unwrap();
        macro_rules! assert_run {
            ($($policy:ident),*) => {$(
                let run = async |ctx: &Context| $policy.run(ctx, heeds).await.unwrap_err().is_deadline_exceeded();
                assert_ends_at(stringify!($policy), moved, run).await;
            )*};
        }
        assert_run!(fallback, retry, hedge, breaker, bulkhead, stack);
        assert_eq!(breaker.stats().calls.canceled, 1, "the caller's deadline is no failure of the callee");

        let _held = bulkhead.try_acquire().unwrap();
        let acquire = async |ctx: &Context| bulkhead.acquire(ctx).await.unwrap_err().is_deadline_exceeded();
        assert_ends_at("the queue of the bulkhead", moved, acquire).await;

        let pool = WorkerPool::builder().workers(1).queue(1).build(&root).unwrap();
        let job = async |ctx: &Context| {
            let handle = pool.submit(ctx, heeds).await.unwrap();
            handle.await.unwrap_err().is_deadline_exceeded()
        };
        assert_ends_at("the task of a pool", moved, job).await;
    }
}

/// A load keeps its deadline: see the tests of the cache. The caller's wait follows the moved deadline.
#[tokio::test]
async fn caller_of_a_load_stops_waiting_at_a_deadline_that_was_moved_earlier() {
    let cache: Cache<u32, u32> = Cache::builder().capacity(10).build(&Context::background()).unwrap();
    let call = async |ctx: &Context| {
        let load = |_| std::future::pending::<Result<u32, std::io::Error>>();
        cache.get_or_load(ctx, 1, load).await.unwrap_err().is_deadline_exceeded()
    };
    assert_ends_at("the caller of a load", SECOND, call).await;
}

// ===== hedge =====

/// Makes a call that takes 5 seconds, with a hedge after 2 seconds. Returns the result and the number of hedges.
async fn hedges_of_a_slow_call(left: Duration, moved: Duration, hedge: &Hedge) -> (Result<u32, bool>, u64) {
    let (ctx, deadline, time) = movable(left);
    let mut call = pin!(hedge.run(&ctx, |ctx| async move { ctx.sleep(SECOND * 5).await.map(|()| 7) }));
    assert!(call.as_mut().now_or_never().is_none());
    assert!(deadline.reset_after(moved));
    for _ in 0..10 {
        time.advance(SECOND);
        if let Some(result) = call.as_mut().now_or_never() {
            return (result.map_err(|error| error.is_deadline_exceeded()), hedge.stats().hedges);
        }
    }
    panic!("the call never ends");
}

#[tokio::test]
async fn hedge_is_sent_below_a_deadline_that_was_moved_later_than_its_delay() {
    let hedge = Hedge::after(SECOND * 2).build().unwrap();
    assert_eq!(hedges_of_a_slow_call(SECOND, SECOND * 60, &hedge).await, (Ok(7), 1));
}

#[tokio::test]
async fn hedge_is_not_sent_at_or_after_a_deadline_that_was_moved_earlier() {
    for moved in [SECOND, SECOND * 2] {
        let hedge = Hedge::after(SECOND * 2).build().unwrap();
        assert_eq!(hedges_of_a_slow_call(SECOND * 60, moved, &hedge).await, (Err(true), 0), "moved to {moved:?}");
    }
}

#[tokio::test]
async fn hedge_in_a_stack_follows_the_deadline() {
    let hedge = Hedge::after(SECOND * 2).build().unwrap();
    let stack: Stack<u32, ripcord::Error> =
        Stack::builder().deadline(SECOND * 50).hedge(hedge.clone()).attempt_timeout(SECOND * 40).build().unwrap();
    for (left, moved, hedges) in [(SECOND, SECOND * 60, 1), (SECOND * 60, SECOND * 2, 1)] {
        let (ctx, deadline, time) = movable(left);
        let mut call = pin!(stack.run(&ctx, |ctx| async move { ctx.sleep(SECOND * 5).await.map(|()| 7) }));
        assert!(call.as_mut().now_or_never().is_none());
        assert!(deadline.reset_after(moved));
        time.advance(SECOND * 2);
        assert_eq!(call.as_mut().now_or_never().is_some(), moved < SECOND * 50);
        assert_eq!(hedge.stats().hedges, hedges, "from {left:?} to {moved:?}");
    }
}

// ===== retry =====

#[tokio::test]
async fn retry_waits_if_the_deadline_was_moved_later_during_the_attempt() {
    let (ctx, deadline, time) = movable(SECOND * 3);
    let retry = Retry::constant(SECOND * 5).max_attempts(2).build().unwrap();
    let attempt = |_| {
        assert!(deadline.reset_after(SECOND * 60));
        std::future::ready(Err::<(), _>("down"))
    };
    let mut run = pin!(retry.run(&ctx, attempt));
    assert!(run.as_mut().now_or_never().is_none(), "60s are left, since the attempt has moved the deadline");
    time.advance(SECOND * 5);
    let error = run.now_or_never().expect("both attempts have failed").unwrap_err();
    assert_eq!((error.stop_reason(), error.attempts()), (Some(StopReason::Exhausted), 2));
}

#[tokio::test]
async fn blocking_retry_waits_if_the_deadline_was_moved_later_during_the_attempt() {
    let (ctx, deadline, time) = movable(SECOND * 3);
    let retry = Retry::constant(SECOND * 5).max_attempts(2).build().unwrap();
    let error = std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            retry.run_blocking(&ctx, |_| {
                assert!(deadline.reset_after(SECOND * 60));
                Err::<(), _>("down")
            })
        });
        // The retry sets its first timer at the start of the wait.
        futures::executor::block_on(time.wait_for_timers(1));
        time.advance(SECOND * 5);
        run.join().unwrap().unwrap_err()
    });
    assert_eq!((error.stop_reason(), error.attempts()), (Some(StopReason::Exhausted), 2));
}

#[tokio::test]
async fn retry_stops_if_the_deadline_was_moved_earlier_during_the_attempt() {
    let (ctx, deadline, _time) = movable(SECOND * 60);
    let retry = Retry::constant(SECOND * 5).build().unwrap();
    let run = retry.run(&ctx, |_| {
        assert!(deadline.reset_after(SECOND * 5));
        std::future::ready(Err::<(), _>("down"))
    });
    let error = run.now_or_never().expect("the wait would pass the current deadline").unwrap_err();
    assert_eq!(error.to_string(), "deadline too near: needs 5s, 5s left");
    assert_eq!((error.attempts(), retry.stats().deadline_refused), (1, 1));
}

#[tokio::test]
async fn wait_of_a_retry_follows_the_deadline() {
    let retry = Retry::constant(SECOND * 2).max_attempts(3).build().unwrap();
    let (ctx, deadline, time) = movable(SECOND * 3);
    let mut run = pin!(retry.run(&ctx, down));
    assert!(run.as_mut().now_or_never().is_none());
    assert!(deadline.reset_after(SECOND * 60));
    for _ in 0..2 {
        time.advance(SECOND * 2);
        let _ = run.as_mut().now_or_never();
    }
    assert_eq!(retry.stats().retries, 2, "the second wait is in time only by the moved deadline");

    let (ctx, deadline, time) = movable(SECOND * 3);
    let mut run = pin!(retry.run(&ctx, down));
    assert!(run.as_mut().now_or_never().is_none());
    assert!(deadline.reset_after(SECOND));
    time.advance(SECOND);
    let error = run.now_or_never().expect("the wait ends with its context").unwrap_err();
    assert!(error.is_deadline_exceeded() && error.attempts() == 1, "{error}");
}

// ===== limiter =====

/// Returns a limiter without tokens that earns one token per second.
fn limiter(ctx: &Context) -> RateLimiter {
    let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).burst(1).clock(ctx.clock()).build().unwrap();
    assert!(limiter.allow());
    limiter
}

#[tokio::test]
async fn waiter_whose_token_comes_later_is_refused_by_the_current_deadline() {
    for (moved, is_refused) in [(None, true), (Some(SECOND * 60), false), (Some(SECOND * 10), true)] {
        let (ctx, deadline, time) = movable(SECOND * 5);
        let limiter = limiter(&ctx);
        let mut wait = pin!(limiter.wait(&ctx));
        assert!(wait.as_mut().now_or_never().is_none());
        if let Some(moved) = moved {
            assert!(deadline.reset_after(moved));
        }
        limiter.set_rate(Rate::every(SECOND * 10)).unwrap();
        match wait.as_mut().now_or_never() {
            Some(result) => {
                let error = result.unwrap_err();
                assert!(is_refused && error.is_rejected() && error.is_deadline_exceeded(), "{moved:?}: {error}");
                assert_eq!(limiter.stats().deadline_refused, 1);
            }
            None => {
                assert!(!is_refused, "{moved:?}");
                time.advance(SECOND * 10);
                assert!(wait.now_or_never().is_some_and(|waited| waited.is_ok()), "{moved:?}");
            }
        }
    }
}

#[tokio::test]
async fn wait_for_a_token_ends_at_a_deadline_moved_before_it() {
    let (ctx, deadline, time) = movable(SECOND * 5);
    let limiter = limiter(&ctx);
    let mut wait = pin!(limiter.wait(&ctx));
    assert!(wait.as_mut().now_or_never().is_none());
    assert!(deadline.reset_after(SECOND / 2));
    time.advance(SECOND / 2);
    let error = wait.as_mut().now_or_never().expect("the wait ends with its context").unwrap_err();
    assert!(error.is_deadline_exceeded(), "{error}");
    assert_eq!((limiter.stats().waiters, limiter.stats().refunded), (0, 1));
}

#[tokio::test]
async fn limiter_in_a_stack_asks_for_the_current_deadline() {
    for (left, moved, is_refused) in [(SECOND * 5, SECOND, true), (SECOND, SECOND * 5, false)] {
        let (ctx, deadline, time) = movable(left);
        let limiter = limiter(&ctx);
        let stack: Stack<u32, &str> = Stack::builder().deadline(SECOND * 50).limiter(limiter).build().unwrap();
        let mut call = pin!(stack.run(&ctx, async |_| Ok(7)));
        // The call has not been polled yet.
        assert!(deadline.reset_after(moved));
        match call.as_mut().now_or_never() {
            Some(result) => assert!(is_refused && result.unwrap_err().is_rejected(), "from {left:?} to {moved:?}"),
            None => {
                assert!(!is_refused, "from {left:?} to {moved:?}");
                time.advance(SECOND);
                assert_eq!(call.now_or_never().map(|result| result.unwrap()), Some(7));
            }
        }
    }
}

// ===== idle timeouts =====

/// Polls `call` every half second of its clock, and resets the idle timeout each time, until the call is ready.
async fn keep_alive<T>(call: impl AsyncFn(&Context) -> T) -> T {
    let (clock, time) = Clock::manual();
    let (ctx, idle) = Context::background().with_clock(clock).with_idle_timeout(SECOND);
    let mut call = pin!(call(&ctx));
    for _ in 0..100 {
        if let Some(result) = call.as_mut().now_or_never() {
            return result;
        }
        settle().await;
        time.advance(SECOND / 2);
        assert!(idle.reset());
    }
    panic!("the call never ends")
}

#[tokio::test]
async fn nothing_is_refused_because_of_an_idle_timeout() {
    let slowly = |ctx: &Context| {
        let limiter = limiter(ctx);
        limiter.set_rate(Rate::every(SECOND * 5)).unwrap();
        limiter
    };
    let waited = keep_alive(async |ctx| slowly(ctx).wait(ctx).await).await;
    assert_eq!(waited.unwrap(), SECOND * 5);

    let retry = Retry::constant(SECOND * 5).max_attempts(2).build().unwrap();
    let error = keep_alive(async |ctx| retry.run(ctx, down).await).await.unwrap_err();
    assert_eq!((error.stop_reason(), error.attempts()), (Some(StopReason::Exhausted), 2));

    let hedge = Hedge::after(SECOND * 5).build().unwrap();
    let slow = async |ctx: Context| ctx.sleep(SECOND * 10).await;
    keep_alive(async |ctx| hedge.run(ctx, slow).await).await.unwrap();
    assert_eq!(hedge.stats().hedges, 1);

    let through_a_stack = async |ctx: &Context| {
        let stack: Stack<u32, &str> = Stack::builder()
            .retry(Retry::constant(SECOND * 5).max_attempts(3))
            .limiter(slowly(ctx))
            .attempt_timeout(SECOND * 20)
            .build()
            .unwrap();
        stack.run(ctx, down).await.unwrap_err()
    };
    let error = keep_alive(through_a_stack).await;
    assert_eq!((error.stop_reason(), error.attempts()), (Some(StopReason::Exhausted), 3));
}

#[tokio::test]
async fn idle_timeout_that_passes_ends_a_wait() {
    let (clock, time) = Clock::manual();
    let (ctx, _idle) = Context::background().with_clock(clock).with_idle_timeout(SECOND);
    let limiter = limiter(&ctx);
    limiter.set_rate(Rate::every(SECOND * 5)).unwrap();
    let mut wait = pin!(limiter.wait(&ctx));
    assert!(wait.as_mut().now_or_never().is_none());
    time.advance(SECOND);
    let error = wait.now_or_never().expect("the wait ends with its context").unwrap_err();
    assert!(format!("{error:#}").contains("idle for 1s"), "{error:#}");
}
