//! The cache around the rest.

use ripcord::Context;
use ripcord_policy::Outcome;

use crate::common::{Down, SECOND, fixture};

#[tokio::test]
async fn a_hit_costs_nothing_below_and_misses_share_one_call() {
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
async fn a_real_failure_is_remembered_and_a_rejection_is_not() {
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
async fn a_load_by_hand_that_failed_is_told_as_what_it_is() {
    let it = fixture();
    let call = |key| it.stack.run_keyed(&it.ctx, key, |_| async { Ok(7) });
    let by_hand = it.cache.get_or_load(&it.ctx, "foreign", |_| async { Err(std::io::Error::other("disk on fire")) });
    assert!(by_hand.await.is_err());
    let error = call("foreign").await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.outcome()), ("disk on fire", Outcome::Failure));
    assert_eq!(error.last(), None);

    // The call's own error type is no stranger.
    assert!(it.cache.get_or_load(&it.ctx, "own", |_| async { Err(Down) }).await.is_err());
    assert!(call("own").await.unwrap_err().last() == Some(&Down));
    assert_eq!(it.saw()[0], 0, "both were remembered");
    it.at_rest();
}
