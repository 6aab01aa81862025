//! The guard for connections of any pool, with a pool that is a list.

use std::cell::RefCell;
use std::future::{pending, ready};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::executor::block_on;
use futures::poll;
use ripcord::{Clock, Context};
use ripcord_sql::ConnectionGuard;

const GRACE: Duration = Duration::from_secs(1);

/// A connection that notes what becomes of it.
struct Connection(Rc<RefCell<Vec<&'static str>>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.borrow_mut().push("dropped");
    }
}

type Guard = ConnectionGuard<Connection, fn(Connection)>;

fn guard() -> (Guard, Rc<RefCell<Vec<&'static str>>>) {
    let notes = Rc::default();
    let discard: fn(Connection) = |connection| connection.0.borrow_mut().push("discarded");
    (ConnectionGuard::new(Connection(Rc::clone(&notes)), discard), notes)
}

#[test]
fn finished_work_returns_the_connection() {
    let (mut guard, notes) = guard();
    assert_eq!(block_on(guard.run(&Context::background(), GRACE, async |_| 7)).unwrap(), 7);
    assert!(!guard.is_unfinished());
    drop(guard);
    assert_eq!(*notes.borrow(), ["dropped"]);
}

#[test]
fn done_context_runs_nothing_and_returns_the_connection() {
    let (mut guard, notes) = guard();
    let ctx = Context::background().with_timeout(Duration::ZERO);
    let error = block_on(guard.run(&ctx, GRACE, async |_| unreachable!("it is not called"))).unwrap_err();
    assert!(error.is_deadline_exceeded());
    drop(guard);
    assert_eq!(*notes.borrow(), ["dropped"]);
}

#[test]
fn work_that_is_ready_within_the_grace_returns_its_result_and_the_connection() {
    let (mut guard, notes) = guard();
    let (clock, time) = Clock::manual();
    let (ctx, cancel) = Context::background().with_clock(clock).with_cancel();
    block_on(async {
        let (sender, receiver) = futures::channel::oneshot::channel();
        let mut running = pin!(guard.run(&ctx, GRACE, async |_| receiver.await.unwrap()));
        assert!(poll!(&mut running).is_pending());
        cancel.cancel();
        time.advance(GRACE - Duration::from_nanos(1));
        assert!(poll!(&mut running).is_pending());
        sender.send(7).unwrap();
        assert!(matches!(poll!(&mut running), Poll::Ready(Ok(7))));
    });
    drop(guard);
    assert_eq!(*notes.borrow(), ["dropped"]);
}

#[test]
fn work_that_outlasts_the_grace_costs_the_connection() {
    let (mut guard, notes) = guard();
    let (clock, time) = Clock::manual();
    let (ctx, cancel) = Context::background().with_clock(clock).with_cancel();
    block_on(async {
        let mut running = pin!(guard.run(&ctx, GRACE, async |_| pending::<()>().await));
        assert!(poll!(&mut running).is_pending());
        cancel.cancel();
        time.advance(GRACE);
        assert!(matches!(poll!(&mut running), Poll::Ready(Err(error)) if error.is_canceled()));
    });
    assert!(guard.is_unfinished());
    // A later success does not make up for it.
    block_on(guard.run(&Context::background(), GRACE, async |_| ready(()).await)).unwrap();
    drop(guard);
    assert_eq!(*notes.borrow(), ["discarded", "dropped"]);
}

#[test]
fn work_dropped_half_way_costs_the_connection() {
    let (mut guard, notes) = guard();
    block_on(async {
        let ctx = Context::background();
        let mut running = Box::pin(guard.run(&ctx, GRACE, async |_| pending::<()>().await));
        assert!(poll!(&mut running).is_pending());
    });
    drop(guard);
    assert_eq!(*notes.borrow(), ["discarded", "dropped"]);
}

#[test]
fn work_that_panics_costs_the_connection() {
    let (mut guard, notes) = guard();
    let ctx = Context::background();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = block_on(guard.run(&ctx, GRACE, async |_| panic!("in the driver")));
    }));
    assert!(panicked.is_err());
    drop(guard);
    assert_eq!(*notes.borrow(), ["discarded", "dropped"]);
}

#[test]
fn future_that_was_never_polled_returns_the_connection() {
    let (mut guard, notes) = guard();
    drop(guard.run(&Context::background(), GRACE, async |_| ()));
    drop(guard);
    assert_eq!(*notes.borrow(), ["dropped"]);
}

#[test]
fn future_can_be_spawned() {
    async fn execute(connection: &mut u64, by: u64) -> u64 {
        *connection += by;
        *connection
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let task = runtime.spawn(async {
        let ctx = Context::background();
        let mut guard = ConnectionGuard::new(1, drop::<u64>);
        let by = String::from("6");
        guard
            .run(&ctx, GRACE, async |connection: &mut u64| execute(connection, by.parse().unwrap()).await)
            .await
            .unwrap()
    });
    assert_eq!(block_on(task).unwrap(), 7);
}
