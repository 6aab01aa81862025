//! Groups with results: values in order, partial results, the three join modes, and handles that add tasks.

mod common;

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use common::{SEC, Wakes, Yields, manual, poll_pinned, race, rounds, within};
use ripcord::{BoxFuture, Cause, Context, Error, Group, GroupError, GroupHandle, Join, block_on};

// ===== an executor that polls on demand =====

/// Keeps the tasks that it receives. `run` polls the tasks that are not ready.
#[derive(Clone, Default)]
struct Hand(Arc<Mutex<Vec<BoxFuture>>>);

impl Hand {
    fn group<T>(&self, join: Join, ctx: &Context) -> (Group<T>, Context) {
        self.group_of(join, usize::MAX, ctx)
    }

    fn group_of<T>(&self, join: Join, limit: usize, ctx: &Context) -> (Group<T>, Context) {
        let hand = self.clone();
        let execute = move |task| hand.0.lock().unwrap().push(task);
        Group::builder().limit(limit).join(join).executor(execute).build(ctx)
    }

    /// Polls the tasks in the order in which they were added, until no poll makes progress.
    fn run(&self) {
        let waker = Wakes::new().waker();
        let mut kept = Vec::new();
        loop {
            let taken = std::mem::take(&mut *self.0.lock().unwrap());
            if taken.is_empty() {
                break;
            }
            kept.extend(
                taken
                    .into_iter()
                    .filter_map(|mut task| poll_pinned(task.as_mut(), &waker).is_pending().then_some(task)),
            );
        }
        self.0.lock().unwrap().extend(kept);
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Runs the tasks and polls the future in turn until the future is ready.
    fn drive<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        for _ in 0..100 {
            if let Poll::Ready(output) = poll_pinned(future.as_mut(), &Wakes::new().waker()) {
                return output;
            }
            self.run();
        }
        panic!("it never ends")
    }
}

fn text<T>(results: Vec<Result<T, GroupError>>) -> Vec<String>
where
    T: std::fmt::Display,
{
    results.iter().map(|result| result.as_ref().map_or_else(ToString::to_string, ToString::to_string)).collect()
}

const JOINS: [Join; 3] = [Join::FailFast, Join::All, Join::First];

// ===== values =====

#[test]
fn values_are_in_the_order_of_the_go_calls() {
    for join in [Join::FailFast, Join::All] {
        let hand = Hand::default();
        let (group, _ctx) = hand.group_of(join, 2, &Context::background());
        for n in 0..6 {
            group.go(async move {
                Yields(6 - n).await;
                Ok::<_, Error>(n.to_string())
            });
        }
        assert_eq!(hand.drive(group.values()).unwrap(), ["0", "1", "2", "3", "4", "5"]);
    }
}

#[test]
fn group_without_tasks_has_no_values_and_no_error() {
    for join in JOINS {
        let group = || Hand::default().group::<u8>(join, &Context::background()).0;
        assert!(block_on(group().wait()).is_ok());
        assert_eq!(block_on(group().values()).unwrap(), [0_u8; 0]);
        assert!(block_on(group().results()).is_empty());
    }
}

#[test]
fn error_is_returned_instead_of_the_values() {
    for join in [Join::FailFast, Join::All] {
        let hand = Hand::default();
        let (group, _ctx) = hand.group(join, &Context::background());
        group.go(async { Ok::<_, Cause>(1) });
        group.go(async { Err::<u8, _>("broken") });
        assert_eq!(hand.drive(group.values()).unwrap_err().to_string(), "broken");
    }
}

#[test]
fn values_of_size_zero_are_in_order() {
    let hand = Hand::default();
    let (group, _ctx) = hand.group(Join::All, &Context::background());
    for n in 0..4 {
        group.go(async move { if n == 2 { Err("two") } else { Ok(()) } });
    }
    let results = hand.drive(group.results());
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
    let (group, _ctx) = hand.group::<()>(Join::All, &Context::background());
    group.go(async { Ok::<_, Error>(()) });
    group.go(async { Ok::<_, Error>(()) });
    assert_eq!(hand.drive(group.values()).unwrap(), [(), ()]);
}

// ===== results =====

#[test]
fn results_are_partial_when_the_caller_ends() {
    for join in JOINS {
        let (root, time) = manual();
        let hand = Hand::default();
        let (group, _ctx) = hand.group(join, &root.with_timeout_cause(SEC, "too slow"));
        let dropped = Arc::new(());
        group.go(async { Err::<u8, _>(Cause::from("failed")) });
        for _ in 0..2 {
            let holds = Arc::clone(&dropped);
            group.go(async move {
                let _holds = holds;
                pending::<Result<u8, Error>>().await
            });
        }
        let mut results = pin!(group.results());
        assert!(poll_pinned(results.as_mut(), &Wakes::new().waker()).is_pending());
        hand.run();
        if join != Join::FailFast {
            assert_eq!(Arc::strong_count(&dropped), 3);
            assert!(poll_pinned(results.as_mut(), &Wakes::new().waker()).is_pending());
            time.advance(SEC);
        }
        let results = hand.drive(results);
        assert_eq!(Arc::strong_count(&dropped), 1);
        let end = if join == Join::FailFast { "context canceled" } else { "context deadline exceeded" };
        assert_eq!(text(results), ["failed", end, end]);
    }
}

#[test]
fn unfinished_entries_hold_the_error_that_ended_the_group() {
    let hand = Hand::default();
    let (group, _ctx) = hand.group(Join::FailFast, &Context::background());
    group.go(async { pending::<Result<u8, Cause>>().await });
    group.go(async { Err::<u8, _>("disk on fire") });
    let results = hand.drive(group.results());
    let error = results[0].as_ref().unwrap_err();
    assert_eq!(error.to_string(), "context canceled");
    let end = error.cause().downcast_ref::<Error>().unwrap();
    assert_eq!(end.cause().unwrap().to_string(), "disk on fire");
    assert_eq!(results[1].as_ref().unwrap_err().to_string(), "disk on fire");
}

#[test]
fn queued_tasks_are_dropped_with_the_end_and_have_their_entries() {
    let hand = Hand::default();
    let (ctx, cancel) = Context::background().with_cancel();
    let (group, _ctx) = hand.group_of::<u8>(Join::All, 1, &ctx);
    let dropped = Arc::new(());
    for _ in 0..3 {
        let holds = Arc::clone(&dropped);
        group.go(async move {
            let _holds = holds;
            pending::<Result<u8, Error>>().await
        });
    }
    let mut results = pin!(group.results());
    assert!(poll_pinned(results.as_mut(), &Wakes::new().waker()).is_pending());
    hand.run();
    cancel.cancel();
    assert!(poll_pinned(results.as_mut(), &Wakes::new().waker()).is_pending(), "the executor holds the first");
    assert_eq!((Arc::strong_count(&dropped), hand.len()), (2, 1));
    assert_eq!(text(hand.drive(results)), ["context canceled"; 3]);
}

#[test]
fn group_of_a_done_context_has_an_entry_for_each_go() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel_with("stopped");
    let hand = Hand::default();
    let (group, _ctx) = hand.group::<u8>(Join::All, &ctx);
    group.go(poll_fn(|_| -> Poll<Result<u8, Error>> { unreachable!("it is never polled") }));
    assert!(!group.handle().go(async { Ok::<_, Error>(1) }));
    assert!(!group.try_go(async { Ok::<_, Error>(1) }));
    assert_eq!(text(hand.drive(group.results())), ["context canceled"]);
}

#[test]
fn value_that_is_ready_at_the_poll_of_the_end_counts() {
    let hand = Hand::default();
    let (ctx, cancel) = Context::background().with_cancel();
    let (group, ctx) = hand.group(Join::All, &ctx);
    group.go(async move {
        ctx.done().await;
        Ok::<_, Error>(7)
    });
    hand.run();
    cancel.cancel();
    assert_eq!(text(hand.drive(group.results())), ["7"]);
}

#[test]
fn executor_that_drops_its_tasks_fails_them() {
    for join in JOINS {
        let (group, _ctx) = Group::builder().join(join).executor(drop).build(&Context::background());
        group.go(async { Ok::<_, Error>(1) });
        assert_eq!(text(block_on(group.results())), ["the executor dropped a task of the group before its end"]);
    }
}

#[test]
fn executor_that_panics_leaves_an_entry_of_its_task() {
    let execute = |_task: BoxFuture| panic!("the executor's own");
    let (group, _ctx) = Group::builder().executor(execute).build(&Context::background());
    assert!(catch_unwind(AssertUnwindSafe(|| group.go(async { Ok::<_, Error>(1) }))).is_err());
    assert_eq!(block_on(group.results()).len(), 1);
}

// ===== the three join modes =====

#[test]
fn first_success_ends_the_others_and_is_the_only_value() {
    let hand = Hand::default();
    let (group, ctx) = hand.group(Join::First, &Context::background());
    let dropped = Arc::new(());
    let holds = Arc::clone(&dropped);
    group.go(async move {
        let _holds = holds;
        pending::<Result<&str, Cause>>().await
    });
    group.go(async { Err::<&str, _>("broken") });
    group.go(async {
        Yields(1).await;
        Ok::<_, Cause>("fast")
    });
    group.go(async { pending::<Result<&str, Cause>>().await });
    let line = line!() - 5;
    assert_eq!(hand.drive(group.values()).unwrap(), ["fast"]);
    assert_eq!(Arc::strong_count(&dropped), 1);
    let end = ctx.err().unwrap();
    assert_eq!(end.cause().unwrap().to_string(), "another task of the group has succeeded");
    assert_eq!(end.origin().location().line(), line);
}

#[test]
fn losers_of_first_hold_the_end_in_their_entries() {
    let hand = Hand::default();
    let (group, _ctx) = hand.group(Join::First, &Context::background());
    group.go(async { pending::<Result<&str, Cause>>().await });
    group.go(async { Err::<&str, _>("broken") });
    group.go(async { Ok::<_, Cause>("winner") });
    group.go(async { unreachable!("nothing starts after the winner") as Result<&str, Cause> });
    let results = hand.drive(group.results());
    assert_eq!(text(results), ["context canceled", "broken", "winner", "context canceled"]);
}

#[test]
fn wait_for_first_succeeds_with_the_winner() {
    let hand = Hand::default();
    let (group, _ctx) = hand.group(Join::First, &Context::background());
    group.go(async { Err::<u8, _>("broken") });
    group.go(async { Ok::<_, Cause>(1) });
    assert!(hand.drive(group.wait()).is_ok());
}

#[test]
fn first_reports_the_last_real_error_when_all_fail() {
    let hand = Hand::default();
    let (ctx, cancel) = Context::background().with_cancel();
    let (group, ctx) = hand.group(Join::First, &ctx);
    group.go(async { Err::<u8, _>("first") });
    group.go(async { Err::<u8, _>("last") });
    group.go(async move { Err::<u8, _>(ctx.done().await) });
    hand.run();
    cancel.cancel();
    assert_eq!(hand.drive(group.values()).unwrap_err().to_string(), "last");

    let (group, ctx) = hand.group(Join::First, &ctx_that_ends());
    group.go(async move { Err::<u8, _>(ctx.done().await) });
    assert_eq!(hand.drive(group.wait()).unwrap_err().to_string(), "context canceled");
}

fn ctx_that_ends() -> Context {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel();
    ctx
}

#[test]
fn panic_of_first_is_resumed_only_if_no_task_wins() {
    let hand = Hand::default();
    let panicking = |value: Option<u8>| {
        let (group, _ctx) = hand.group(Join::First, &Context::background());
        group.go(async { panics("a task's own") });
        group.go(async { Err::<u8, _>("broken") });
        if let Some(value) = value {
            group.go(async move { Ok::<_, Cause>(value) });
        }
        group
    };
    assert_eq!(hand.drive(panicking(Some(3)).values()).unwrap(), [3]);
    let resumed = catch_unwind(AssertUnwindSafe(|| hand.drive(panicking(None).values())));
    assert_eq!(*resumed.unwrap_err().downcast::<&str>().unwrap(), "a task's own");
}

fn panics(message: &'static str) -> Result<u8, Cause> {
    std::panic::panic_any(message)
}

#[test]
fn panic_cancels_the_others_of_fail_fast_alone() {
    for join in JOINS {
        let hand = Hand::default();
        let (group, ctx) = hand.group(join, &Context::background());
        group.go(async { panics("a task's own") });
        let line = line!() - 1;
        hand.run();
        assert_eq!(ctx.is_done(), join == Join::FailFast);
        let results = hand.drive(group.results());
        let panic = results[0].as_ref().unwrap_err().panic().unwrap();
        assert_eq!((panic.message(), panic.location().line()), (Some("a task's own"), line));
        assert!(results[0].as_ref().unwrap_err().is_panicked());
    }
}

#[test]
fn wait_resumes_a_panic_after_all_tasks_have_ended() {
    let hand = Hand::default();
    let (group, _ctx) = hand.group(Join::All, &Context::background());
    let ended = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&ended);
    group.go(async { panics("first") });
    group.go(async { panics("second") });
    group.go(async move {
        Yields(3).await;
        ends.store(true, Ordering::SeqCst);
        Ok::<_, Cause>(1)
    });
    let resumed = catch_unwind(AssertUnwindSafe(|| hand.drive(group.wait()))).unwrap_err();
    assert_eq!(*resumed.downcast::<&str>().unwrap(), "first");
    assert!(ended.load(Ordering::SeqCst));
}

#[test]
fn all_runs_every_task_to_its_end_and_reports_the_first_error() {
    let hand = Hand::default();
    let (group, ctx) = hand.group(Join::All, &Context::background());
    group.go(async { Err::<u8, _>("first") });
    group.go(async {
        Yields(2).await;
        Ok::<_, Cause>(1)
    });
    group.go(async { Err::<u8, _>("second") });
    hand.run();
    assert!(!ctx.is_done());
    assert_eq!(hand.drive(group.wait_all()).iter().map(ToString::to_string).collect::<Vec<_>>(), ["first", "second"]);
    assert!(ctx.is_done(), "the context ends with the group");
}

#[test]
fn value_that_panics_when_dropped_does_not_abort_a_resumed_panic() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a value's drop");
        }
    }
    let hand = Hand::default();
    let (group, _ctx) = hand.group(Join::All, &Context::background());
    group.go(async { Ok::<_, Cause>(Bomb) });
    group.go(async { panics("the task's").map(|_| Bomb) });
    let resumed = catch_unwind(AssertUnwindSafe(|| hand.drive(group.wait()))).unwrap_err();
    assert_eq!(*resumed.downcast::<&str>().unwrap(), "the task's");
    // A dropped group that no caller waits for does not abort either.
    let (group, _ctx) = hand.group(Join::All, &Context::background());
    group.go(async { Ok::<_, Cause>(Bomb) });
    hand.run();
    drop(group);
}

#[test]
fn panic_in_the_drop_of_a_task_is_its_entry() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the drop");
        }
    }
    let hand = Hand::default();
    let (ctx, cancel) = Context::background().with_cancel();
    let (group, _ctx) = hand.group(Join::All, &ctx);
    let bomb = Bomb;
    group.go(poll_fn(move |_| {
        let _held = &bomb;
        Poll::<Result<u8, Cause>>::Pending
    }));
    hand.run();
    cancel.cancel();
    let results = hand.drive(group.results());
    assert_eq!(results[0].as_ref().unwrap_err().panic().unwrap().message(), Some("in the drop"));
}

// ===== handles =====

#[test]
fn task_adds_tasks_to_its_own_group_under_its_limit() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    fn visit(group: &GroupHandle<u32>, number: u32) -> bool {
        let handle = group.clone();
        group.go(async move {
            assert!(RUNNING.fetch_add(1, Ordering::SeqCst) < 2, "the limit is two");
            if number < 8 {
                assert!(visit(&handle, 2 * number) && visit(&handle, 2 * number + 1));
            }
            Yields(1).await;
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, Error>(number)
        })
    }
    let hand = Hand::default();
    let (group, _ctx) = hand.group_of(Join::FailFast, 2, &Context::background());
    assert!(visit(&group.handle(), 1));
    let mut values = hand.drive(group.values()).unwrap();
    values.sort_unstable();
    assert_eq!(values, (1..16).collect::<Vec<_>>());
}

#[test]
fn handle_keeps_no_waiter_waiting_and_adds_nothing_afterwards() {
    let hand = Hand::default();
    let (group, _ctx) = hand.group(Join::FailFast, &Context::background());
    let handle = group.handle();
    assert!(handle.go(async { Ok::<_, Error>(1) }));
    assert_eq!(hand.drive(group.values()).unwrap(), [1]);
    assert!(!handle.go(async { Ok::<_, Error>(2) }));
    assert_eq!(hand.len(), 0);
}

#[test]
fn handle_of_a_dropped_group_adds_nothing_and_holds_no_task() {
    let hand = Hand::default();
    let (group, _ctx) = hand.group_of::<u8>(Join::FailFast, 1, &Context::background());
    let (handle, held) = (group.handle(), Arc::new(()));
    for _ in 0..2 {
        let holds = Arc::clone(&held);
        group.go(async move {
            let _holds = holds;
            pending::<Result<u8, Error>>().await
        });
    }
    drop(group);
    assert_eq!(Arc::strong_count(&held), 2, "the executor's");
    let holds = Arc::clone(&held);
    assert!(!handle.go(async move { Ok::<_, Error>(Arc::strong_count(&holds) as u8) }));
    hand.run();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn handle_at_limit_zero_ends_its_task_with_an_error() {
    let hand = Hand::default();
    let (group, _ctx) = hand.group_of(Join::All, 1, &Context::background());
    let handle = group.handle();
    group.go(async move {
        Yields(1).await;
        handle.go(async { unreachable!("no task starts") as Result<u8, Error> });
        Ok::<_, Error>(1)
    });
    hand.run();
    group.set_limit(0);
    let results = hand.drive(group.results());
    assert_eq!(text(results), ["1", "the executor dropped a task of the group before its end"]);
}

#[test]
fn go_racing_with_the_last_end_is_either_refused_or_waited_for() {
    within("race", || {
        for round in 0..rounds(2_000) {
            let (group, _ctx) = Group::builder().executor(block_on).build::<u8>(&Context::background());
            let handle = group.handle();
            let ran = Arc::new(AtomicBool::new(false));
            let runs = Arc::clone(&ran);
            let (accepted, values) = race(
                move || {
                    common::jitter(round);
                    handle.go(async move {
                        runs.store(true, Ordering::SeqCst);
                        Ok::<_, Error>(1)
                    })
                },
                || block_on(group.results()),
            );
            // An accepted task may also have found the context done, if the group has ended.
            assert_eq!(values.len(), usize::from(accepted), "round {round}");
            assert!(accepted || !ran.load(Ordering::SeqCst));
        }
    });
}

// ===== on tokio =====

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;

    #[test]
    fn ten_thousand_values_come_in_order_on_threads() {
        within("ten thousand", || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            runtime.block_on(async {
                let (group, _ctx) = Group::builder().limit(100).build(&Context::background());
                for n in 0..10_000_u32 {
                    group.go(async move {
                        tokio::task::yield_now().await;
                        Ok::<_, Error>(n)
                    });
                }
                assert_eq!(group.values().await.unwrap(), (0..10_000).collect::<Vec<_>>());
            });
        });
    }

    #[test]
    fn many_winners_race_and_one_value_is_returned() {
        within("winners", || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            for _ in 0..rounds(500) {
                let (group, _ctx) = Group::builder().join(Join::First).build(&Context::background());
                let values = runtime.block_on(async {
                    for n in 0..8_u8 {
                        group.go(async move { Ok::<_, Error>(n) });
                    }
                    group.values().await.unwrap()
                });
                assert_eq!(values.len(), 1);
            }
        });
    }

    #[test]
    fn group_outside_of_a_runtime_fails_its_tasks() {
        let (group, _ctx) = Group::builder().build(&Context::background());
        group.go(std::future::ready(Ok::<_, Error>(1)));
        assert_eq!(text(block_on(group.results())), ["the executor dropped a task of the group before its end"]);
    }

    #[test]
    fn runtime_shut_down_in_the_middle_fails_its_tasks() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (group, _ctx) = Group::builder().join(Join::All).build(&Context::background());
        runtime.block_on(async {
            group.go(async { Ok::<_, Error>(1) });
            group.go(async { pending::<Result<u8, Error>>().await });
            Yields(1).await;
            tokio::task::yield_now().await;
        });
        drop(runtime);
        assert_eq!(text(block_on(group.results())), ["1", "the executor dropped a task of the group before its end"]);
    }
}
