//! The cache around the other layers.

use ripcord::Context;
use ripcord_policy::cache::{Cache, Source};
use ripcord_policy::{Fallback, Outcome, Stack};

use crate::common::{Down, SECOND, fixture, settle};

#[tokio::test]
async fn cache_hit_skips_inner_layers_and_misses_share_one_call() {
    let it = fixture();
    let call = || {
        it.stack.run_keyed(&it.ctx, "key", |ctx: Context| async move {
            ctx.sleep(SECOND).await.map_err(|_| Down)?;
            Ok(7)
        })
    };
    let (first, second) = it.finish(async { tokio::join!(call(), call()) }).await;
    assert_eq!((first.unwrap(), second.unwrap()), (7, 7));
    assert_eq!(it.saw(), [1, 0, 0, 1, 1, 1]);
    assert_eq!(call().await.unwrap(), 7);
    assert_eq!(it.saw(), [1, 0, 0, 1, 1, 1]);
    assert_eq!((it.cache.stats().hits, it.cache.stats().coalesced), (1, 1));
    it.at_rest();
}

#[tokio::test]
async fn source_of_the_value_is_reported_also_when_the_fallback_answers() {
    let it = fixture();
    let find = |key, ms: u64, result: Result<u32, Down>| {
        it.stack.find_keyed(&it.ctx, key, move |ctx: Context| {
            let result = result.clone();
            async move {
                ctx.sleep(std::time::Duration::from_millis(ms)).await.map_err(|_| Down)?;
                result
            }
        })
    };
    let (first, second) = it.finish(async { tokio::join!(find("key", 9, Ok(7)), find("key", 9, Ok(8))) }).await;
    let third = find("key", 0, Err(Down)).await;
    let sources = [first, second, third].map(|found| found.map(|found| (found.value, found.source)).unwrap());
    assert_eq!(sources, [(7, Source::Loaded), (7, Source::Joined), (7, Source::Hit)]);

    let cache = Cache::builder().capacity(9).build(&it.ctx).unwrap();
    let stack: Stack<u32, Down, u8> = Stack::builder().fallback(Fallback::value(5)).cache(cache).build().unwrap();
    let found = it.finish(stack.find_keyed(&it.ctx, 1, |_| async { Err(Down) })).await.unwrap();
    assert_eq!((found.value, found.source), (5, Source::Fallback));
    it.at_rest();
}

#[tokio::test]
async fn shared_call_that_nobody_waits_for_is_canceled_at_the_callers_line() {
    let it = fixture();
    let (told, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let mut call = Box::pin(it.stack.run_keyed(&it.ctx, "key", move |ctx: Context| {
        let told = told.clone();
        let watched = ctx.clone();
        let _watch = ctx.after_func(move || {
            told.send(watched.err().unwrap().origin().location().file()).unwrap();
        });
        std::future::pending()
    }));
    assert!(futures::FutureExt::now_or_never(call.as_mut()).is_none());
    settle().await;
    drop(call);
    assert_eq!(ends.recv().await.unwrap(), file!());
    // The `AfterFunc` callback runs on its own thread. It may run before the runtime drops the canceled call.
    settle().await;
    it.at_rest();
}

#[tokio::test]
async fn real_failure_is_remembered_and_a_rejection_is_not() {
    let it = fixture();
    let failing = || it.stack.run_keyed(&it.ctx, "failing", |_| async { Err(Down) });
    assert_eq!(it.finish(failing()).await.unwrap_err().last(), Some(&Down));
    assert_eq!(failing().await.unwrap_err().last(), Some(&Down));
    assert_eq!(it.saw()[0], 2, "the second caller got the remembered error");

    it.breaker.force_open();
    let refused = it.finish(it.stack.run_keyed(&it.ctx, "refused", |_| async { Ok(7) })).await;
    assert!(refused.is_err());
    it.breaker.reset();
    assert_eq!(it.finish(it.stack.run_keyed(&it.ctx, "refused", |_| async { Ok(7) })).await.unwrap(), 7);
    it.at_rest();
}

#[tokio::test]
async fn failed_load_by_hand_reports_the_error_of_the_load() {
    let it = fixture();
    let call = |key| it.stack.run_keyed(&it.ctx, key, |_| async { Ok(7) });
    let by_hand = it.cache.get_or_load(&it.ctx, "foreign", |_| async { Err(std::io::Error::other("disk on fire")) });
    assert!(by_hand.await.is_err());
    let error = call("foreign").await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.outcome()), ("disk on fire", Outcome::Failure));
    assert_eq!(error.last(), None);

    // The cache also holds errors of the call's own type.
    assert!(it.cache.get_or_load(&it.ctx, "own", |_| async { Err(Down) }).await.is_err());
    assert!(call("own").await.unwrap_err().last() == Some(&Down));
    assert_eq!(it.saw()[0], 0, "both were remembered");
    it.at_rest();
}
