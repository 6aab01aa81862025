//! The fallback, tested against its specification.

use futures::future::FutureExt;
use ripcord::Context;
use ripcord_policy::{Error, Fallback};

#[tokio::test]
async fn fallback_answers_only_the_failures_it_is_for() {
    let ctx = Context::background();
    let fallback = Fallback::builder().value(7).when(|error| error.last() == Some(&"down")).build().unwrap();
    assert_eq!(fallback.run(&ctx, |_| async { Ok(1) }).await.unwrap(), 1);
    assert_eq!(fallback.run(&ctx, |_| async { Err("down") }).await.unwrap(), 7);
    assert!(
        fallback.run(&ctx, |_| async { Err("forbidden") }).await.is_err_and(|error| error.last() == Some(&"forbidden"))
    );
    let stats = fallback.stats();
    assert_eq!((stats.calls.started, stats.calls.succeeded, stats.calls.failed, stats.fallbacks), (3, 2, 1, 1));
}

#[tokio::test]
async fn caller_who_has_gone_gets_no_fallback() {
    let (ctx, cancel) = Context::background().with_cancel();
    let fallback = Fallback::value(7);
    let gone = fallback.run(&ctx, |_| async {
        cancel.cancel();
        Err("down")
    });
    let error = gone.await.unwrap_err();
    assert_eq!((error.is_canceled(), error.last()), (true, Some(&"down")));
    assert!(fallback.run(&ctx, |_| async { Ok(1) }).await.unwrap_err().is_canceled());
    let stats = fallback.stats();
    assert_eq!((stats.calls.started, stats.calls.canceled, stats.calls.rejected, stats.fallbacks), (1, 1, 1, 0));
}

#[tokio::test]
async fn error_of_the_fallback_is_the_result() {
    let ctx = Context::background();
    let fallback = Fallback::<u32, &str>::new(|_ctx, error| async move {
        assert_eq!(error.last(), Some(&"down"));
        Err(Error::new("fallback down too"))
    });
    let error = fallback.run(&ctx, |_| async { Err("down") }).await.unwrap_err();
    assert_eq!(error.to_string(), "fallback down too");
    assert_eq!(fallback.stats().calls.failed, 1);
}

#[tokio::test]
async fn call_dropped_at_any_await_point_counts_as_canceled() {
    let ctx = Context::background();
    let fallback = Fallback::<u32, &str>::new(|_, _| async {
        tokio::task::yield_now().await;
        Ok(7)
    });
    for polls in 0..3 {
        let mut call = Box::pin(fallback.run(&ctx, |_| async {
            tokio::task::yield_now().await;
            Err("down")
        }));
        for _ in 0..polls {
            let _ = call.as_mut().now_or_never();
        }
    }
    let stats = fallback.stats();
    assert_eq!((stats.calls.started, stats.calls.canceled), (2, 2));
}

#[tokio::test]
async fn panic_of_the_fallback_counts_as_failed() {
    let ctx = Context::background();
    let fallback = Fallback::<u32, &str>::new(|_, _| async { panic!("no default either") });
    let call = std::panic::AssertUnwindSafe(fallback.run(&ctx, |_| async { Err("down") }));
    assert!(call.catch_unwind().await.is_err());
    let calls = fallback.stats().calls;
    assert_eq!((calls.failed, calls.canceled), (1, 0));
}
