//! The stream of finished jobs.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use ripcord_policy::pool::JobOutcome;

use crate::common::{Failed, manual, pool, settle};

#[tokio::test]
async fn result_of_a_job_whose_handle_is_dropped_goes_to_the_stream() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let mut results = pool.results();
    let kept = pool.submit(&ctx, |_| async { Ok::<_, Failed>(1_u32) }).await.unwrap();
    drop(pool.submit(&ctx, |_| async { Ok::<_, Failed>("text") }).await.unwrap());
    drop(pool.submit(&ctx, |_| async { Err::<(), _>(Failed::other("down")) }).await.unwrap());
    let (gone, cancel) = ctx.with_cancel();
    drop(pool.submit(&gone, |_| std::future::pending::<Result<(), Failed>>()).await.unwrap());
    settle().await;
    cancel.cancel();

    let first = results.next(&ctx).await.unwrap().unwrap();
    assert_eq!((first.id(), first.outcome()), (kept.id(), JobOutcome::Succeeded));
    assert!(first.take::<u32>().is_none(), "it belongs to the handle");
    assert_eq!(kept.await.unwrap(), 1);
    let second = results.next(&ctx).await.unwrap().unwrap();
    assert!(second.take::<u32>().is_none(), "another type leaves the result there");
    assert_eq!(second.take::<&str>().unwrap().unwrap(), "text");
    let third = results.next(&ctx).await.unwrap().unwrap();
    assert_eq!(third.outcome(), JobOutcome::Failed);
    assert_eq!(third.take::<()>().unwrap().unwrap_err().to_string(), "down");
    let fourth = results.next(&ctx).await.unwrap().unwrap();
    assert_eq!(fourth.outcome(), JobOutcome::Canceled);
    assert!(results.next(&ctx.with_timeout(Duration::ZERO)).await.unwrap_err().is_deadline_exceeded());
    pool.shutdown(&ctx).await.unwrap();
    assert!(results.next(&ctx).await.unwrap().is_none(), "it ends with the pool");
}

#[tokio::test]
async fn readers_that_give_up_leave_no_wakers_behind() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let mut results = pool.results();
    let wakers: Vec<_> = (0..100).map(|_| Arc::new(Unwoken)).collect();
    for waker in &wakers {
        let waker = std::task::Waker::from(Arc::clone(waker));
        let mut next = Box::pin(results.next(&ctx));
        assert!(next.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    }
    let kept = wakers.iter().filter(|waker| Arc::strong_count(waker) > 1).count();
    assert!(kept <= 1, "{kept}");
    drop(results);
    assert!(wakers.iter().all(|waker| Arc::strong_count(waker) == 1));
}

struct Unwoken;

impl std::task::Wake for Unwoken {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test]
async fn read_dropped_at_any_await_point_loses_no_finished_job() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let mut results = pool.results();
    for polls in 0..3 {
        let mut next = Box::pin(results.next(&ctx));
        (0..polls).for_each(|_| assert!(next.as_mut().now_or_never().is_none()));
        drop(pool.submit(&ctx, |_| async { Ok::<_, Failed>(1) }).await.unwrap());
        settle().await;
        // The future was woken because the job has finished, but it is not polled again.
        drop(next);
        assert_eq!(results.next(&ctx).await.unwrap().unwrap().take::<i32>().unwrap().unwrap(), 1);
    }
}

#[tokio::test]
async fn finished_job_wins_over_an_end_at_the_same_moment() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let mut results = pool.results();
    let (own, cancel) = ctx.with_cancel();
    let mut next = Box::pin(results.next(&own));
    assert!(next.as_mut().now_or_never().is_none());
    drop(pool.submit(&ctx, |_| async { Ok::<_, Failed>(1) }).await.unwrap());
    settle().await;
    cancel.cancel();
    assert!(next.await.unwrap().is_some());
    drop(pool.submit(&ctx, |_| async { Ok::<_, Failed>(1) }).await.unwrap());
    settle().await;
    assert!(results.next(&own).await.unwrap_err().is_canceled(), "it ended before the call");
    assert!(results.next(&ctx).await.unwrap().is_some(), "nothing was taken");
}

#[tokio::test]
async fn several_readers_share_the_finished_jobs_and_all_see_the_end() {
    let (ctx, _time) = manual();
    let pool = pool(&ctx, 1, 10);
    let readers = [pool.results(), pool.results()];
    let counts = readers.map(|reader| tokio::spawn(reader.map(|done| done.id()).collect::<Vec<_>>()));
    let mut submitted = Vec::new();
    for _ in 0..10 {
        submitted.push(pool.submit(&ctx, |_| async { Ok::<_, Failed>(()) }).await.unwrap().id());
        settle().await;
    }
    pool.shutdown(&ctx).await.unwrap();
    let mut seen = Vec::new();
    for count in counts {
        seen.extend(count.await.unwrap());
    }
    seen.sort();
    assert_eq!(seen, submitted, "each once");
    assert!(pool.results().next(&ctx).await.unwrap().is_none(), "one opened afterwards ends at once");
}
