//! 8. A child of a done parent is done from its first moment, with the parent's cause, in every race of the two.

use std::sync::mpsc;
use std::time::Duration;

use ripcord::Context;

use crate::common::{
    HANG, HOUR, SEC, User, Wakes, assert_canceled, assert_exceeded, jitter, manual, other, poll, race, rounds, within,
};

fn children(parent: &Context) -> Vec<Context> {
    let (cancelable, cancel) = parent.with_cancel();
    cancel.cancel_with("too late");
    vec![
        cancelable,
        parent.with_timeout_cause(HOUR, "never reported"),
        parent.with_timeout_cause(Duration::ZERO, "never reported"),
        parent.with_value(User(1)),
        parent.with_name("n"),
        parent.merge(&other()),
        other().merge(parent),
        parent.with_name("n").with_value(User(2)).with_timeout_cause(Duration::ZERO, "never reported"),
    ]
}

#[test]
fn s08_a_child_of_a_canceled_parent_has_its_cause() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_cancel();
    cancel.cancel_with("stop");
    time.advance(SEC);
    for child in children(&parent) {
        assert_canceled(&child, Some("stop"));
    }
    let past = parent.with_deadline_cause(time.now() - HOUR / 2, "never reported");
    assert_canceled(&past, Some("stop"));
}

#[test]
fn s08_a_child_of_an_unwatched_expired_parent_has_its_cause() {
    let (root, time) = manual();
    let parent = root.with_timeout_cause(SEC, "slow");
    time.advance(2 * SEC);
    for child in children(&parent) {
        assert_exceeded(&child, Some("slow"));
    }
    let past = parent.with_deadline_cause(time.now() - HOUR / 2, "never reported");
    assert_exceeded(&past, Some("slow"));
}

#[test]
fn s08_callbacks_and_futures_of_a_done_child_run_at_once() {
    let (root, _time) = manual();
    let (parent, cancel) = root.with_cancel();
    cancel.cancel_with("stop");
    let child = parent.with_name("child");
    let (sender, receiver) = mpsc::channel();
    let registered = child.after_func(move || sender.send(()).expect("the test waits"));
    receiver.recv_timeout(HANG).expect("the callback runs");
    assert!(!registered.stop());
    assert!(poll(&mut child.done_owned(), &Wakes::new()).is_ready());
}

#[test]
fn s08_deriving_races_with_canceling_and_no_child_escapes() {
    for round in 0..rounds(500) {
        let (root, _time) = manual();
        let (parent, cancel) = root.with_cancel();
        let wakes = Wakes::new();
        let ((), (born, mut wait)) = race(
            || {
                jitter(round);
                cancel.cancel_with("stop");
            },
            || {
                let was_done = parent.is_done();
                let child = match round % 4 {
                    0 => parent.with_name("n"),
                    1 => parent.with_timeout(HOUR),
                    2 => parent.merge(&root),
                    _ => {
                        let (child, cancel) = parent.with_cancel();
                        cancel.detach();
                        child
                    }
                };
                if was_done {
                    assert_canceled(&child, Some("stop"));
                }
                let mut wait = child.done_owned();
                let ready = poll(&mut wait, &wakes).is_ready();
                (child, (!ready).then_some(wait))
            },
        );
        assert_canceled(&born, Some("stop"));
        if let Some(wait) = &mut wait {
            assert_eq!(wakes.count(), 1, "round {round}: the wake-up was lost");
            assert!(poll(wait, &wakes).is_ready());
        }
    }
}

#[test]
fn s08_a_thread_waiting_on_a_child_created_during_the_cancel_returns() {
    within("waiting on a child born during the cancel", || {
        for round in 0..rounds(300) {
            let (root, _time) = manual();
            let (parent, cancel) = root.with_cancel();
            let ((), error) = race(
                || {
                    jitter(round);
                    cancel.cancel_with("stop");
                },
                || parent.with_name("child").wait(),
            );
            assert_eq!(error.cause().expect("given").to_string(), "stop");
        }
    });
}
