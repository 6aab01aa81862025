//! `sync::Semaphore`. The first tests repeat the tests of golang.org/x/sync/semaphore.

use std::pin::pin;
use std::task::Poll;

use ripcord::Context;
use ripcord::sync::Semaphore;

use crate::common::{MS, Wakes, assert_error, manual, poll_pinned};
use crate::{cancelable, now, poll};

#[test]
fn try_acquire_takes_available_permits() {
    let semaphore = Semaphore::new(2);
    let one = semaphore.try_acquire(1);
    assert!(one.is_some() && semaphore.try_acquire(2).is_none());
    assert_eq!(semaphore.available(), 1);
    drop(one);
    let both = semaphore.try_acquire(2).expect("two are available");
    assert_eq!((both.permits(), semaphore.available()), (2, 0));
}

#[test]
fn request_above_the_size_waits_for_the_end_and_delays_no_other_waiter() {
    let semaphore = Semaphore::new(2);
    let (ctx, cancel) = cancelable();
    let mut doomed = pin!(semaphore.acquire(&ctx, 3));
    assert!(poll(doomed.as_mut()).is_pending());
    assert!(now(semaphore.acquire(&Context::background(), 2)).is_ok());
    assert!(semaphore.try_acquire(3).is_none());
    cancel.cancel();
    let Poll::Ready(Err(error)) = poll(doomed.as_mut()) else { panic!("the context has ended") };
    assert!(error.is_canceled());
}

#[test]
fn waiter_for_many_permits_is_not_overtaken() {
    let (semaphore, ctx) = (Semaphore::new(10), Context::background());
    let first = semaphore.try_acquire(6).expect("ten are available");
    let (mut many, mut few) = (pin!(semaphore.acquire(&ctx, 8)), pin!(semaphore.acquire(&ctx, 1)));
    assert!(poll(many.as_mut()).is_pending());
    assert!(poll(few.as_mut()).is_pending(), "it overtakes the first waiter");
    assert!(semaphore.try_acquire(1).is_none());
    drop(first);
    assert!(poll(many.as_mut()).is_ready() && poll(few.as_mut()).is_ready());
}

#[test]
fn done_context_acquires_nothing_even_with_free_permits() {
    let semaphore = Semaphore::new(1);
    let ctx = Context::background().with_timeout_cause(std::time::Duration::ZERO, "too late");
    let error = now(semaphore.acquire(&ctx, 1)).unwrap_err();
    assert_error(&error, ripcord::ErrorKind::DeadlineExceeded, Some("too late"));
    assert!(now(semaphore.acquire(&ctx, 5)).unwrap_err().is_deadline_exceeded());
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn end_during_the_wait_wakes_the_waiter_and_lets_the_next_one_move_up() {
    let semaphore = Semaphore::new(2);
    let held = semaphore.try_acquire(1);
    let (root, time) = manual();
    let ctx = root.with_timeout(MS);
    let (wakes, next_wakes) = (Wakes::new(), Wakes::new());
    let (mut waiting, mut next) = (pin!(semaphore.acquire(&ctx, 2)), Box::pin(semaphore.acquire(&root, 1)));
    assert!(poll_pinned(waiting.as_mut(), &wakes.waker()).is_pending());
    assert!(poll_pinned(next.as_mut(), &next_wakes.waker()).is_pending());
    time.advance(MS);
    assert_eq!(wakes.count(), 1);
    let Poll::Ready(Err(error)) = poll(waiting.as_mut()) else { panic!("the context has ended") };
    assert!(error.is_deadline_exceeded());
    assert_eq!(next_wakes.count(), 1, "the next waiter was not woken");
    assert!(poll(next.as_mut()).is_ready());
    drop(held);
}

#[test]
fn permit_that_is_ready_at_the_poll_of_the_end_wins() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire(1);
    let (ctx, cancel) = cancelable();
    let mut waiting = pin!(semaphore.acquire(&ctx, 1));
    assert!(poll(waiting.as_mut()).is_pending());
    cancel.cancel();
    drop(held);
    assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn waiter_dropped_after_its_permit_was_assigned_hands_it_on() {
    let (semaphore, ctx) = (Semaphore::new(1), Context::background());
    let held = semaphore.try_acquire(1);
    let next_wakes = Wakes::new();
    let mut first = Box::pin(semaphore.acquire(&ctx, 1));
    let mut next = pin!(semaphore.acquire(&ctx, 1));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll_pinned(next.as_mut(), &next_wakes.waker()).is_pending());
    drop(held);
    drop(first);
    assert_eq!(next_wakes.count(), 1);
    assert!(poll(next.as_mut()).is_ready());
}

#[test]
fn no_permits_and_all_permits_can_be_acquired() {
    let (none, all) = (Semaphore::new(0), Semaphore::new(u32::MAX));
    assert!(now(none.acquire(&Context::background(), 0)).is_ok());
    assert!(none.try_acquire(1).is_none());
    let permit = now(all.acquire(&Context::background(), all.size())).expect("nobody holds any");
    assert_eq!((permit.permits(), all.available()), (all.size(), 0));
    drop(permit);
    assert_eq!(all.available(), all.size());
}

#[test]
fn permit_outlives_the_handle_of_its_semaphore() {
    let semaphore = Semaphore::new(3);
    let other = semaphore.clone();
    let permit = semaphore.try_acquire(2);
    drop(semaphore);
    assert_eq!(other.available(), 1);
    drop(permit);
    assert_eq!(format!("{other:?}"), "Semaphore { size: 3, available: 3 }");
    assert_eq!(format!("{:?}", other.try_acquire(1).unwrap()), "Permit(1)");
}
