//! Threads that wait with `block_on`, under contexts that end at random.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ripcord::sync::{Mutex, Semaphore, mpsc, oneshot};
use ripcord::{Context, block_on};

use crate::common::{Random, rounds, within};

const THREADS: usize = 4;

/// Returns a context that ends within a few hundred microseconds, or not at all.
fn short(random: &mut Random) -> Context {
    let root = Context::background();
    if random.below(3) == 0 { root } else { root.with_timeout(Duration::from_micros(random.below(300) as u64)) }
}

#[test]
fn permits_and_locks_are_neither_lost_nor_held_twice() {
    within("semaphore and mutex", || {
        let (semaphore, mutex) = (Semaphore::new(3), Mutex::new(0_usize));
        let (in_use, expected) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for seed in 0..THREADS {
                let (semaphore, mutex, in_use, expected) = (&semaphore, &mutex, &in_use, &expected);
                scope.spawn(move || {
                    let mut random = Random(seed as u64);
                    for _ in 0..rounds(2_000_u16) {
                        let (ctx, count) = (short(&mut random), random.below(3) + 1);
                        let Ok(permit) = block_on(semaphore.acquire(&ctx, u32::try_from(count).unwrap())) else {
                            continue;
                        };
                        assert!(in_use.fetch_add(count, Ordering::SeqCst) + count <= 3, "too many permits");
                        if let Ok(mut guard) = block_on(mutex.lock(&ctx)) {
                            *guard += 1;
                            expected.fetch_add(1, Ordering::SeqCst);
                        }
                        in_use.fetch_sub(count, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(semaphore.available(), 3);
        assert_eq!(mutex.into_inner(), expected.into_inner());
    });
}

#[test]
fn each_value_is_either_received_once_or_returned_to_its_sender() {
    within("channel", || {
        let (sender, mut receiver) = mpsc::channel(2);
        let sent = AtomicUsize::new(0);
        let received = std::thread::scope(|scope| {
            for seed in 0..THREADS {
                let (sender, sent) = (sender.clone(), &sent);
                scope.spawn(move || {
                    let mut random = Random(seed as u64);
                    for number in 1..=rounds(2_000_usize) {
                        match block_on(sender.send(&short(&mut random), number)) {
                            Ok(()) => drop(sent.fetch_add(number, Ordering::SeqCst)),
                            Err(error) => assert_eq!(error.into_value(), number),
                        }
                    }
                });
            }
            drop(sender);
            let mut random = Random(99);
            let mut sum = 0;
            loop {
                match block_on(receiver.recv(&short(&mut random))) {
                    Ok(Some(number)) => sum += number,
                    Ok(None) => break sum,
                    Err(error) => assert!(error.is_deadline_exceeded()),
                }
            }
        });
        assert_eq!(received, sent.into_inner());
    });
}

#[test]
fn reply_reaches_a_thread_that_waits_again_after_its_end() {
    within("oneshot", || {
        for round in 0..rounds(200_usize) {
            let (reply, mut answer) = oneshot::channel();
            std::thread::scope(|scope| {
                scope.spawn(move || reply.send(round).unwrap());
                let ctx = Context::background().with_timeout(Duration::from_micros(20));
                let received = match block_on(answer.recv(&ctx)) {
                    Ok(received) => received,
                    Err(_) => block_on(answer.recv(&Context::background())).unwrap(),
                };
                assert_eq!(received, Some(round));
            });
        }
    });
}
