//! Movable deadlines and idle timeouts on tokio's clock, and the tokens that end with them.
#![cfg(all(feature = "tokio", feature = "tokio-util"))]

mod common;

use common::{HOUR, SEC, manual};
use ripcord::{Clock, Context};

#[tokio::test(start_paused = true)]
async fn only_stalled_streams_of_ten_thousand_end_on_paused_time() {
    let root = Context::background().with_clock(Clock::tokio());
    let start = tokio::time::Instant::now();
    let streams: Vec<_> = (0..10_000).map(|_| root.with_idle_timeout(SEC)).collect();
    let waiting: Vec<_> = streams.iter().map(|(ctx, _)| tokio::spawn(ctx.done_owned())).collect();
    let stalls = |stream: usize| stream % 10 == 3;
    for _ in 0..10 {
        tokio::time::sleep(SEC / 2).await;
        for (stream, (ctx, idle)) in streams.iter().enumerate() {
            if !stalls(stream) {
                assert!(if stream % 2 == 0 { idle.reset() } else { ctx.progress() });
            }
        }
    }
    for (stream, (ctx, _)) in streams.iter().enumerate() {
        assert_eq!((ctx.is_done(), waiting[stream].is_finished()), (stalls(stream), stalls(stream)), "stream {stream}");
    }
    for waiting in waiting {
        assert!(waiting.await.expect("it does not panic").origin().is_idle_timeout());
    }
    assert_eq!(start.elapsed(), 6 * SEC);
}

#[tokio::test(start_paused = true)]
async fn movable_deadline_follows_paused_time() {
    let root = Context::background().with_clock(Clock::tokio());
    let (ctx, deadline) = root.with_movable_deadline(root.clock().now() + 5 * SEC);
    let start = tokio::time::Instant::now();
    let waiting = tokio::spawn(ctx.done_owned());
    tokio::task::yield_now().await;
    assert!(deadline.reset_after(60 * SEC));
    tokio::time::sleep(10 * SEC).await;
    assert!(!waiting.is_finished());
    assert!(deadline.reset_after(SEC));
    assert!(waiting.await.expect("it does not panic").is_deadline_exceeded());
    assert_eq!(start.elapsed(), 11 * SEC);
}

#[test]
fn token_is_canceled_at_the_moved_deadline() {
    let (root, time) = manual();
    let (ctx, deadline) = root.with_movable_deadline(time.now() + 5 * SEC);
    let tokens = [ctx.cancellation_token(), ctx.with_timeout(HOUR).cancellation_token()];
    assert!(deadline.reset_after(60 * SEC));
    time.advance(59 * SEC);
    assert!(tokens.iter().all(|token| !token.is_cancelled()));
    time.advance(SEC);
    assert!(tokens.iter().all(|token| token.is_cancelled()));
}

#[test]
fn token_is_canceled_at_the_last_deadline_after_every_handle_was_dropped() {
    let (root, time) = manual();
    let (ctx, deadline) = root.with_movable_deadline(time.now() + 5 * SEC);
    let token = ctx.with_name("below").cancellation_token();
    assert!(deadline.reset_after(60 * SEC));
    drop((ctx, deadline));
    time.advance(59 * SEC);
    assert!(!token.is_cancelled());
    time.advance(SEC);
    assert!(token.is_cancelled());
}

#[test]
fn token_of_an_idle_timeout_is_canceled_when_nothing_is_left_to_reset_it() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_cancel();
    let token = parent.with_idle_timeout(30 * SEC).0.cancellation_token();
    let by_parent = parent.with_idle_timeout(HOUR).0.cancellation_token();
    let (from_token, idle) = root.with_cancellation_token(&token).with_idle_timeout(HOUR);
    time.advance(30 * SEC);
    assert!(token.is_cancelled() && from_token.is_done() && !idle.reset() && !by_parent.is_cancelled());
    cancel.cancel();
    assert!(by_parent.is_cancelled());
}
