//! The results of groups.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use crate::worlds::{World, everywhere, heard, ok};
use ripcord::{Context, Error, GroupError};

everywhere! {
    all_succeed;
    nothing_to_wait_for;
    first_error_cancels_the_siblings_and_is_reported;
    real_error_beats_the_cancellation_it_caused;
    real_error_beats_a_cancellation_from_above;
    cancel_without_a_real_error_is_reported;
    wait_all_reports_every_error;
}

fn all_succeed(world: impl World) {
    world.block_on(async {
        let (group, ctx) = world.group(&Context::background());
        let ran = Arc::new(AtomicUsize::new(0));
        for i in 0..10 {
            let ran = Arc::clone(&ran);
            group.go(async move {
                crate::common::Yields(i).await;
                ran.fetch_add(1, Ordering::SeqCst);
                ok()
            });
        }
        assert!(!ctx.is_done());
        group.wait().await.expect("none fails");
        assert_eq!(ran.load(Ordering::SeqCst), 10);
    });
}

fn nothing_to_wait_for(world: impl World) {
    world.block_on(async {
        world.group(&Context::background()).0.wait().await.expect("nothing fails");
        assert!(world.group(&Context::background()).0.wait_all().await.is_empty());
    });
}

fn first_error_cancels_the_siblings_and_is_reported(world: impl World) {
    world.block_on(async {
        let (group, ctx) = world.group(&Context::background());
        for _ in 0..4 {
            let ctx = ctx.clone();
            group.go(async move {
                ctx.done().await;
                ok()
            });
        }
        group.go(async { Err(std::io::Error::other("disk full")) });
        let error: GroupError = group.wait().await.expect_err("one fails");
        assert_eq!(error.to_string(), "disk full");
        assert!(error.cause().downcast_ref::<std::io::Error>().is_some(), "its type is kept");
        // The siblings' context reports why it was canceled.
        assert!(ctx.err().expect("done").is_canceled());
        assert_eq!(ctx.cause().expect("done").to_string(), "disk full");
    });
}

fn real_error_beats_the_cancellation_it_caused(world: impl World) {
    for _ in 0..20 {
        world.block_on(async {
            let (group, ctx) = world.group(&Context::background());
            for _ in 0..4 {
                let ctx = ctx.clone();
                group.go(async move { Err::<(), Error>(ctx.done().await) });
            }
            group.go(async { Err::<(), _>("boom") });
            for _ in 0..4 {
                let ctx = ctx.clone();
                group.go(async move { Err::<(), Error>(ctx.with_name("below").done().await) });
            }
            assert_eq!(group.wait().await.expect_err("one fails").to_string(), "boom");
        });
    }
}

fn real_error_beats_a_cancellation_from_above(world: impl World) {
    world.block_on(async {
        let (root, cancel) = Context::background().with_cancel();
        let (group, ctx) = world.group(&root);
        let (sender, receiver) = mpsc::channel();
        group.go({
            let (ctx, sender) = (ctx.clone(), sender.clone());
            async move {
                sender.send(()).expect("the test waits");
                let error = ctx.done().await;
                sender.send(()).expect("the test waits");
                Err::<(), Error>(error)
            }
        });
        let (gate, open) = ctx.without_cancel().with_cancel();
        group.go(async move {
            sender.send(()).expect("the test waits");
            gate.done().await;
            Err::<(), _>("boom")
        });
        heard(&receiver, 2).await;
        cancel.cancel();
        // The first task reports the cancellation before the second task fails with its own error.
        heard(&receiver, 1).await;
        open.cancel();
        assert_eq!(group.wait().await.expect_err("one fails").to_string(), "boom");
    });
}

fn cancel_without_a_real_error_is_reported(world: impl World) {
    world.block_on(async {
        let (root, cancel) = Context::background().with_cancel();
        let (group, ctx) = world.group(&root);
        group.go(async move { Err::<(), Error>(ctx.done().await) });
        cancel.cancel_with("shutting down");
        let error = group.wait().await.expect_err("it was canceled");
        let error = error.cause().downcast_ref::<Error>().expect("the context's error");
        assert!(error.is_canceled());
        assert_eq!(error.cause().expect("given").to_string(), "shutting down");
    });
}

fn wait_all_reports_every_error(world: impl World) {
    world.block_on(async {
        let (group, ctx) = world.group(&Context::background());
        let (sender, receiver) = mpsc::channel();
        for i in 0..3 {
            let (ctx, sender) = (ctx.clone(), sender.clone());
            group.go(async move {
                sender.send(()).expect("the test waits");
                ctx.done().await;
                Err::<(), _>(format!("failed too, {i}"))
            });
        }
        heard(&receiver, 3).await;
        group.go(async { ok() });
        group.go(async { Err::<(), _>("failed first") });
        let errors: Vec<_> = group.wait_all().await.iter().map(ToString::to_string).collect();
        assert!(errors.len() >= 4, "{errors:?}");
        assert_eq!(errors[0], "failed first");
        // The task that does not fail may have been added after the end, and in that case was not started.
        let mut rest: Vec<_> = errors[1..].iter().filter(|error| *error != "context canceled").collect();
        rest.sort();
        assert_eq!(rest, ["failed too, 0", "failed too, 1", "failed too, 2"]);
    });
}
