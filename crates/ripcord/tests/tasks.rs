//! Tasks under a context: how they end, and that every task is counted until it is gone.

mod common;

use std::future::pending;
use std::panic::Location;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use common::{SEC, Wakes, manual, poll, poll_pinned, race};
use ripcord::{BoxFuture, Context, Error, Group, block_on};

/// Runs a closure when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// An executor that keeps its tasks until the test runs or drops them.
#[derive(Clone, Default)]
struct Later(Arc<Mutex<Vec<BoxFuture>>>);

impl Later {
    fn group(&self, ctx: &Context) -> (Group, Context) {
        let later = self.clone();
        Group::with_executor(ctx, move |task| later.0.lock().unwrap().push(task))
    }

    fn take(&self) -> Vec<BoxFuture> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Returns the line of the caller.
#[track_caller]
fn line() -> u32 {
    Location::caller().line()
}

// ===== counting, without a runtime =====

#[test]
fn context_without_tasks_has_an_empty_list_and_waits_for_nothing() {
    let (ctx, tasks) = Context::background().with_tasks();
    assert_eq!((tasks.len(), tasks.is_empty(), tasks.list().len()), (0, true, 0));
    assert!(poll(&mut tasks.wait(&ctx), &Wakes::new()).is_ready());
    assert_eq!(ctx.to_string(), "Background.WithValue(Tasks)");
}

#[test]
fn group_task_counts_from_go_until_its_drop_has_finished() {
    let (ctx, tasks) = Context::background().with_tasks();
    let later = Later::default();
    let (group, _ctx) = later.group(&ctx.with_name("index"));
    let seen = Arc::new(AtomicUsize::new(0));
    let on_drop = {
        let (seen, tasks) = (Arc::clone(&seen), tasks.clone());
        OnDrop(move || seen.store(tasks.len(), Ordering::SeqCst))
    };
    group.go(async move {
        let _on_drop = on_drop;
        Ok::<(), Error>(())
    });
    let listed = tasks.list();
    assert_eq!((listed.len(), listed[0].name(), listed[0].location().line()), (1, Some("index"), line() - 5));
    for task in later.take() {
        block_on(task);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 1, "the task counts while it is dropped");
    assert!(tasks.is_empty());
    assert!(block_on(group.wait()).is_ok());
}

#[test]
fn queued_group_task_counts_until_the_group_drops_it() {
    let (ctx, tasks) = Context::background().with_tasks();
    let later = Later::default();
    let (group, _ctx) = later.group(&ctx);
    group.set_limit(1);
    group.go(pending::<Result<(), Error>>());
    group.go(pending::<Result<(), Error>>());
    assert_eq!(tasks.len(), 2);
    drop(group);
    assert_eq!(tasks.len(), 1, "the executor still holds the first");
    assert!(tasks.list()[0].is_ended());
    drop(later.take());
    assert!(tasks.is_empty());
}

#[test]
fn nested_lists_both_count_a_task() {
    let (outer_ctx, outer) = Context::background().with_tasks();
    let (inner_ctx, inner) = outer_ctx.without_cancel().with_tasks();
    let beside = outer_ctx.task_guard();
    let below = inner_ctx.task_guard();
    assert_eq!((outer.len(), inner.len()), (2, 1));
    drop(beside);
    assert_eq!((outer.len(), inner.len()), (1, 1));
    drop(below);
    assert_eq!((outer.len(), inner.len()), (0, 0));
}

#[test]
fn task_below_a_merge_counts_once_in_the_lists_of_both_parents() {
    let (root, all) = Context::background().with_tasks();
    let (request, of_request) = root.with_tasks();
    let (shutdown, of_shutdown) = root.with_tasks();
    let guard = request.merge(&shutdown).merge(&request).with_name("query").task_guard();
    assert_eq!((of_request.len(), of_shutdown.len(), all.len()), (1, 1, 1));
    drop(guard);
    assert_eq!((of_request.len(), of_shutdown.len(), all.len()), (0, 0, 0));
}

#[test]
fn lists_far_above_many_values_are_found() {
    struct Number<const N: usize>;
    impl<const N: usize> ripcord::Value for Number<N> {}
    let (ctx, outer) = Context::background().with_tasks();
    let ctx = ctx.with_value(Number::<0>).with_value(Number::<1>).with_value(Number::<2>).with_value(Number::<3>);
    let (ctx, middle) = ctx.with_tasks();
    let ctx = ctx.with_value(Number::<4>).with_value(Number::<5>).with_value(Number::<6>).with_value(Number::<7>);
    let (ctx, inner) = (0..20).fold(ctx, |ctx, _| ctx.with_name("deep")).with_tasks();
    let _guard = ctx.with_value(Number::<8>).task_guard();
    assert_eq!((outer.len(), middle.len(), inner.len()), (1, 1, 1));
}

#[test]
fn listed_task_reports_its_name_line_age_and_end() {
    let (root, time) = manual();
    let (ctx, tasks) = root.with_tasks();
    let (ctx, cancel) = ctx.with_name("compact").with_cancel();
    let first = ctx.task_guard();
    let first_line = line() - 1;
    time.advance(3 * SEC);
    let _second = root.merge(&ctx).with_name("second").task_guard();
    cancel.cancel();
    let listed = tasks.list();
    assert_eq!((listed[0].name(), listed[0].location().line()), (Some("compact"), first_line));
    assert_eq!((listed[0].age(), listed[1].age()), (3 * SEC, std::time::Duration::ZERO));
    assert!(listed[0].is_ended() && listed[1].is_ended());
    assert!(listed[0].location().file().ends_with("tasks.rs"));
    let text = listed[0].to_string();
    assert!(text.starts_with("compact spawned at ") && text.ends_with(" 3.0s ago, context ended"), "{text}");
    drop(first);
    assert_eq!(tasks.list()[0].name(), Some("second"));
}

#[test]
fn waiter_is_woken_by_the_last_task_alone() {
    let (ctx, tasks) = Context::background().with_tasks();
    let (first, second) = (ctx.task_guard(), ctx.task_guard());
    let wakes = Wakes::new();
    let mut wait = tasks.wait(&Context::background());
    assert!(poll(&mut wait, &wakes).is_pending());
    drop(first);
    assert_eq!(wakes.count(), 0);
    drop(second);
    assert_eq!(wakes.count(), 1);
    let third = ctx.task_guard();
    assert!(poll(&mut wait, &wakes).is_pending(), "a task that came meanwhile is waited for");
    drop(third);
    assert!(matches!(poll(&mut wait, &wakes), Poll::Ready(Ok(()))));
}

#[test]
fn wait_ends_with_the_other_context_unless_the_list_is_empty() {
    let (ctx, tasks) = Context::background().with_tasks();
    let (other, cancel) = Context::background().with_cancel();
    let guard = ctx.task_guard();
    let (wakes, mut wait) = (Wakes::new(), tasks.wait(&other));
    assert!(poll(&mut wait, &wakes).is_pending());
    cancel.cancel_with("no patience");
    assert_eq!(wakes.count(), 1);
    let Poll::Ready(Err(error)) = poll(&mut wait, &wakes) else { panic!("the other context has ended") };
    assert_eq!(error.cause().unwrap().to_string(), "no patience");
    drop(guard);
    assert!(matches!(poll(&mut tasks.wait(&other), &wakes), Poll::Ready(Ok(()))), "an empty list wins");
}

#[test]
fn dropped_wait_leaves_no_waker_behind() {
    let (ctx, tasks) = Context::background().with_tasks();
    let _guard = ctx.task_guard();
    let wakes = Wakes::new();
    let mut wait = tasks.wait(&ctx);
    assert!(poll(&mut wait, &wakes).is_pending());
    assert!(poll(&mut wait, &wakes).is_pending());
    assert!(wakes.held() > 0);
    drop(wait);
    assert_eq!(wakes.held(), 0);
}

#[test]
fn waker_that_panics_keeps_no_other_waiter_waiting() {
    let (ctx, tasks) = Context::background().with_tasks();
    let guard = ctx.task_guard();
    let mut first = tasks.wait(&ctx);
    assert!(common::poll_with(&mut first, &common::waker_fn(|| panic!("a waker's own"))).is_pending());
    let (wakes, mut second) = (Wakes::new(), tasks.wait(&ctx));
    assert!(poll(&mut second, &wakes).is_pending());
    drop(guard);
    assert_eq!(wakes.count(), 1);
}

#[test]
fn last_task_that_ends_during_the_registration_wakes_the_waiter() {
    for round in 0..common::rounds(2_000) {
        let (ctx, tasks) = Context::background().with_tasks();
        let (guard, wakes) = (ctx.task_guard(), Wakes::new());
        let mut wait = tasks.wait(&Context::background());
        let (polled, ()) = race(
            || {
                common::jitter(round);
                poll(&mut wait, &wakes)
            },
            || drop(guard),
        );
        assert!(polled.is_ready() || wakes.count() == 1, "round {round}");
    }
}

#[test]
fn list_freed_with_its_context_frees_the_values_of_its_tasks() {
    struct Held(#[expect(dead_code, reason = "counted by its Arc")] Arc<()>);
    impl ripcord::Value for Held {}
    let held = Arc::new(());
    let (ctx, tasks) = Context::background().with_tasks();
    let guard = ctx.with_value(Held(Arc::clone(&held))).task_guard();
    assert_eq!((tasks.len(), Arc::strong_count(&held)), (1, 2));
    drop(guard);
    assert_eq!(Arc::strong_count(&held), 1);
}

/// A panicking task of a group leaves the list like any other task.
#[test]
fn panicking_group_task_is_taken_out() {
    let (ctx, tasks) = Context::background().with_tasks();
    let later = Later::default();
    let (group, _ctx) = later.group(&ctx);
    group.go(async { if tasks_panic() { Ok::<(), Error>(()) } else { pending().await } });
    for task in later.take() {
        let mut task = pin!(task);
        assert!(poll_pinned(task.as_mut(), &Wakes::new().waker()).is_ready());
    }
    assert!(tasks.is_empty());
    let waiting = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block_on(group.wait())));
    assert!(waiting.is_err());
}

fn tasks_panic() -> bool {
    panic!("the task's own")
}
