//! Defects that were found and fixed. Each test begins with a description of the defect.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use common::{HANG, SEC, Wakes, manual, poll};
use ripcord::{Canceler, Context, DoneOwned, Group, Value};

/// A value whose drop panics.
struct Bomb;

impl Value for Bomb {}

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("a value's drop panics, on purpose");
        }
    }
}

/// A waker that drops the last reference of a context when woken, like an executor that drops a finished task.
struct GivesUp(std::sync::Mutex<Option<DoneOwned>>);

impl Wake for GivesUp {
    fn wake(self: Arc<Self>) {
        let last = self.0.lock().expect("not poisoned").take();
        drop(last);
    }
}

/// Waits on the context with a future that only its waker holds, so that the wake drops the context.
fn held_by_its_waker(ctx: &Context) {
    let mut done = ctx.done_owned();
    let holder = Arc::new(GivesUp(std::sync::Mutex::new(None)));
    let waker = Waker::from(Arc::clone(&holder));
    assert!(std::pin::Pin::new(&mut done).poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    *holder.0.lock().expect("not poisoned") = Some(done);
}

fn cancelable(ctx: &Context) -> Context {
    let (ctx, cancel): (Context, Canceler) = ctx.with_cancel();
    cancel.detach();
    ctx
}

#[test]
fn value_that_panics_when_a_timer_frees_it_keeps_no_other_deadline_from_firing() {
    // The timers that were taken out of the queue together were dropped in a loop. A panic there lost the timers that came
    // after.
    let (root, time) = manual();
    let exploding = root.with_value(Bomb).with_timeout(SEC);
    held_by_its_waker(&exploding);
    drop(exploding);
    let (other, wakes) = (root.with_timeout(SEC), Wakes::new());
    let mut done = other.done();
    assert!(poll(&mut done, &wakes).is_pending());
    time.advance(SEC);
    assert_eq!(wakes.count(), 1);
}

#[test]
fn value_that_panics_when_a_cancel_frees_it_keeps_no_descendant_from_being_marked() {
    // The panic dropped the list of nodes that had to be marked, and `propagations` was decremented all the same.
    let (root, cancel) = Context::background().with_cancel();
    {
        let exploding = cancelable(&root.with_value(Bomb));
        held_by_its_waker(&cancelable(&exploding));
    }
    let grandchild = cancelable(&cancelable(&root));
    let wakes = Wakes::new();
    let mut done = grandchild.done();
    assert!(poll(&mut done, &wakes).is_pending());
    cancel.cancel();
    assert!(grandchild.is_done());
    assert_eq!(wakes.count(), 1);
}

#[test]
fn value_that_panics_when_a_callback_frees_it_keeps_no_other_callback_from_running() {
    let (root, cancel) = Context::background().with_cancel();
    let (sender, runs) = mpsc::channel();
    for n in 0..4 {
        let ctx = if n == 2 { cancelable(&root.with_value(Bomb)) } else { cancelable(&root) };
        let sender = sender.clone();
        drop(ctx.after_func(move || sender.send(n).expect("the test listens")));
    }
    cancel.cancel();
    let mut ran: Vec<i32> = (0..4).map(|_| runs.recv_timeout(HANG).expect("each runs")).collect();
    ran.sort_unstable();
    assert_eq!(ran, [0, 1, 2, 3]);
}

#[test]
fn merges_below_a_deadline_do_not_recurse_when_it_fires() {
    // A merged context below a fired deadline is marked late. It was marked within the marking of the merged context above.
    const LEVELS: usize = 20_000;
    let merging = move || {
        let (root, time) = manual();
        let (other, _other) = Context::background().with_cancel();
        let top = root.with_timeout(SEC);
        let chain = (0..LEVELS).fold(top.clone(), |ctx, _| ctx.merge(&other));
        let neighbours: Vec<Context> = (0..LEVELS).map(|_| root.with_timeout(SEC)).collect();
        let pairs: Vec<Context> = neighbours.windows(2).map(|pair| pair[0].merge(&pair[1])).collect();
        time.advance(SEC);
        assert!(chain.err().is_some_and(|error| error.is_deadline_exceeded()));
        assert!(pairs.iter().all(Context::is_done));
    };
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(merging).expect("a thread");
    thread.join().expect("it fits the stack");
}

/// Advances the clock when woken, and records the wake.
struct Advances(ripcord::ManualTime, Arc<std::sync::Mutex<Vec<char>>>);

impl Wake for Advances {
    fn wake(self: Arc<Self>) {
        self.1.lock().expect("not poisoned").push('a');
        self.0.advance(SEC);
    }
}

#[test]
fn waker_that_advances_the_clock_does_not_reorder_the_deadlines() {
    // The deadlines due at one moment were taken out together, so the deadlines that the waker made due came before the rest.
    let (root, time) = manual();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let waits: Vec<(DoneOwned, Waker)> = [('a', SEC), ('b', SEC), ('c', 2 * SEC)]
        .into_iter()
        .map(|(name, timeout)| {
            let order = Arc::clone(&order);
            let waker = match name {
                'a' => Waker::from(Arc::new(Advances(time.clone(), order))),
                _ => common::waker_fn(move || order.lock().expect("not poisoned").push(name)),
            };
            (root.with_timeout(timeout).done_owned(), waker)
        })
        .collect();
    let mut waits = waits;
    for (done, waker) in &mut waits {
        assert!(common::poll_with(done, waker).is_pending());
    }
    time.advance(SEC);
    assert_eq!(*order.lock().expect("not poisoned"), ['a', 'b', 'c']);
}

/// Cancels when woken.
struct Cancels(Canceler);

impl Wake for Cancels {
    fn wake(self: Arc<Self>) {
        self.0.cancel_with("second");
    }
}

#[test]
fn merged_context_has_the_earlier_end_also_when_a_waker_ends_its_other_parent() {
    let (first, cancel_first) = Context::background().with_cancel();
    let (second, cancel_second) = Context::background().with_cancel();
    let merged = first.merge(&second);
    let waker = Waker::from(Arc::new(Cancels(cancel_first)));
    let mut done = second.done_owned();
    assert!(std::pin::Pin::new(&mut done).poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    cancel_second.cancel_with("first");
    assert_eq!(merged.cause().expect("done").to_string(), "first");
}

#[test]
fn name_in_the_error_of_a_merged_context_stays() {
    let (request, cancel) = Context::background().with_name("request").with_cancel();
    let (shutdown, stop) = Context::background().with_name("shutdown").with_cancel();
    let merged = request.merge(&shutdown);
    stop.cancel();
    let name = || merged.err().expect("done").origin().name().map(str::to_owned);
    assert_eq!(name().as_deref(), Some("shutdown"));
    cancel.cancel();
    assert_eq!(name().as_deref(), Some("shutdown"));
}

/// Counts its drop.
struct Counted(Arc<AtomicUsize>);

impl Value for Counted {}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn after_func_on_a_context_that_cannot_end_does_not_keep_it() {
    let drops = Arc::new(AtomicUsize::new(0));
    let ctx = Context::background().with_value(Counted(Arc::clone(&drops))).without_cancel();
    drop(ctx.after_func(|| {}));
    drop(ctx);
    assert_eq!(drops.load(SeqCst), 1);
}

#[cfg(feature = "tokio-util")]
#[test]
fn after_func_keeps_the_listener_of_a_token() {
    // The function kept the context that the token ends, but not the context below, which held the listener.
    let token = tokio_util::sync::CancellationToken::new();
    let (sender, ran) = mpsc::channel();
    let ctx = Context::background().with_cancellation_token(&token);
    drop(ctx.after_func(move || sender.send(()).expect("the test listens")));
    let onward = ctx.cancellation_token();
    drop(ctx);
    token.cancel();
    assert!(onward.is_cancelled());
    ran.recv_timeout(HANG).expect("it runs although every handle is gone");
}

#[test]
fn executor_that_panics_hangs_no_group() {
    let calls = AtomicUsize::new(0);
    let (group, _ctx) = Group::with_executor(&Context::background(), move |task| {
        assert!(calls.fetch_add(1, SeqCst) != 1, "an executor that refuses, on purpose");
        thread::spawn(move || futures::executor::block_on(task));
    });
    group.set_limit(1);
    let (go_on, gate) = mpsc::channel::<()>();
    group.go(async move { gate.recv_timeout(HANG).map_err(|_| "the test went away") });
    for _ in 0..3 {
        group.go(async { Ok::<(), &str>(()) });
    }
    go_on.send(()).expect("the first task listens");
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(futures::executor::block_on(group.wait()).is_err()));
    assert_eq!(ended.recv_timeout(HANG), Ok(true));
}

#[test]
fn waker_of_a_group_that_panics_stays_out_of_the_task() {
    // The panic was resumed in the last task's poll, or in its drop, where a second panic aborts the process.
    let tasks = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handed = Arc::clone(&tasks);
    let (group, _ctx) = Group::with_executor(&Context::background(), move |task| {
        handed.lock().expect("not poisoned").push(task);
    });
    group.go(async { Ok::<(), &str>(()) });
    let mut wait = Box::pin(group.wait());
    let panics = common::waker_fn(|| panic!("a waker panics, on purpose"));
    assert!(common::poll_with(&mut wait, &panics).is_pending());
    let mut task = tasks.lock().expect("not poisoned").pop().expect("it was handed over");
    assert!(common::poll_with(&mut task, Waker::noop()).is_ready());
    assert!(common::poll_with(&mut wait, Waker::noop()).is_ready());
}

#[test]
fn child_of_a_canceled_parent_never_reports_its_own_deadline() {
    // The coarse clock was ahead of the exact clock, so the time of a cancel could be later than the creation of a child after
    // it.
    for _ in 0..200 {
        let (parent, cancel) = Context::background().with_cancel();
        cancel.cancel_with("stop");
        let child = parent.with_timeout(Duration::from_micros(50));
        assert_eq!(child.cause().expect("done").to_string(), "stop");
    }
}

#[test]
fn late_merge_of_a_cancel_and_a_deadline_at_one_instant_reports_the_deadline() {
    // The first parent won, so a merge created before the end and a merge created after it reported different ends.
    let (root, time) = manual();
    let timed = root.with_timeout(SEC);
    let (canceled, cancel) = root.with_cancel();
    let early = [canceled.merge(&timed), timed.merge(&canceled)];
    time.advance(SEC);
    cancel.cancel();
    for merged in early.into_iter().chain([canceled.merge(&timed), timed.merge(&canceled)]) {
        assert!(merged.err().is_some_and(|error| error.is_deadline_exceeded()), "{merged}");
    }
}

/// `block_on` relied on the thread's park token to remember a wake. Code inside the future that parks the thread consumes that
/// token.
#[test]
fn wake_of_blocked_future_outlives_a_park_inside_it() {
    let (send, receive) = mpsc::channel();
    let blocked = thread::spawn(move || {
        let mut polls = 0;
        ripcord::block_on(std::future::poll_fn(|task| {
            polls += 1;
            if polls == 2 {
                return Poll::Ready(());
            }
            task.waker().wake_by_ref();
            // For example a channel's `recv`, or another `block_on`.
            thread::park();
            Poll::Pending
        }));
        send.send(polls).expect("the test waits for it");
    });
    assert_eq!(receive.recv_timeout(HANG), Ok(2));
    blocked.join().expect("it does not panic");
}

/// The inner call must not consume the outer call's wakes.
#[test]
fn block_on_inside_block_on_keeps_both_wakes_apart() {
    let (send, receive) = mpsc::channel();
    let blocked = thread::spawn(move || {
        let twice = |inside: &dyn Fn()| {
            let mut polls = 0;
            ripcord::block_on(std::future::poll_fn(|task| {
                polls += 1;
                if polls == 2 {
                    return Poll::Ready(());
                }
                task.waker().wake_by_ref();
                inside();
                Poll::Pending
            }));
        };
        twice(&|| twice(&|| ()));
        send.send(()).expect("the test waits for it");
    });
    assert_eq!(receive.recv_timeout(HANG), Ok(()));
    blocked.join().expect("it does not panic");
}

/// A future of tokio is not ready in a task that has used up its budget, and wakes the task when the task yields. `block_on` never
/// returned.
#[cfg(feature = "tokio")]
#[test]
fn block_on_in_a_task_without_budget_returns() {
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    let (send, receive) = mpsc::channel();
    let blocked = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let semaphore = tokio::sync::Semaphore::new(1);
            while has_budget_remaining() {
                consume_budget().await;
            }
            drop(ripcord::block_on(semaphore.acquire()));
        });
        send.send(()).expect("the test waits for it");
    });
    assert_eq!(receive.recv_timeout(HANG), Ok(()));
    blocked.join().expect("it does not panic");
}
