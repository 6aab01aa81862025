//! Panics of tasks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use crate::worlds::{Threads, World, everywhere, heard, ok};
use ripcord::{Context, Group};

everywhere! {
    panic_cancels_the_siblings_and_resumes_at_wait;
    panic_with_another_payload_keeps_it;
}

pub(crate) fn resumed(world: impl World, group: Group) -> Box<dyn std::any::Any + Send> {
    // The poll of `wait` resumes the panic, on the thread that polls.
    catch_unwind(AssertUnwindSafe(|| world.block_on(async { group.wait().await }))).expect_err("a task panicked")
}

fn panic_cancels_the_siblings_and_resumes_at_wait(world: impl World) {
    let ended = Arc::new(AtomicUsize::new(0));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        world.block_on(async {
            let (group, ctx) = world.group(&Context::background());
            let (sender, receiver) = mpsc::channel();
            for _ in 0..3 {
                let (ctx, ended, sender) = (ctx.clone(), Arc::clone(&ended), sender.clone());
                group.go(async move {
                    sender.send(()).expect("the test waits");
                    ctx.done().await;
                    ended.fetch_add(1, Ordering::SeqCst);
                    Err::<(), _>("an error is no match for a panic")
                });
            }
            heard(&receiver, 3).await;
            group.go(async {
                if true {
                    panic!("on purpose, in a task");
                }
                ok()
            });
            group.wait().await
        })
    }));
    let panic = outcome.expect_err("the panic resumes");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose, in a task"));
    assert_eq!(ended.load(Ordering::SeqCst), 3, "wait() came back before every task had ended");
}

fn panic_with_another_payload_keeps_it(_world: impl World) {
    // On threads in both worlds, because a tokio group does not leave its runtime.
    let (group, _ctx) = Threads.group(&Context::background());
    group.go(async {
        std::panic::resume_unwind(Box::new(7_u32));
        #[expect(unreachable_code, reason = "it gives the block its type")]
        ok()
    });
    assert_eq!(resumed(Threads, group).downcast_ref::<u32>(), Some(&7));
}
