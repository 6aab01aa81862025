//! `sync::mpsc`.

use std::pin::pin;
use std::task::Poll;

use ripcord::sync::mpsc::{self, SendError};
use ripcord::{Context, Error};

use crate::common::{MS, Wakes, manual, poll_pinned};
use crate::{cancelable, now, poll};

#[test]
fn values_arrive_in_order_and_none_after_the_last_sender() {
    let ctx = Context::background();
    let (sender, mut receiver) = mpsc::channel(3);
    let other = sender.clone();
    now(sender.send(&ctx, 1)).unwrap();
    now(other.send(&ctx, 2)).unwrap();
    drop(sender);
    other.try_send(3).unwrap();
    drop(other);
    let received: Vec<_> = (0..4).map(|_| now(receiver.recv(&ctx)).unwrap()).collect();
    assert_eq!(received, [Some(1), Some(2), Some(3), None]);
    assert_eq!(receiver.try_recv(), None);
}

#[test]
fn value_without_a_slot_until_the_end_is_returned() {
    let (root, time) = manual();
    let ctx = root.with_timeout_cause(MS, "the queue is stuck");
    let (sender, mut receiver) = mpsc::channel(1);
    now(sender.send(&ctx, "first")).unwrap();
    let wakes = Wakes::new();
    let mut waiting = pin!(sender.send(&ctx, "second"));
    assert!(poll_pinned(waiting.as_mut(), &wakes.waker()).is_pending());
    time.advance(MS);
    assert_eq!(wakes.count(), 1);
    let Poll::Ready(Err(error)) = poll(waiting.as_mut()) else { panic!("the context has ended") };
    assert!(error.is_ended() && !error.is_closed() && !error.is_full());
    assert!(error.context_error().is_some_and(Error::is_deadline_exceeded));
    assert_eq!(error.to_string(), "the channel was full until its sender's context ended");
    assert!(format!("{error:#}").starts_with(
        "the channel was full until its sender's context ended: context deadline exceeded: the queue is stuck (timeout of 1ms set at "
    ));
    assert!(Error::find_in(&error).is_some());
    assert_eq!(error.into_value(), "second");
    assert_eq!((receiver.try_recv(), receiver.try_recv()), (Some("first"), None));
}

#[test]
fn done_context_sends_nothing_even_with_a_free_slot() {
    let (ctx, cancel) = cancelable();
    let (sender, mut receiver) = mpsc::channel(1);
    cancel.cancel();
    let error = now(sender.send(&ctx, 7)).unwrap_err();
    assert!(error.context_error().is_some_and(Error::is_canceled));
    assert_eq!((error.into_value(), receiver.try_recv()), (7, None));
}

#[test]
fn slot_that_is_free_at_the_poll_of_the_end_is_used() {
    let (ctx, cancel) = cancelable();
    let (sender, mut receiver) = mpsc::channel(1);
    sender.try_send(1).unwrap();
    let mut waiting = pin!(sender.send(&ctx, 2));
    assert!(poll(waiting.as_mut()).is_pending());
    cancel.cancel();
    assert_eq!(receiver.try_recv(), Some(1));
    assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Ok(()))));
    assert_eq!(receiver.try_recv(), Some(2));
}

#[test]
fn dropped_send_sends_nothing_and_frees_its_slot() {
    let ctx = Context::background();
    let (sender, mut receiver) = mpsc::channel(1);
    sender.try_send(1).unwrap();
    let next_wakes = Wakes::new();
    let mut first = Box::pin(sender.send(&ctx, 2));
    let mut next = pin!(sender.send(&ctx, 3));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll_pinned(next.as_mut(), &next_wakes.waker()).is_pending());
    assert_eq!(receiver.try_recv(), Some(1));
    // The slot is now assigned to the first sender.
    drop(first);
    assert_eq!(next_wakes.count(), 1);
    assert!(poll(next.as_mut()).is_ready());
    assert_eq!((receiver.try_recv(), receiver.try_recv()), (Some(3), None));
}

#[test]
fn full_channel_refuses_a_value_that_must_not_wait() {
    let (sender, _receiver) = mpsc::channel(1);
    sender.try_send('a').unwrap();
    let error = sender.try_send('b').unwrap_err();
    assert!(error.is_full() && !error.is_closed() && error.context_error().is_none());
    assert_eq!((error.to_string(), error.into_value()), ("the channel is full".to_owned(), 'b'));
}

#[test]
fn value_for_a_receiver_that_is_gone_is_returned() {
    let ctx = Context::background();
    let (sender, mut receiver) = mpsc::channel(1);
    sender.try_send('a').unwrap();
    let mut waiting = pin!(sender.send(&ctx, 'b'));
    assert!(poll(waiting.as_mut()).is_pending());
    receiver.close();
    assert!(sender.is_closed());
    let Poll::Ready(Err(error)) = poll(waiting.as_mut()) else { panic!("the channel is closed") };
    assert!(error.is_closed() && !error.is_full() && error.context_error().is_none());
    assert_eq!(format!("{error} {error:?}"), "the channel is closed SendError(the channel is closed)");
    assert_eq!(error.into_value(), 'b');
    assert!(sender.try_send('c').unwrap_err().is_closed());
    assert_eq!(now(receiver.recv(&ctx)).unwrap(), Some('a'), "a closed channel keeps its values");
    assert_eq!(now(receiver.recv(&ctx)).unwrap(), None);
    drop(receiver);
    assert!(now(sender.send(&ctx, 'd')).is_err_and(|error: SendError<_>| error.is_closed()));
}

#[test]
fn end_of_the_context_ends_a_wait_for_a_value_and_takes_none() {
    let (ctx, cancel) = cancelable();
    let (sender, mut receiver) = mpsc::channel(1);
    let wakes = Wakes::new();
    {
        let mut waiting = pin!(receiver.recv(&ctx));
        assert!(poll_pinned(waiting.as_mut(), &wakes.waker()).is_pending());
        cancel.cancel();
        assert_eq!(wakes.count(), 1);
        assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Err(_))));
    }
    sender.try_send(1).unwrap();
    assert!(now(receiver.recv(&ctx)).is_err());
    assert_eq!(receiver.try_recv(), Some(1), "the value was taken");
}

#[test]
fn value_that_is_ready_at_the_poll_of_the_end_is_received() {
    let (ctx, cancel) = cancelable();
    let (sender, mut receiver) = mpsc::channel(1);
    let mut waiting = pin!(receiver.recv(&ctx));
    assert!(poll(waiting.as_mut()).is_pending());
    cancel.cancel();
    sender.try_send(1).unwrap();
    assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Ok(Some(1)))));
}

#[test]
fn closed_is_ready_when_the_receiver_is_dropped() {
    let (ctx, cancel) = cancelable();
    let (sender, receiver) = mpsc::channel::<u8>(1);
    {
        let mut closed = pin!(sender.closed(&ctx));
        assert!(poll(closed.as_mut()).is_pending());
        drop(receiver);
        assert!(matches!(poll(closed.as_mut()), Poll::Ready(Ok(()))));
    }
    cancel.cancel();
    assert!(now(sender.closed(&ctx)).is_err());
}

#[test]
fn capacity_of_zero_counts_as_one_and_the_largest_is_accepted() {
    let (sender, _receiver) = mpsc::channel(0);
    sender.try_send(1).unwrap();
    assert!(sender.try_send(2).unwrap_err().is_full());
    let (sender, mut receiver) = mpsc::channel(usize::MAX);
    sender.try_send(1).unwrap();
    assert_eq!(format!("{sender:?} {receiver:?}"), "Sender { closed: false, .. } Receiver { waiting: 1, .. }");
    assert_eq!(receiver.try_recv(), Some(1));
}

#[test]
fn full_channel_names_the_line_that_created_it() {
    let (sender, _receiver) = mpsc::channel(1);
    let line = line!() - 1;
    sender.try_send(1).unwrap();
    let full = sender.clone().try_send(2).unwrap_err();
    assert!(full.is_full() && full.context_error().is_none());
    assert_eq!(full.to_string(), "the channel is full");
    assert_eq!(format!("{full:#}"), format!("the channel is full (created at {}:{line}:31)", file!()));
    assert_eq!(full.into_value(), 2);
}
