//! The calls that each layer sees, for every end of a call that is sent.

use std::sync::{Arc, Mutex};

use futures::future::FutureExt;
use ripcord::Context;
use ripcord_policy::breaker::State;
use ripcord_policy::{Attempt, Cache, Fallback, Retry, Stack};

use crate::common::{Down, SECOND, fixture};

#[tokio::test]
async fn success() {
    let it = fixture();
    assert_eq!(it.stack.run(&it.ctx, |_| async { Ok(7) }).await.unwrap(), 7);
    assert_eq!(it.saw(), [1, 0, 0, 1, 1, 1]);
    assert_eq!(
        (it.breaker.stats().calls.succeeded, it.bulkhead.stats().calls.succeeded, it.stack.stats().calls.succeeded),
        (1, 1, 1)
    );
    assert_eq!(it.fallback.stats().fallbacks, 0);
    it.at_rest();
}

#[tokio::test]
async fn failure_is_retried_and_given_up() {
    let it = fixture();
    let error = it.finish(it.stack.run(&it.ctx, |_| async { Err(Down) })).await.unwrap_err();
    assert_eq!(error.last(), Some(&Down));
    assert_eq!(it.saw(), [2, 1, 0, 2, 2, 2]);
    assert_eq!(
        (it.breaker.stats().calls.failed, it.bulkhead.stats().calls.failed, it.stack.stats().calls.failed),
        (2, 2, 1)
    );
    assert_eq!((it.fallback.stats().fallbacks, it.budget.tokens()), (1, 495));
    it.at_rest();
}

#[tokio::test]
async fn callers_cancellation_is_neutral_everywhere() {
    let it = fixture();
    let (ctx, cancel) = it.ctx.with_cancel();
    let mut dropped = Box::pin(it.stack.run(&ctx, |_| std::future::pending()));
    assert!(dropped.as_mut().now_or_never().is_none());
    drop(dropped);
    let mut canceled = Box::pin(it.stack.run(&ctx, |_| std::future::pending()));
    assert!(canceled.as_mut().now_or_never().is_none());
    cancel.cancel();
    assert!(canceled.await.unwrap_err().is_canceled());
    assert!(it.stack.run(&ctx, |_| async { Ok(7) }).await.unwrap_err().is_canceled());
    assert_eq!(it.saw(), [2, 0, 0, 2, 2, 2], "the last one reached nobody");
    assert_eq!((it.breaker.stats().calls.failed, it.breaker.stats().calls.canceled), (0, 2));
    let stack = it.stack.stats();
    assert_eq!((stack.calls.canceled, stack.calls.rejected, stack.calls.failed), (2, 1, 0));
    assert_eq!(it.fallback.stats().fallbacks, 0);
    it.at_rest();
}

#[tokio::test]
async fn attempt_timeout_is_a_failure_and_a_hedge_comes_before_it() {
    let it = fixture();
    let error = it.finish(it.stack.run(&it.ctx, |_| std::future::pending())).await.unwrap_err();
    assert!(error.is_attempt_timeout());
    assert!(!error.is_deadline_exceeded(), "the caller's time is not over");
    assert_eq!(it.saw(), [4, 1, 2, 4, 4, 4], "two attempts, each doubled");
    assert_eq!((it.breaker.stats().calls.failed, it.breaker.state()), (4, State::Open));
    it.at_rest();
}

#[tokio::test]
async fn error_after_the_callers_end_is_nobodys_failure() {
    let it = fixture();
    let (ctx, cancel) = it.ctx.with_cancel();
    let cancel = &cancel;
    let call = it.stack.run(&ctx, |_| async move {
        cancel.cancel_with("the client has gone");
        Err(Down)
    });
    assert!(call.await.unwrap_err().is_canceled());
    let (breaker, bulkhead) = (it.breaker.stats(), it.bulkhead.stats());
    assert_eq!(
        (breaker.calls.failed, breaker.calls.canceled, bulkhead.calls.failed, bulkhead.calls.canceled),
        (0, 1, 0, 1)
    );
    assert_eq!(
        (it.hedge.stats().calls.failed, it.retry.stats().calls.failed, it.stack.stats().calls.failed),
        (0, 0, 0)
    );
    assert_eq!((it.fallback.stats().fallbacks, it.budget.tokens()), (0, 500));
    it.at_rest();

    // The end is also reported without a retry.
    let (ctx, cancel) = it.ctx.with_cancel();
    let cancel = &cancel;
    let plain: Stack<u32, Down> = Stack::builder().build().unwrap();
    let call = plain.run(&ctx, |_| async move {
        cancel.cancel();
        Err(Down)
    });
    let error = call.await.unwrap_err();
    assert_eq!((error.is_canceled(), error.last()), (true, Some(&Down)));
    assert_eq!((plain.stats().calls.failed, plain.stats().calls.canceled), (0, 1));
}

#[tokio::test]
async fn panicking_call_harms_only_itself() {
    let it = fixture();
    let call = std::panic::AssertUnwindSafe(
        it.stack.run(&it.ctx, |_| -> std::future::Ready<Result<u32, Down>> { panic!("oh") }),
    );
    assert!(call.catch_unwind().await.is_err());
    let keyed = it.stack.run_keyed(&it.ctx, "key", |_| -> std::future::Ready<Result<u32, Down>> { panic!("oh") });
    assert!(it.finish(keyed).await.unwrap_err().is_panicked());
    assert_eq!(it.stack.run(&it.ctx, |_| async { Ok(7) }).await.unwrap(), 7);
    it.at_rest();
}

#[tokio::test]
async fn panic_of_the_fallback_counts_as_failed_with_a_key_and_without() {
    let ctx = Context::background();
    let stack: Stack<u32, Down, u32> = Stack::builder()
        .fallback(Fallback::new(|_, _| async { panic!("no default either") }))
        .cache(Cache::builder().capacity(1).build(&ctx).unwrap())
        .build()
        .unwrap();
    let run = std::panic::AssertUnwindSafe(stack.run(&ctx, |_| async { Err(Down) }));
    assert!(run.catch_unwind().await.is_err());
    let run = std::panic::AssertUnwindSafe(stack.run_keyed(&ctx, 7, |_| async { Err(Down) }));
    assert!(run.catch_unwind().await.is_err());
    let calls = stack.stats().calls;
    assert_eq!((calls.failed, calls.canceled), (2, 0));
}

#[tokio::test]
async fn retry_judges_the_error_of_the_call_and_its_hook_gets_the_callers_context() {
    let it = fixture();
    let names = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&names);
    let retry = Retry::constant(SECOND)
        .max_attempts(5)
        .retry_if(|error: &&str| *error == "temporary")
        .on_retry(move |event| log.lock().unwrap().push(event.ctx.name().unwrap().to_owned()))
        .build()
        .unwrap();
    let stack: Stack<u32, &'static str> = Stack::builder().retry(retry).attempt_timeout(SECOND * 5).build().unwrap();
    let ctx = it.ctx.with_name("request 7");
    let call =
        stack.run(&ctx, |ctx| async move { Err(if Attempt::number(&ctx) == 0 { "temporary" } else { "permanent" }) });
    let error = it.finish(call).await.unwrap_err();
    assert_eq!((error.attempts(), error.last()), (2, Some(&"permanent")));
    assert_eq!(*names.lock().unwrap(), ["request 7"]);
}
