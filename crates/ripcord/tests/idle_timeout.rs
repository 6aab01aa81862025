//! Idle timeouts. They end a context that makes no progress, and they are not budgets.

mod common;

use std::time::{Duration, Instant};

use common::{HOUR, MS, SEC, Wakes, eventually, manual, poll};
use ripcord::{Context, IdleTimeout, ManualTime};

fn thirty_seconds() -> (Context, IdleTimeout, ManualTime) {
    let (root, time) = manual();
    let (ctx, idle) = root.with_idle_timeout(30 * SEC);
    (ctx, idle, time)
}

fn story(ctx: &Context) -> String {
    format!("{:#}", ctx.err().expect("it has ended"))
}

// ===== progress =====

#[test]
fn context_lives_while_it_makes_progress_and_ends_when_it_stalls() {
    let (ctx, idle, time) = thirty_seconds();
    let (mut done, wakes) = (ctx.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    for _ in 0..100 {
        time.advance(29 * SEC);
        assert!(idle.reset() && !ctx.is_done());
        assert_eq!(idle.get(), Some(time.now() + 30 * SEC));
    }
    time.advance(30 * SEC - MS);
    assert!(wakes.count() == 0 && ctx.err().is_none());
    time.advance(MS);
    assert_eq!(wakes.count(), 1);
    assert!(ctx.err().is_some_and(|error| error.is_deadline_exceeded()));
    assert!(!idle.reset());
    assert_eq!(idle.get(), Some(time.now()));
}

#[test]
fn reset_after_an_unobserved_expiry_is_refused() {
    let (ctx, idle, time) = thirty_seconds();
    time.advance(30 * SEC);
    assert!(!idle.reset() && !ctx.progress());
    assert!(ctx.is_done());
}

#[test]
fn reset_after_an_ancestors_end_is_refused_and_changes_nothing() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_cancel();
    let (ctx, idle) = parent.with_idle_timeout(30 * SEC);
    let was = idle.get();
    cancel.cancel_with("canceled");
    time.advance(SEC);
    assert!(!idle.reset() && !ctx.progress());
    assert_eq!(idle.get(), was);
    let (ctx, idle) = root.with_timeout(SEC).with_idle_timeout(30 * SEC);
    time.advance(SEC);
    assert!(!idle.reset(), "the parent's deadline has passed, though nobody has observed it");
    assert!(ctx.err().is_some_and(|error| !error.origin().is_idle_timeout()));
}

#[test]
fn progress_resets_the_nearest_idle_timeout_only() {
    let (root, time) = manual();
    let (outer, outer_idle) = root.with_idle_timeout(60 * SEC);
    let (inner, inner_idle) = outer.with_name("inner").with_idle_timeout(30 * SEC);
    let below = inner.with_timeout(HOUR).with_name("below");
    time.advance(SEC);
    assert!(below.progress());
    assert_eq!(inner_idle.get(), Some(time.now() + 30 * SEC));
    assert_eq!(outer_idle.get(), Some(time.now() + 59 * SEC));
    assert!(outer.progress());
    assert_eq!(outer_idle.get(), Some(time.now() + 60 * SEC));
}

#[test]
fn progress_looks_no_further_up_than_without_cancel() {
    let (ctx, idle, time) = thirty_seconds();
    let was = idle.get();
    time.advance(SEC);
    assert!(!ctx.without_cancel().progress() && !ctx.without_cancel().with_timeout(SEC).progress());
    assert_eq!(idle.get(), was);
    assert!(!Context::background().progress() && !Context::todo().with_timeout(HOUR).progress());
}

#[test]
fn progress_below_a_merge_resets_the_nearest_idle_timeout_on_each_side() {
    let (root, time) = manual();
    let ((a, idle_a), (b, idle_b)) = (root.with_idle_timeout(30 * SEC), root.with_idle_timeout(40 * SEC));
    let (plain, _cancel) = root.with_cancel();
    let merged = a.with_timeout(HOUR).merge(&b).with_name("merged");
    time.advance(SEC);
    assert!(merged.progress());
    assert_eq!((idle_a.get(), idle_b.get()), (Some(time.now() + 30 * SEC), Some(time.now() + 40 * SEC)));
    time.advance(SEC);
    assert!(plain.merge(&b).progress() && b.merge(&plain).progress() && b.merge(&b).progress());
    assert_eq!((idle_a.get(), idle_b.get()), (Some(time.now() + 29 * SEC), Some(time.now() + 40 * SEC)));
    time.advance(29 * SEC);
    assert!(!merged.progress(), "one side has ended, and the merged context with it");
    assert!(merged.is_done() && !b.is_done());
}

#[test]
fn merged_context_ends_with_the_idle_timeout_of_either_parent() {
    let (root, time) = manual();
    let ((a, idle_a), (b, idle_b)) = (root.with_idle_timeout(30 * SEC), root.with_idle_timeout(40 * SEC));
    let merged = a.merge(&b);
    let (mut done, wakes) = (merged.done_owned(), Wakes::new());
    assert!(poll(&mut done, &wakes).is_pending());
    time.advance(29 * SEC);
    assert!(idle_a.reset() && idle_b.reset());
    time.advance(29 * SEC);
    assert!(idle_a.reset());
    time.advance(11 * SEC - MS);
    assert!(!merged.is_done() && wakes.count() == 0);
    time.advance(MS);
    assert_eq!(wakes.count(), 1);
    assert!(story(&merged).contains("idle for 40s"), "{}", story(&merged));
}

// ===== not a budget =====

#[test]
fn idle_timeout_is_no_deadline() {
    let (root, time) = manual();
    let (ctx, _idle) = root.with_idle_timeout(30 * SEC);
    let other = root.with_value(common::User(7));
    for ctx in [ctx.clone(), ctx.with_name("below"), ctx.merge(&other), other.merge(&ctx)] {
        assert_eq!((ctx.deadline(), ctx.remaining()), (None, None), "{ctx}");
        assert!(ctx.deadline_origin().is_none(), "{ctx}");
    }
    let (ctx, _idle) = root.with_name("hard").with_timeout(HOUR).with_idle_timeout(30 * SEC);
    assert_eq!(ctx.remaining(), Some(HOUR));
    assert_eq!(ctx.deadline_origin().expect("there is one").name(), Some("hard"));
    let below = ctx.with_name("below").with_timeout(40 * SEC);
    assert_eq!(below.remaining(), Some(40 * SEC));
    time.advance(30 * SEC);
    assert_eq!(below.remaining(), Some(10 * SEC));
    assert!(below.is_done() && story(&below).contains("idle for 30s"));
}

#[test]
fn hard_deadline_above_an_idle_timeout_ends_a_stream_that_makes_progress() {
    let (root, time) = manual();
    let (ctx, idle) = root.with_timeout(60 * SEC).with_idle_timeout(30 * SEC);
    for _ in 0..5 {
        time.advance(10 * SEC);
        assert!(idle.reset());
    }
    time.advance(10 * SEC);
    assert!(!idle.reset());
    assert!(story(&ctx).contains("timeout of 60s set at"), "{}", story(&ctx));
}

#[test]
fn blocked_thread_sees_an_idle_timeout_by_the_system_clock() {
    let (ctx, idle) = Context::background().with_idle_timeout(20 * MS);
    let until = idle.get().expect("it is short");
    assert!(ctx.wait().origin().is_idle_timeout());
    assert!(Instant::now() >= until);
}

// ===== zero and very long durations =====

#[test]
fn zero_ends_the_context_at_once_and_a_timeout_of_centuries_never_does() {
    let (root, time) = manual();
    let (ctx, idle) = root.with_idle_timeout(Duration::ZERO);
    assert!(ctx.is_done() && !idle.reset() && idle.get() == Some(time.now()));
    for timeout in [Duration::MAX, Duration::from_secs(u64::MAX / 1_000_000_000)] {
        let (ctx, idle) = root.with_idle_timeout(timeout);
        let (mut done, wakes) = (ctx.done_owned(), Wakes::new());
        assert!(poll(&mut done, &wakes).is_pending());
        assert!(idle.get().is_none() && idle.reset() && idle.get().is_none());
        assert!(ctx.to_string().ends_with(".WithIdleTimeout(none)"), "{ctx}");
        time.advance(HOUR);
        assert!(!ctx.is_done() && time.timers() == 0);
    }
}

// ===== error messages =====

#[test]
fn error_reports_timeout_location_and_last_reset() {
    let (root, time) = manual();
    let line = line!() + 1;
    let (ctx, idle) = root.with_name("GET /stream").with_idle_timeout_cause(30 * SEC, "the stream has stalled");
    let below = ctx.with_name("below").with_cancel();
    for resets in 0..=14 {
        if resets > 0 {
            time.advance(SEC);
            assert!(idle.reset());
        }
    }
    assert!(ctx.to_string().ends_with(".WithIdleTimeout(30s)"), "{ctx}");
    time.advance(HOUR);
    for ctx in [&below.0, &ctx] {
        let (text, origin) = (story(ctx), ctx.err().expect("it has ended").origin());
        assert!(text.starts_with("context deadline exceeded: the stream has stalled (idle for 30s: timeout set at "));
        assert!(text.ends_with(" in GET /stream; reset 14 times, last 30s ago)"), "{text}");
        assert_eq!(origin.location().line(), line);
        assert!(origin.is_idle_timeout());
        assert_eq!((origin.timeout(), origin.name()), (Some(30 * SEC), Some("GET /stream")));
    }
}

#[test]
fn error_of_a_timeout_without_resets_reports_no_reset() {
    let (ctx, _idle, time) = thirty_seconds();
    time.advance(HOUR);
    let text = story(&ctx);
    assert!(text.contains("(idle for 30s: timeout set at ") && !text.contains("reset"), "{text}");
}

#[test]
fn library_reports_its_users_line() {
    let here = std::panic::Location::caller();
    let (ctx, _idle) = Context::background().with_idle_timeout_at(Duration::ZERO, here);
    assert_eq!(ctx.err().expect("it has ended").origin().location(), here);
    let (ctx, _deadline) = Context::background().with_movable_deadline_at(Instant::now(), here);
    assert_eq!(ctx.err().expect("it has ended").origin().location(), here);
}

// ===== many streams =====

#[test]
fn only_stalled_streams_of_ten_thousand_end() {
    let (root, time) = manual();
    let root = root.with_timeout(HOUR);
    let streams: Vec<_> = (0..10_000)
        .map(|_| {
            let (ctx, idle) = root.with_idle_timeout(SEC);
            let (mut done, wakes) = (ctx.done_owned(), Wakes::new());
            assert!(poll(&mut done, &wakes).is_pending());
            (ctx, idle, done, wakes)
        })
        .collect();
    let stalls = |stream: usize| stream % 10 == 3;
    for _ in 0..20 {
        time.advance(300 * MS);
        for (stream, (ctx, idle, ..)) in streams.iter().enumerate() {
            if !stalls(stream) {
                assert!(if stream % 2 == 0 { idle.reset() } else { ctx.progress() });
            }
        }
    }
    for (stream, (ctx, _, _, wakes)) in streams.iter().enumerate() {
        assert_eq!((ctx.is_done(), wakes.count()), (stalls(stream), usize::from(stalls(stream))), "stream {stream}");
        if stalls(stream) {
            assert!(story(ctx).contains(concat!("idle for 1s: timeout set at ", file!(), ":")));
        }
    }
}

#[test]
fn streams_under_the_system_clock_end_when_they_stall() {
    let contexts: Vec<_> = (0..100).map(|_| Context::background().with_idle_timeout(30 * MS)).collect();
    let wakes = Wakes::new();
    let mut waiting: Vec<_> = contexts.iter().map(|(ctx, _)| ctx.done_owned()).collect();
    // All of the futures are pending, unless this thread was stopped for longer than the timeout.
    let pending =
        waiting.iter_mut().map(|done| poll(done, &wakes).is_pending()).filter(|&is_pending| is_pending).count();
    let until = Instant::now() + 60 * MS;
    while Instant::now() < until {
        for (_, idle) in &contexts {
            // Refused if this thread was stopped for longer than the timeout.
            let _took_effect = idle.reset();
        }
    }
    eventually("all have stalled", || wakes.count() == pending);
    assert!(contexts.iter().all(|(ctx, _)| story(ctx).contains("idle for 30ms")));
}

#[test]
fn progress_looks_no_further_up_than_a_shielded_context() {
    let (ctx, idle, time) = thirty_seconds();
    let cleanup = ctx.shielded(SEC);
    let was = idle.get();
    time.advance(SEC);
    assert!(!cleanup.progress() && !cleanup.with_timeout(SEC).progress());
    assert_eq!((idle.get(), cleanup.deadline()), (was, None));
    time.advance(29 * SEC);
    assert!(ctx.is_done() && !cleanup.is_done());
    time.advance(SEC);
    assert!(story(&cleanup).contains("idle for 30s"), "{}", story(&cleanup));
}
