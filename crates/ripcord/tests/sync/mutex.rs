//! `sync::Mutex`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use ripcord::Context;
use ripcord::sync::Mutex;

use crate::common::{Wakes, poll_pinned};
use crate::{cancelable, now, poll};

#[test]
fn lock_is_passed_on_in_the_order_of_the_calls() {
    let (mutex, ctx) = (Mutex::new(0), Context::background());
    let mut guard = now(mutex.lock(&ctx)).unwrap();
    *guard += 1;
    assert!(mutex.try_lock().is_none());
    let (mut second, mut third) = (pin!(mutex.lock(&ctx)), pin!(mutex.lock(&ctx)));
    assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
    drop(guard);
    assert!(poll(third.as_mut()).is_pending());
    let Poll::Ready(Ok(guard)) = poll(second.as_mut()) else { panic!("it is the first waiter") };
    assert_eq!(*guard, 1);
}

#[test]
fn end_of_the_context_ends_the_wait_and_leaves_the_lock_to_the_next_waiter() {
    let mutex = Mutex::new(());
    let guard = mutex.try_lock();
    let (ctx, cancel) = cancelable();
    let (wakes, next_wakes) = (Wakes::new(), Wakes::new());
    let background = Context::background();
    let (mut waiting, mut next) = (pin!(mutex.lock(&ctx)), pin!(mutex.lock(&background)));
    assert!(poll_pinned(waiting.as_mut(), &wakes.waker()).is_pending());
    assert!(poll_pinned(next.as_mut(), &next_wakes.waker()).is_pending());
    cancel.cancel_with("why");
    assert_eq!(wakes.count(), 1);
    let Poll::Ready(Err(error)) = poll(waiting.as_mut()) else { panic!("the context has ended") };
    assert_eq!(error.cause().unwrap().to_string(), "why");
    drop(guard);
    assert_eq!(next_wakes.count(), 1);
    assert!(matches!(poll(next.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn done_context_does_not_lock_an_unlocked_mutex() {
    let mutex = Mutex::new(7);
    let (ctx, cancel) = cancelable();
    cancel.cancel();
    assert!(now(mutex.lock(&ctx)).is_err());
    assert_eq!(*mutex.try_lock().unwrap(), 7);
}

#[test]
fn lock_that_is_ready_at_the_poll_of_the_end_wins() {
    let mutex = Mutex::new(());
    let guard = mutex.try_lock();
    let (ctx, cancel) = cancelable();
    let mut waiting = pin!(mutex.lock(&ctx));
    assert!(poll(waiting.as_mut()).is_pending());
    drop(guard);
    cancel.cancel();
    assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn task_that_locks_twice_gets_the_end_of_its_context() {
    let mutex = Mutex::new(());
    let (ctx, cancel) = cancelable();
    let _guard = now(mutex.lock(&ctx)).unwrap();
    let mut again = pin!(mutex.lock(&ctx));
    assert!(poll(again.as_mut()).is_pending());
    cancel.cancel();
    assert!(matches!(poll(again.as_mut()), Poll::Ready(Err(_))));
}

#[test]
fn panic_of_the_holder_unlocks_the_mutex_and_poisons_nothing() {
    let mutex = Mutex::new(1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = mutex.try_lock().unwrap();
        *guard = 2;
        panic!("in the lock");
    }));
    assert!(panicked.is_err());
    assert_eq!(*mutex.try_lock().unwrap(), 2);
}

#[test]
fn exclusive_access_needs_no_lock() {
    let mut mutex = Mutex::from(1);
    *mutex.get_mut() += 1;
    assert_eq!(format!("{mutex:?}"), "Mutex { data: 2 }");
    let guard = mutex.try_lock().unwrap();
    assert_eq!(format!("{guard:?} {guard}"), "2 2");
    drop(guard);
    assert_eq!(mutex.into_inner(), 2);
}
