//! Contexts that the cache ends. Each error names its cause and a line of the user's code, once.

use std::error::Error as _;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use ripcord::Context;
use ripcord_policy::Refused;
use ripcord_policy::cache::Cache;

use crate::common::{Failed, SECOND, manual, seconds, settle};

/// Checks that `{:#}` prints "`start` ... `cause` ... line `line` of this file", with each part once. Returns the text.
#[track_caller]
fn assert_told(error: &(impl std::fmt::Display + ?Sized), parts: &[&str], line: u32) {
    let told = format!("{error:#}");
    for part in parts.iter().copied().chain([format!("{}:{line}:", file!()).as_str(), ".rs:"]) {
        assert_eq!(told.matches(part).count(), 1, "{part:?} in {told:?}");
    }
}

/// A loader that stores its context and does not end.
fn pending_in(
    slot: &Arc<Mutex<Option<Context>>>,
) -> impl FnOnce(Context) -> std::future::Pending<Result<u32, Failed>> + use<> {
    let slot = Arc::clone(slot);
    move |ctx| {
        *slot.lock().unwrap() = Some(ctx);
        std::future::pending()
    }
}

fn end_of(slot: &Arc<Mutex<Option<Context>>>) -> ripcord::Error {
    slot.lock().unwrap().as_ref().expect("the loader was called").err().expect("its context has ended")
}

#[tokio::test]
async fn closed_cache_names_the_line_that_closed_it() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let loading = Arc::default();
    let mut caller = Box::pin(cache.get_or_load(&ctx, "a", pending_in(&loading)));
    assert!((&mut caller).now_or_never().is_none());
    settle().await;
    cache.close();
    let line = line!() - 1;
    let told = ["cache is closed", "Cache::close was called"];
    let refused = cache.get(&ctx, "a").unwrap_err();
    assert_told(&refused, &told, line);
    assert_eq!(refused.to_string(), "cache is closed");
    assert_eq!(refused.source().unwrap().to_string(), "context canceled");
    assert!(refused.is_closed() && refused.is_rejected() && !refused.is_canceled());
    let waiting = caller.await.unwrap_err();
    assert_told(&waiting, &told, line);
    assert!(waiting.is_closed() && !waiting.is_canceled());
    settle().await;
    assert_told(&end_of(&loading), &["Cache::close was called"], line);
}

#[tokio::test]
async fn cache_whose_context_was_canceled_names_the_cause_and_the_line_of_the_cancel() {
    let (root, _time) = manual();
    let (app, shutdown) = root.with_name("app").with_cancel();
    let cache = seconds(60).build(&app).unwrap();
    shutdown.cancel_with("SIGTERM");
    let line = line!() - 1;
    assert_told(&cache.get(&root, "a").unwrap_err(), &["cache is closed", "SIGTERM", "app"], line);
}

#[tokio::test]
async fn cache_whose_deadline_passed_names_the_line_that_set_it() {
    let (root, time) = manual();
    let cache = seconds(60).build(&root.with_timeout(SECOND)).unwrap();
    let line = line!() - 1;
    time.advance(SECOND);
    let refused = cache.get(&root, "a").unwrap_err();
    assert_told(&refused, &["cache is closed", "timeout of 1s"], line);
    assert!(!refused.is_deadline_exceeded(), "that is said of the caller");
}

#[tokio::test]
async fn ended_caller_gets_its_own_end_before_the_caches_end() {
    let (root, _time) = manual();
    let cache = seconds(60).build(&root).unwrap();
    let (caller, cancel) = root.with_cancel();
    cancel.cancel_with("the user left");
    let line = line!() - 1;
    cache.close();
    let refused = cache.get(&caller, "a").unwrap_err();
    assert_told(&refused, &["the user left"], line);
    assert!(refused.is_canceled() && !refused.is_closed());
}

#[tokio::test]
async fn load_that_every_caller_has_left_names_the_line_that_requested_it() {
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let loading = Arc::default();
    let run = cache.run(&ctx, "a", pending_in(&loading));
    let lines = [line!() - 1, line!() + 1, line!() + 2];
    let get_or_load = cache.get_or_load(&ctx, "b", pending_in(&loading));
    let refresh = cache.refresh(&ctx, "c", pending_in(&loading));
    let callers = [run.map(drop).boxed(), get_or_load.map(drop).boxed(), refresh.map(drop).boxed()];
    for (mut caller, line) in callers.into_iter().zip(lines) {
        assert!((&mut caller).now_or_never().is_none());
        settle().await;
        drop(caller);
        assert_told(&end_of(&loading), &["every caller has left"], line);
    }
}

#[tokio::test]
async fn load_without_time_names_the_line_that_set_its_callers_deadline() {
    let (ctx, time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    let loading = Arc::default();
    let caller = ctx.with_name("GET /users").with_timeout(SECOND);
    let line = line!() - 1;
    let mut waiting = Box::pin(cache.get_or_load(&caller, "a", pending_in(&loading)));
    assert!((&mut waiting).now_or_never().is_none());
    settle().await;
    time.advance(SECOND);
    assert_told(&end_of(&loading), &["GET /users", "set at"], line);
    assert_told(&waiting.await.unwrap_err(), &["timeout of 1s", "GET /users"], line);
}

#[tokio::test]
async fn background_load_without_time_names_the_line_that_set_the_window() {
    let (ctx, time) = manual();
    let builder = seconds(10).stale_for(SECOND * 5);
    let line = line!() - 1;
    let cache = builder.build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(SECOND * 12);
    let loading = Arc::default();
    assert_eq!(cache.get_or_load(&ctx, "a", pending_in(&loading)).await.unwrap(), 1);
    settle().await;
    time.advance(SECOND * 3);
    assert_told(&end_of(&loading), &["set at"], line);
}

#[tokio::test]
async fn load_of_a_cache_without_handles_names_the_line_that_built_it() {
    let (ctx, time) = manual();
    let cache = seconds(10).stale_for(SECOND * 5).build(&ctx).unwrap();
    let line = line!() - 1;
    cache.insert(&ctx, "a", 1).unwrap();
    time.advance(SECOND * 12);
    let loading = Arc::default();
    assert_eq!(cache.get_or_load(&ctx, "a", pending_in(&loading)).await.unwrap(), 1);
    settle().await;
    drop(cache);
    settle().await;
    assert_told(&end_of(&loading), &["the last handle of the cache was dropped"], line);
}

#[tokio::test]
async fn get_fails_with_the_error_that_every_call_can_return() {
    async fn user(ctx: &Context, cache: &Cache<&'static str, u32>) -> Result<u32, ripcord_policy::Error<Failed>> {
        Ok(cache.get(ctx, "a")?.unwrap_or(0))
    }
    let (ctx, _time) = manual();
    let cache = seconds(60).build(&ctx).unwrap();
    assert_eq!(user(&ctx, &cache).await.unwrap(), 0);
    cache.close();
    let refused: Refused = cache.get(&ctx, "a").unwrap_err();
    assert_eq!(format!("{:#}", user(&ctx, &cache).await.unwrap_err()), format!("{refused:#}"));
}
