//! The bulkhead, tested against its specification on a manual clock.

use std::time::Duration;

use futures::future::FutureExt;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::{Bulkhead, Outcome};

const SECOND: Duration = Duration::from_secs(1);

fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

fn bulkhead(limit: usize, queue: usize) -> Bulkhead {
    Bulkhead::builder().limit(limit).queue(queue).build().unwrap()
}

#[tokio::test]
async fn calls_above_limit_and_queue_are_refused() {
    let (ctx, _time) = manual();
    let bulkhead = bulkhead(2, 2);
    let first = bulkhead.acquire(&ctx).await.unwrap();
    let second = bulkhead.try_acquire().unwrap();
    assert_eq!(bulkhead.try_acquire().unwrap_err().to_string(), "all 2 permits are in use");
    let (mut third, mut fourth) = (Box::pin(bulkhead.acquire(&ctx)), Box::pin(bulkhead.acquire(&ctx)));
    assert!(third.as_mut().now_or_never().is_none());
    assert!(fourth.as_mut().now_or_never().is_none());
    assert_eq!((bulkhead.stats().calls.in_flight(), bulkhead.stats().waiting), (2, 2));
    assert!(bulkhead.acquire(&ctx).await.unwrap_err().is_rejected());

    drop(first);
    assert!(bulkhead.try_acquire().is_err(), "those who wait come first");
    assert!(fourth.as_mut().now_or_never().is_none(), "in the order of asking");
    let third = third.await.unwrap();
    second.record(Outcome::Success);
    let fourth = fourth.await.unwrap();
    drop((third, fourth));
    let stats = bulkhead.stats();
    assert_eq!((stats.calls.in_flight(), stats.waiting), (0, 0));
    assert_eq!((stats.calls.started, stats.calls.succeeded, stats.calls.canceled, stats.calls.rejected), (4, 1, 3, 3));
}

#[tokio::test]
async fn waiter_leaves_the_queue_when_its_context_ends() {
    let (ctx, time) = manual();
    let bulkhead = bulkhead(1, 10);
    let held = bulkhead.try_acquire().unwrap();
    let limited = ctx.with_timeout(SECOND);
    let mut waiting = Box::pin(bulkhead.acquire(&limited));
    assert!(waiting.as_mut().now_or_never().is_none());
    time.advance(SECOND);
    assert!(waiting.await.unwrap_err().is_deadline_exceeded());
    assert!(bulkhead.acquire(&limited).await.unwrap_err().is_deadline_exceeded(), "a done context does not even ask");
    drop(held);
    assert!(bulkhead.acquire(&limited).await.is_err());
    assert_eq!((bulkhead.stats().calls.in_flight(), bulkhead.stats().waiting), (0, 0));
}

#[tokio::test]
async fn call_dropped_at_any_await_point_returns_its_permit() {
    let (ctx, time) = manual();
    let bulkhead = bulkhead(1, 10);
    for polls in 0..5 {
        let held = bulkhead.try_acquire().unwrap();
        let mut call = Box::pin(bulkhead.run(&ctx, |ctx| async move {
            ctx.sleep(SECOND).await?;
            ctx.sleep(SECOND).await
        }));
        for poll in 0..polls {
            let _ = call.as_mut().now_or_never();
            if poll == 1 {
                time.advance(SECOND);
            }
        }
        drop(held);
        if polls > 2 {
            assert!(call.as_mut().now_or_never().is_none());
        }
        drop(call);
        let stats = bulkhead.stats();
        assert_eq!((stats.calls.in_flight(), stats.waiting), (0, 0), "after {polls} polls");
        assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled);
    }
}

#[tokio::test]
async fn panicking_call_counts_as_failed_and_returns_its_permit() {
    let (ctx, _time) = manual();
    let bulkhead = bulkhead(1, 0);
    assert_eq!(bulkhead.run(&ctx, |_| async { Ok::<_, &str>(1) }).await.unwrap(), 1);
    let failed = bulkhead.run(&ctx, |_| async { Err::<(), _>("down") }).await.unwrap_err();
    assert_eq!(failed.last(), Some(&"down"));
    let (canceled, cancel) = ctx.with_cancel();
    let gone = bulkhead.run(&canceled, |_| async {
        cancel.cancel();
        Err::<(), _>("gone")
    });
    assert!(gone.await.is_err());
    let panicked = std::panic::AssertUnwindSafe(bulkhead.run(&ctx, |_| async {
        panic!("oh");
        #[allow(unreachable_code, reason = "types it")]
        Ok::<(), &str>(())
    }));
    assert!(panicked.catch_unwind().await.is_err());
    let stats = bulkhead.stats();
    assert_eq!(
        (stats.calls.started, stats.calls.succeeded, stats.calls.failed, stats.calls.canceled, stats.calls.in_flight()),
        (4, 1, 2, 1, 0)
    );
}

#[test]
fn setting_out_of_bounds_is_named() {
    let error = Bulkhead::builder().limit(0).build().unwrap_err();
    assert_eq!(error.to_string(), "limit must be at least 1, got 0");
    assert_eq!(Bulkhead::builder().build().unwrap_err().to_string(), "limit must be at least 1, got nothing");
    assert_eq!(Bulkhead::builder().limit(usize::MAX).build().unwrap_err().field(), "limit");
}
