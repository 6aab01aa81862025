//! A shutdown begins and drains while several threads use it. Its list of tasks has std's locks, which loom does not see: the
//! tests in `tests/shutdown` cover the races on the list.

use std::pin::Pin;
use std::task::{self, Poll, Waker};
use std::time::Duration;

use loom::thread;

use super::model;
use crate::shutdown::executor::spawned;
use crate::{Context, DrainEnded, Report, Shutdown};

/// Returns a shutdown without time limits, because a timer would need a thread that loom does not know.
fn below(root: &Context) -> Shutdown {
    Shutdown::builder().context(root).drain(Duration::MAX).build()
}

fn poll_once<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut task::Context::from_waker(Waker::noop()))
}

/// Runs the shutdown to its end and returns the report. No work is in flight at this point.
fn report_of(shutdown: &Shutdown) -> Report {
    let mut spawned = spawned::take();
    assert_eq!(spawned.len(), 1, "there is one driver");
    assert!(poll_once(spawned[0].as_mut()).is_ready(), "the driver waits for nothing");
    match poll_once(Pin::new(&mut shutdown.run())) {
        Poll::Ready(report) => report,
        Poll::Pending => panic!("the driver is ready, and there is no report"),
    }
}

#[test]
fn two_stop_requests() {
    model(|| {
        let shutdown = below(&Context::background());
        let other = shutdown.clone();
        let beginning = thread::spawn(move || {
            other.begin("there");
            assert!(other.context().is_draining());
        });
        shutdown.begin("here");
        assert!(shutdown.context().is_draining());
        beginning.join().unwrap();
        let report = report_of(&shutdown);
        let cause = shutdown.context().cause().unwrap();
        let ended = cause.downcast_ref::<DrainEnded>().unwrap();
        assert_eq!(ended.stop_cause().to_string(), report.cause().to_string());
    });
}

#[test]
fn driver_ends_the_drain_against_the_end_of_the_drain_time() {
    model(|| {
        let shutdown = below(&Context::background());
        let in_flight = shutdown.context().task_guard();
        shutdown.begin("now");
        let other = shutdown.clone();
        let over = thread::spawn(move || other.drain_time_is_over());
        thread::yield_now();
        drop(in_flight);
        let report = report_of(&shutdown);
        over.join().unwrap();
        let cause = shutdown.context().cause().unwrap();
        let ended = cause.downcast_ref::<DrainEnded>().unwrap();
        assert!(ended.is_time_over() || report.canceled().is_empty(), "the report and the cause disagree");
        assert_eq!(ended.stop_cause().to_string(), "now");
    });
}
