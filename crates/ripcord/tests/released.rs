//! A context that nothing can end anymore and that has no references is freed, with its functions and conversions.
//!
//! Each test adds a counted value to a context and drops every handle of the context, while all other contexts stay alive.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{HOUR, assert_live, manual};
use ripcord::{Context, Group, Value};

/// A value that counts the contexts that carry it.
struct Held(#[expect(dead_code, reason = "counted")] Arc<()>);
impl Value for Held {}

/// Counts the contexts created by `holding` that are not freed.
#[derive(Default)]
struct Count(Arc<()>);

impl Count {
    fn holding(&self, ctx: &Context) -> Context {
        ctx.with_value(Held(Arc::clone(&self.0)))
    }

    #[track_caller]
    fn assert(&self, expected: usize) {
        assert_eq!(Arc::strong_count(&self.0) - 1, expected, "contexts that are not freed");
    }
}

#[test]
fn detached_context_is_freed_with_its_function() {
    let count = Count::default();
    let (ctx, cancel) = count.holding(&Context::background()).with_cancel();
    let captured = ctx.clone();
    drop(ctx.after_func(move || drop(captured)));
    drop(ctx);
    count.assert(1);
    cancel.detach();
    count.assert(0);
}

#[test]
fn function_registered_after_the_detach_is_dropped_and_stops() {
    let count = Count::default();
    let (ctx, cancel) = count.holding(&Context::background()).with_cancel();
    cancel.detach();
    let captured = ctx.clone();
    let after = ctx.with_name("below").after_func(move || drop(captured));
    assert!(after.stop() && !after.stop());
    drop((ctx, after));
    count.assert(0);
}

#[test]
fn function_released_by_a_detach_stops() {
    let (ctx, cancel) = Context::background().with_cancel();
    let after = ctx.after_func(|| unreachable!("nothing ends it"));
    cancel.detach();
    assert!(after.stop() && !after.stop());
    assert_live(&ctx);
}

#[test]
fn last_cancel_handle_releases_the_function() {
    let count = Count::default();
    let (ctx, cancel) = count.holding(&Context::background()).with_cancel();
    let (one, other) = (cancel.handle(), cancel.handle().clone());
    drop(ctx.after_func(|| ()));
    drop(ctx);
    cancel.detach();
    drop(one);
    count.assert(1);
    drop(other);
    count.assert(0);
}

#[test]
fn function_below_two_detached_contexts_is_released_by_either_order() {
    for outer_first in [true, false] {
        let count = Count::default();
        let (outer, cancel_outer) = Context::background().with_cancel();
        let (inner, cancel_inner) = count.holding(&outer).with_cancel();
        drop(inner.after_func(|| ()));
        drop((outer, inner));
        let (first, second) = if outer_first { (cancel_outer, cancel_inner) } else { (cancel_inner, cancel_outer) };
        first.detach();
        count.assert(1);
        second.detach();
        count.assert(0);
    }
}

#[test]
fn function_of_a_merged_context_is_released_when_neither_parent_can_end() {
    let count = Count::default();
    let (a, cancel_a) = Context::background().with_cancel();
    let (b, cancel_b) = Context::background().with_cancel();
    let both = count.holding(&a.merge(&b));
    drop(both.merge(&both).after_func(|| ()));
    drop((a, b, both));
    cancel_b.detach();
    count.assert(1);
    cancel_a.detach();
    count.assert(0);
}

#[test]
fn function_below_a_deadline_survives_the_detach_and_runs() {
    let count = Count::default();
    let (root, time) = manual();
    let (ctx, cancel) = root.with_timeout(HOUR).with_cancel();
    let ctx = count.holding(&ctx);
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    drop(ctx.after_func(move || common::bump(&counted)));
    drop(ctx);
    cancel.detach();
    count.assert(1);
    time.advance(HOUR);
    common::eventually("the function", || runs.load(Ordering::SeqCst) == 1);
    common::eventually("the context is freed", || Arc::strong_count(&count.0) == 1);
}

#[test]
fn function_below_an_idle_timeout_without_limit_is_dropped_although_its_handle_lives() {
    let count = Count::default();
    let (ctx, idle) = count.holding(&Context::background()).with_idle_timeout(std::time::Duration::MAX);
    let held = count.holding(&ctx);
    drop(held.after_func(|| ()));
    drop((ctx, held));
    count.assert(1);
    assert!(idle.reset());
    drop(idle);
    count.assert(0);
}

#[test]
fn group_that_is_dropped_is_freed() {
    let count = Count::default();
    let (group, ctx) = Group::with_executor(&count.holding(&Context::background()), drop);
    group.go(async { Ok::<(), std::io::Error>(()) });
    drop(ctx.after_func(|| ()));
    drop((group, ctx));
    common::eventually("the group is freed", || Arc::strong_count(&count.0) == 1);
}

#[cfg(feature = "tokio-util")]
mod tokens {
    use super::*;
    use common::SEC;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn conversion_there_and_back_is_freed_while_the_token_lives() {
        let count = Count::default();
        let token = CancellationToken::new();
        let ctx = count.holding(&Context::background().with_cancellation_token(&token));
        let onward = ctx.cancellation_token();
        drop(ctx);
        count.assert(0);
        token.cancel();
        assert!(onward.is_cancelled());
    }

    #[test]
    fn context_below_another_that_is_made_of_a_token_is_freed() {
        let count = Count::default();
        let (server, _cancel) = Context::background().with_cancel();
        let token = CancellationToken::new();
        drop(
            count.holding(&server).with_cancellation_token(&token).with_cancellation_token(&token).cancellation_token(),
        );
        drop(count.holding(&server).merge(&server.with_timeout(HOUR)).cancellation_token());
        count.assert(0);
    }

    #[test]
    fn context_with_a_timeout_is_freed_and_its_token_is_canceled_at_the_timeout() {
        let count = Count::default();
        let (root, time) = manual();
        let token = count.holding(&root).with_timeout(SEC).cancellation_token();
        count.assert(0);
        time.advance(SEC - common::MS);
        assert!(!token.is_cancelled());
        time.advance(common::MS);
        assert!(token.is_cancelled());
    }

    #[test]
    fn timer_of_a_token_ends_with_the_cancel_of_its_context() {
        let (root, time) = manual();
        let (server, cancel) = root.with_cancel();
        let ctx = server.with_timeout(HOUR);
        let token = ctx.cancellation_token();
        cancel.cancel();
        assert!(token.is_cancelled());
        drop(ctx);
        assert_eq!(time.timers(), 0);
    }

    #[test]
    fn token_of_a_freed_context_follows_the_context_above() {
        let count = Count::default();
        let (server, cancel) = Context::background().with_cancel();
        let (request, cancel_request) = count.holding(&server).with_cancel();
        let token = request.cancellation_token();
        cancel_request.detach();
        drop(request);
        count.assert(0);
        assert!(!token.is_cancelled());
        cancel.cancel();
        assert!(token.is_cancelled());
    }

    #[test]
    fn shielded_context_and_its_ancestors_are_freed_while_its_token_lives() {
        let count = Count::default();
        let (root, time) = manual();
        let (server, cancel) = root.with_cancel();
        let (request, cancel_request) = count.holding(&server).with_cancel();
        let shielded = count.holding(&request).shielded(SEC);
        let tokens = [shielded.cancellation_token(), shielded.shielded(SEC).cancellation_token()];
        cancel_request.detach();
        drop((request, shielded));
        count.assert(0);
        assert_eq!(time.timers(), 0);
        cancel.cancel();
        for expected in [[false, false], [true, false], [true, true]] {
            assert_eq!(tokens.each_ref().map(CancellationToken::is_cancelled), expected);
            time.advance(SEC);
        }
        assert_eq!(time.timers(), 0);
    }

    #[test]
    fn shielded_context_below_a_detached_root_is_freed_with_its_token() {
        let count = Count::default();
        let (ctx, cancel) = count.holding(&Context::background()).with_cancel();
        cancel.detach();
        let token = ctx.shielded(SEC).cancellation_token();
        drop(ctx);
        count.assert(0);
        assert!(!token.is_cancelled());
    }

    #[test]
    fn shielded_context_dropped_in_its_grace_is_freed_and_its_token_is_canceled_at_the_end() {
        for cancel_first in [true, false] {
            let count = Count::default();
            let (root, time) = manual();
            let (request, cancel) = count.holding(&root).with_cancel();
            let shielded = request.shielded(SEC);
            if cancel_first {
                cancel.cancel();
            }
            let token = shielded.cancellation_token();
            cancel.cancel();
            drop((request, shielded, cancel));
            count.assert(0);
            time.advance(SEC - common::MS);
            assert!(!token.is_cancelled());
            time.advance(common::MS);
            assert!(token.is_cancelled());
        }
    }

    #[test]
    fn grace_of_a_freed_shielded_context_counts_on_its_clock_and_from_the_deadline() {
        let count = Count::default();
        let (root, time) = manual();
        let (clock, other_time) = ripcord::Clock::manual();
        other_time.advance(HOUR);
        let request = count.holding(&root).with_timeout(SEC);
        let token = request.with_clock(clock).shielded(SEC).cancellation_token();
        drop(request);
        count.assert(0);
        time.advance(SEC);
        other_time.advance(SEC);
        assert!(!token.is_cancelled(), "the deadline ended nothing before its time");
        other_time.advance(SEC);
        assert!(token.is_cancelled());
    }

    #[test]
    fn deep_chain_of_shields_is_freed_while_its_token_lives() {
        let count = Count::default();
        let (root, time) = manual();
        let (server, cancel) = root.with_cancel();
        let mut ctx = count.holding(&server);
        let depth = 20_000;
        for _ in 0..depth {
            ctx = ctx.shielded(common::MS);
        }
        let token = ctx.cancellation_token();
        drop(ctx);
        count.assert(0);
        cancel.cancel();
        time.advance(common::MS * (depth - 1));
        assert!(!token.is_cancelled());
        time.advance(common::MS);
        assert!(token.is_cancelled());
    }

    #[test]
    fn token_of_a_detached_context_does_not_keep_it() {
        let count = Count::default();
        let (ctx, cancel) = count.holding(&Context::background()).with_cancel();
        cancel.detach();
        let token = ctx.cancellation_token();
        drop(ctx);
        count.assert(0);
        assert!(!token.is_cancelled());
    }
}
