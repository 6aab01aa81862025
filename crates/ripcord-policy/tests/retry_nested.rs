//! Nested retries do not multiply. The context of an attempt tells an inner retry about the outer retry, wherever the context is
//! passed.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ripcord::{Clock, Context, Value};
use ripcord_policy::cache::Cache;
use ripcord_policy::pool::WorkerPool;
use ripcord_policy::retry::RetryBuilder;
use ripcord_policy::{Attempt, Bulkhead, Error, Rate, RateLimiter, Retry, RetryBudget, Stack, StopReason};

#[derive(Clone, Debug)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for Down {}

type Called = Result<(), Down>;

/// Returns the settings of a retry with four attempts and no waits.
fn settings<E>() -> RetryBuilder<E> {
    Retry::constant(Duration::ZERO)
}

fn retry<E>() -> Retry<E> {
    settings().build().unwrap()
}

/// Returns the context of an attempt under `ctx`.
async fn attempt_of(ctx: &Context) -> Context {
    retry::<Down>().run(ctx, |ctx| async { Ok(ctx) }).await.unwrap()
}

/// The innermost callee. It counts its calls, and each call fails.
#[derive(Clone, Default)]
struct Callee(Arc<AtomicU32>);

impl Callee {
    /// Returns the inner layer as a future that owns all its parts, so that it can run anywhere.
    fn with_retry(&self, ctx: Context) -> impl Future<Output = Called> + Send + 'static {
        let calls = Arc::clone(&self.0);
        async move {
            let down = |ctx: Context| {
                assert!(Attempt::is_inside_retry(&ctx));
                calls.fetch_add(1, Ordering::Relaxed);
                async { Err(Down) }
            };
            check_nested(retry().run(&ctx, down).await)
        }
    }

    fn calls(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Checks that the inner layer made one attempt, because it knows about the outer retry.
fn check_nested(result: Result<(), Error<Down>>) -> Called {
    let error = result.unwrap_err();
    assert_eq!(error.stop_reason(), Some(StopReason::Nested), "{error}");
    assert_eq!(error.attempts(), 1);
    Err(Down)
}

/// A function that runs the inner layer under a context, for example in a task.
type Place = Box<dyn Fn(Callee, Context) -> BoxFuture<'static, Called>>;

async fn four_calls_only(what: &str, place: Place) {
    let ctx = Context::background();
    let callee = Callee::default();
    let outer = retry();
    let run = outer.run(&ctx, |ctx| place(callee.clone(), ctx));
    assert_eq!(run.await.unwrap_err().attempts(), 4, "{what}");
    assert_eq!(callee.calls(), 4, "{what}");
    assert!(!Attempt::is_inside_retry(&ctx));
}

#[tokio::test]
async fn wherever_an_attempts_context_goes() {
    let here = |callee: Callee, ctx| callee.with_retry(ctx).boxed();
    four_calls_only("in the attempt", Box::new(here)).await;
    four_calls_only(
        "in a task",
        Box::new(|callee, ctx| tokio::spawn(callee.with_retry(ctx)).map(Result::unwrap).boxed()),
    )
    .await;
    four_calls_only(
        "in a thread",
        Box::new(|callee, ctx| {
            let inner = move || callee.with_retry(ctx).now_or_never().expect("nothing waits");
            async { std::thread::spawn(inner).join().unwrap() }.boxed()
        }),
    )
    .await;
    four_calls_only(
        "in the ambient scope",
        Box::new(|callee, ctx| ctx.scope(async move { callee.with_retry(Context::current()).await }).boxed()),
    )
    .await;
    struct Tag;
    impl Value for Tag {}
    type Derive = fn(&Context) -> Context;
    let derived: [(&str, Derive); 9] = [
        ("a clone", Context::clone),
        ("a value", |ctx| ctx.with_value(Tag)),
        ("a name", |ctx| ctx.with_name("inner")),
        ("a timeout", |ctx| ctx.with_timeout(Duration::from_secs(60))),
        ("detached", Context::without_cancel),
        ("merged", |ctx| ctx.merge(&Context::background().with_name("other"))),
        ("merged into another", |ctx| Context::background().with_name("other").merge(ctx)),
        ("merged with a root", |ctx| ctx.merge(&Context::todo())),
        ("merged into a root", |ctx| Context::background().merge(ctx)),
    ];
    for (what, derive) in derived {
        four_calls_only(what, Box::new(move |callee, ctx| callee.with_retry(derive(&ctx)).boxed())).await;
    }
}

#[tokio::test]
async fn through_a_pool_and_a_load() {
    let ctx = Context::background();
    let pool = Arc::new(WorkerPool::builder().workers(1).queue(8).build(&ctx).unwrap());
    let handed_in = Arc::clone(&pool);
    let place: Place = Box::new(move |callee, ctx| {
        let pool = Arc::clone(&handed_in);
        async move {
            let inner = move |ctx| async move { Ok::<_, Down>(callee.with_retry(ctx).await) };
            let task = pool.submit(&ctx, inner).await.unwrap();
            task.await.unwrap()
        }
        .boxed()
    });
    // The same context was used outside of a retry before. The pool does not confuse the two.
    let outside = pool.submit(&ctx, |ctx| async move { Ok::<_, Down>(Attempt::is_inside_retry(&ctx)) }).await.unwrap();
    assert!(!outside.await.unwrap());
    four_calls_only("a task of a pool", place).await;
    let outside = pool.submit(&ctx, |ctx| async move { Ok::<_, Down>(Attempt::is_inside_retry(&ctx)) }).await.unwrap();
    assert!(!outside.await.unwrap());
    pool.shutdown(&ctx).await.unwrap();

    let cache = Cache::<u32, u32>::builder().capacity(8).build(&ctx).unwrap();
    let place: Place = Box::new(move |callee, ctx| {
        let cache = cache.clone();
        async move {
            let load = |ctx| async move { callee.with_retry(ctx).await.map(|()| 1) };
            let error = cache.get_or_load(&ctx, 1, load).await.unwrap_err();
            assert!(error.last().is_some_and(|error| error.downcast_ref::<Down>().is_some()), "{error}");
            Err(Down)
        }
        .boxed()
    });
    four_calls_only("a load", place).await;
}

#[test]
fn threads_tell_their_layers_too() {
    let ctx = Context::background();
    let mut calls = 0;
    let result = retry().run_blocking(&ctx, |ctx| {
        let inner = retry().run_blocking(&ctx, |_| {
            calls += 1;
            Err::<(), _>(Down)
        });
        check_nested(inner)
    });
    assert_eq!((result.unwrap_err().attempts(), calls), (4, 4));
}

#[test]
fn retry_polled_by_an_attempt_but_not_of_it_goes_on() {
    // Work of another caller that an attempt waits for, such as a shared load, does not belong to the attempt.
    let ctx = Context::background();
    let calls = AtomicU32::new(0);
    let others = retry();
    let calls = &calls;
    let run = others.run(&ctx, |ctx| {
        let attempt = Attempt::number(&ctx);
        calls.fetch_add(1, Ordering::Relaxed);
        async move { if attempt < 2 { Err(Down) } else { Ok(()) } }
    });
    let shared = run.map(|result| result.is_ok()).shared();
    let outer = retry();
    let waiting = outer.run(&ctx, |ctx| {
        let shared = shared.clone();
        async move { if Attempt::is_inside_retry(&ctx) && shared.await { Ok(()) } else { Err(Down) } }
    });
    assert!(waiting.now_or_never().expect("nothing waits").is_ok());
    assert_eq!((calls.load(Ordering::Relaxed), outer.stats().retries), (3, 0));
}

#[tokio::test]
async fn context_that_an_attempt_derives_for_others_is_not_inside_the_retry() {
    let ctx = Context::background();
    let outer = retry::<Down>();
    for derive in [Context::clone, |ctx: &Context| ctx.with_name("connect")] {
        let build = |ctx: Context| async move { Ok(WorkerPool::builder().workers(1).build(&derive(&ctx)).unwrap()) };
        let pool = outer.run(&ctx, build).await.unwrap();
        let inner = |ctx: Context| async move {
            let retry = retry();
            let result = retry.run(&ctx, |ctx| async move {
                let attempt = Attempt::number(&ctx);
                if attempt < 2 { Err(Down) } else { Ok(attempt) }
            });
            result.await.map_err(|error| error.into_last().unwrap())
        };
        assert_eq!(pool.submit(&ctx, inner).await.unwrap().await.unwrap(), 2);
        let attempt = attempt_of(&ctx).await;
        assert!(pool.submit(&attempt, inner).await.unwrap().await.is_err(), "its own is another matter");

        let build = |ctx: Context| async move { Ok(Cache::builder().capacity(8).build(&derive(&ctx)).unwrap()) };
        let cache = outer.run(&ctx, build).await.unwrap();
        assert_eq!(cache.get_or_load(&ctx, 1, inner).await.unwrap(), 2);
        assert!(cache.get_or_load(&attempt, 2, inner).await.is_err(), "its own is another matter");
    }
}

/// A retry around a stack with its own retry. The inner retry makes one attempt, and the outer retry reads the error of this
/// attempt.
#[tokio::test]
async fn outer_retry_uses_the_last_error_of_an_inner_retry() {
    let ctx = Context::background();
    let budget = Arc::new(RetryBudget::new());
    let outer = settings::<Error<Down>>().budget(Arc::clone(&budget)).over_policies().build().unwrap();
    let middle: Stack<(), Down> = Stack::builder().retry(retry()).build().unwrap();
    let middle = &middle;
    let error = outer.run(&ctx, |ctx| async move { middle.run(&ctx, |_| async { Err(Down) }).await }).await;
    assert_eq!((error.unwrap_err().attempts(), middle.stats().attempts), (4, 4));
    assert_eq!(budget.tokens(), 500 - 3 * 5);

    // For any number of nested retries, the last error decides. A transient rejection was not sent.
    let nested = |last: Error<Down>| {
        let (inner, middle) =
            (settings().over_policies().build().unwrap(), settings().over_policies().build().unwrap());
        async move {
            let attempt = attempt_of(&Context::background()).await;
            let mut last = Some(last);
            let (inner, last) = (&inner, &mut last);
            let run = middle.run(&attempt, |ctx| {
                let last = last.take().expect("each makes one attempt");
                async move {
                    let last = &mut Some(last);
                    let run = inner.run(&ctx, |_| std::future::ready(Err::<(), _>(last.take().unwrap())));
                    Err::<(), Error<Down>>(Error::from(run.await.unwrap_err()))
                }
            });
            Err::<(), Error<Down>>(Error::from(run.await.unwrap_err()))
        }
    };
    let full = || {
        let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
        let _permit = bulkhead.try_acquire();
        Error::from(bulkhead.try_acquire().unwrap_err())
    };
    let error = outer.run(&ctx, |_| nested(full())).await.unwrap_err();
    assert_eq!((error.attempts(), budget.tokens()), (4, 485), "nothing was sent");
    let cache = Cache::<u8, u8>::builder().capacity(1).build(&ctx).unwrap();
    cache.close();
    let closed = cache.insert(&ctx, 1, 1).unwrap_err();
    let error = outer.run(&ctx, |_| nested(closed.clone().into())).await.unwrap_err();
    assert!(error.stop_reason() == Some(StopReason::NotRetryable), "{error}");
    let hanging: Stack<(), Down> = Stack::builder().attempt_timeout(Duration::from_millis(1)).build().unwrap();
    let timeout = hanging.run(&ctx, |_| std::future::pending()).await.unwrap_err();
    outer.run(&ctx, |_| nested(timeout.clone())).await.unwrap_err();
    assert_eq!(budget.tokens(), 485 - 3 * 10);

    let limiter = RateLimiter::new(Rate::ZERO, 1).unwrap();
    assert!(limiter.allow());
    let too_near = limiter.wait(&ctx.with_timeout(Duration::from_secs(60))).await.unwrap_err();
    let error = outer.run(&ctx, |_| nested(too_near.clone().into())).await.unwrap_err();
    assert_eq!(error.stop_reason(), Some(StopReason::NotRetryable), "{error}");
    assert!(Error::<Down>::from(error).is_deadline_exceeded());

    // An inner retry that finds its error not retryable is not run again.
    let picky = settings().retry_if(|_| false).build().unwrap();
    let picky = &picky;
    let error = outer.run(&ctx, |ctx| async move { picky.run(&ctx, |_| async { Err::<(), _>(Down) }).await });
    assert!(error.await.unwrap_err().stop_reason() == Some(StopReason::NotRetryable));
}

#[tokio::test]
async fn background_load_is_not_inside_a_retry() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock);
    let second = Duration::from_secs(1);
    let cache = Cache::builder().capacity(8).ttl(second).stale_for(60 * second).build(&ctx).unwrap();
    cache.insert(&ctx, 1, 1).unwrap();
    time.advance(second);
    let (tell, told) = tokio::sync::oneshot::channel();
    let load = |ctx: Context| async move {
        tell.send(Attempt::is_inside_retry(&ctx)).unwrap();
        Ok::<_, Down>(2)
    };
    assert_eq!(cache.get_or_load(&attempt_of(&ctx).await, 1, load).await.unwrap(), 1, "a stale one, at once");
    assert!(!told.await.unwrap());
}
