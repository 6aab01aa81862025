//! `sync::oneshot`.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use ripcord::Context;
use ripcord::sync::oneshot;

use crate::common::{MS, Wakes, manual, poll_pinned};
use crate::{cancelable, now, poll};

#[test]
fn value_is_received_once_and_then_none() {
    let ctx = Context::background();
    let (sender, mut receiver) = oneshot::channel();
    sender.send(7).unwrap();
    assert_eq!(now(receiver.recv(&ctx)).unwrap(), Some(7));
    assert_eq!(now(receiver.recv(&ctx)).unwrap(), None);
    assert_eq!(receiver.try_recv(), None);
}

#[test]
fn sender_that_is_dropped_leaves_none() {
    let ctx = Context::background();
    let (sender, mut receiver) = oneshot::channel::<u8>();
    assert_eq!(receiver.try_recv(), None);
    {
        let wakes = Wakes::new();
        let mut waiting = pin!(receiver.recv(&ctx));
        assert!(poll_pinned(waiting.as_mut(), &wakes.waker()).is_pending());
        drop(sender);
        assert_eq!(wakes.count(), 1);
        assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Ok(None))));
    }
    let (sender, mut receiver) = oneshot::channel::<u8>();
    drop(sender);
    assert_eq!(receiver.try_recv(), None);
    assert_eq!(now(receiver.recv(&ctx)).unwrap(), None, "after `try_recv` has found the sender gone");
}

#[test]
fn end_of_the_context_ends_the_wait_and_another_context_can_wait_again() {
    let (root, time) = manual();
    let ctx = root.with_timeout(MS);
    let (sender, mut receiver) = oneshot::channel();
    let wakes = Wakes::new();
    {
        let mut waiting = pin!(receiver.recv(&ctx));
        assert!(poll_pinned(waiting.as_mut(), &wakes.waker()).is_pending());
        time.advance(MS);
        assert_eq!(wakes.count(), 1);
        let Poll::Ready(Err(error)) = poll(waiting.as_mut()) else { panic!("the context has ended") };
        assert!(error.is_deadline_exceeded());
    }
    sender.send(7).unwrap();
    assert!(now(receiver.recv(&ctx)).is_err(), "a done context receives nothing");
    assert_eq!(now(receiver.recv(&root)).unwrap(), Some(7));
}

#[test]
fn value_that_is_ready_at_the_poll_of_the_end_wins() {
    let (ctx, cancel) = cancelable();
    let (sender, mut receiver) = oneshot::channel();
    let mut waiting = pin!(receiver.recv(&ctx));
    assert!(poll(waiting.as_mut()).is_pending());
    cancel.cancel();
    sender.send(7).unwrap();
    assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Ok(Some(7)))));
}

#[test]
fn value_for_a_receiver_that_is_gone_is_returned() {
    let (ctx, cancel) = cancelable();
    let (mut sender, receiver) = oneshot::channel();
    {
        let mut closed = pin!(sender.closed(&ctx));
        assert!(poll(closed.as_mut()).is_pending());
        drop(receiver);
        assert!(matches!(poll(closed.as_mut()), Poll::Ready(Ok(()))));
    }
    assert!(sender.is_closed());
    cancel.cancel();
    assert!(now(sender.closed(&ctx)).is_err());
    assert_eq!(sender.send(7), Err(7));
}

#[test]
fn value_that_is_never_received_is_dropped_with_the_receiver() {
    let value = Arc::new(());
    let (sender, receiver) = oneshot::channel();
    sender.send(Arc::clone(&value)).unwrap();
    assert_eq!(Arc::strong_count(&value), 2);
    drop(receiver);
    assert_eq!(Arc::strong_count(&value), 1);
}
