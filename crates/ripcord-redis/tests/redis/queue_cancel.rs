//! The queue: canceling jobs.

use std::time::Duration;

use ripcord::Context;
use ripcord_policy::Retry;
use ripcord_redis::{CancelOutcome, JobId, RemoteCancel};

use crate::queue_setup::{Running, Seen, Setup, block_on, until, until_stats};

/// Starts a worker whose jobs run until their contexts end. Each end is sent.
fn start(setup: &Setup, seen: &Seen) -> (Running, tokio::sync::mpsc::UnboundedReceiver<(u64, ripcord::Error)>) {
    let (sender, ends) = tokio::sync::mpsc::unbounded_channel();
    let (queue, seen) = (setup.queue.clone(), seen.clone());
    let worker = Running::start(|ctx| async move {
        let handler = move |ctx: Context, n| {
            seen.add(n);
            let sender = sender.clone();
            async move {
                ctx.done().await;
                let end = ctx.err().expect("an ended context");
                let _closed = sender.send((n, end.clone()));
                Err::<(), _>(end)
            }
        };
        let retry = Retry::constant(Duration::from_millis(1)).max_attempts(10).build().expect("valid settings");
        queue.worker().concurrency(4).retry(retry).grace(Duration::from_secs(5)).run(&ctx, handler).await
    });
    (worker, ends)
}

pub(crate) fn canceled_waiting_job_never_runs() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        let ids = setup.queue.submit_all(&ctx, [1, 2]).await.expect("a server");
        let delayed = setup.queue.job(3).delay(Duration::from_millis(1)).submit(&ctx).await.expect("a server");
        for id in [ids[0], delayed] {
            assert_eq!(
                setup.queue.cancel(&ctx, id, "no longer needed").await.expect("a server"),
                CancelOutcome::Removed
            );
        }
        let again = setup.queue.cancel(&ctx, ids[0], "no longer needed").await.expect("a server");
        assert_eq!(again, CancelOutcome::Missing);
        let (worker, _ends) = start(&setup, &seen);
        seen.until_count(1).await;
        until_stats("one job is left", &setup.queue, |stats| stats.running == 1 && stats.waiting + stats.delayed == 0)
            .await;
        assert_eq!(seen.all(), [2]);
        assert_eq!(setup.queue.stats(&ctx).await.expect("a server").canceled, 2);
        worker.abort();
    });
}

pub(crate) fn canceled_running_job_ends_with_cause_and_canceler_and_is_not_retried() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        let id = setup.queue.submit(&ctx, 1).await.expect("a server");
        let (worker, mut ends) = start(&setup, &seen);
        seen.until_count(1).await;
        let start = std::time::Instant::now();
        let outcome = setup.queue.cancel(&ctx, id, "superseded").await.expect("a server");
        assert_eq!(outcome, CancelOutcome::Signaled);
        let (_, end) = ends.recv().await.expect("an end");
        assert!(start.elapsed() < Duration::from_secs(8), "sooner than a third of the lease: {:?}", start.elapsed());
        let cause = end.cause().expect("a cause").downcast_ref::<RemoteCancel>().expect("a canceled job").clone();
        assert_eq!((cause.cause(), cause.canceler()), ("superseded", "test"));
        assert!(cause.location().contains("queue_cancel.rs") && cause.id().ends_with(&id.to_string()), "{cause:?}");
        assert!(cause.to_string().starts_with("superseded (canceled by test at "), "{cause}");
        until_stats("the job is over", &setup.queue, |stats| stats.canceled == 1 && stats.running == 0).await;
        worker.drain().await;
        let stats = setup.queue.stats(&ctx).await.expect("a server");
        assert_eq!((stats.retried, stats.dead, stats.waiting, stats.delayed), (0, 0, 0, 0), "{stats:?}");
        assert_eq!(seen.all(), [1]);
    });
}

pub(crate) fn first_of_two_cancelers_wins() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        let id = setup.queue.submit(&ctx, 1).await.expect("a server");
        let (worker, mut ends) = start(&setup, &seen);
        seen.until_count(1).await;
        let other = crate::queue_setup::client(&setup.server.url());
        let other = ripcord_redis::Queue::<u64>::builder("numbers").client(&other).build().expect("valid settings");
        let (first, second) = tokio::join!(setup.queue.cancel(&ctx, id, "first"), other.cancel(&ctx, id, "second"));
        let marker = setup.server.command(&["HGET", &format!("ripcord:queue:{{numbers}}:job:{id}"), "cancel"]);
        let (_, end) = ends.recv().await.expect("an end");
        let cause = end.cause().expect("a cause").to_string();
        assert!(first.is_ok() && second.is_ok());
        // The marker is gone if the job is over already.
        assert!(marker.starts_with("$-1") || marker.contains(&cause[..5]), "{marker} {cause}");
        until_stats("the job is over", &setup.queue, |stats| stats.canceled == 1).await;
        worker.drain().await;
    });
}

pub(crate) fn cancel_that_is_not_heard_is_read_with_the_next_extension() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::with(Duration::from_secs(2)), Context::background(), Seen::default());
        let id = setup.queue.submit(&ctx, 1).await.expect("a server");
        let (worker, mut ends) = start(&setup, &seen);
        seen.until_count(1).await;
        // The server stores the cancel as if its message had been lost.
        let key = format!("ripcord:queue:{{numbers}}:job:{id}");
        let cancel = format!(
            r#"{{"kind":"cancel","id":"{key}","cause":"unheard","canceler":"other","location":"src/main.rs:1:1","token":"1"}}"#
        );
        setup.server.command(&["HSET", &key, "cancel", &cancel]);
        let (_, end) = ends.recv().await.expect("an end");
        assert_eq!(end.cause().expect("a cause").to_string(), "unheard (canceled by other at src/main.rs:1:1)");
        until_stats("the job is over", &setup.queue, |stats| stats.canceled == 1).await;
        worker.drain().await;
    });
}

pub(crate) fn cancel_survives_a_cut_connection() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        let (worker, mut ends) = start(&setup, &seen);
        for n in 0..10 {
            let id = setup.queue.submit(&ctx, n).await.expect("a server");
            seen.until_count(n + 1).await;
            // The connection is cut before the cancel. When it is open again, the worker reads the cancels that it has missed.
            setup.server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            until("the cancel is answered", || async { setup.queue.cancel(&ctx, id, "cut").await.is_ok() }).await;
            let (canceled, end) = ends.recv().await.expect("an end");
            assert_eq!(canceled, n);
            assert!(end.cause().expect("a cause").to_string().starts_with("cut"), "{end:#}");
        }
        until_stats("the jobs are over", &setup.queue, |stats| stats.canceled == 10).await;
        worker.drain().await;
    });
}

pub(crate) fn canceled_job_of_a_dead_worker_does_not_run_again() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::with(crate::queue_setup::SHORT), Context::background(), Seen::default());
        let id = setup.queue.submit(&ctx, 1).await.expect("a server");
        let mut process = crate::queue_process::start(&setup.server, "block", crate::queue_setup::SHORT);
        until_stats("the job runs", &setup.queue, |stats| stats.running == 1).await;
        until("the job has started", || async {
            setup.queue.list(&ctx, 1).await.expect("a server")[0].worker.is_some()
        })
        .await;
        process.signal("STOP");
        assert_eq!(setup.queue.cancel(&ctx, id, "gone").await.expect("a server"), CancelOutcome::Signaled);
        process.kill();
        let (worker, _ends) = start(&setup, &seen);
        until_stats("the job is over", &setup.queue, |stats| stats.canceled == 1 && stats.running == 0).await;
        worker.drain().await;
        assert_eq!(seen.count(), 0);
    });
}

pub(crate) fn dead_letter_is_not_canceled() {
    block_on(async {
        let (setup, ctx) = (Setup::new(), Context::background());
        let id = setup.queue.job(1).timeout(Duration::ZERO).submit(&ctx).await.expect("a server");
        let (worker, _ends) = start(&setup, &Seen::default());
        until_stats("the job is a dead letter", &setup.queue, |stats| stats.dead == 1).await;
        assert_eq!(setup.queue.cancel(&ctx, id, "late").await.expect("a server"), CancelOutcome::Dead);
        let none: JobId = "0".repeat(32).parse().expect("an id");
        assert_eq!(setup.queue.cancel(&ctx, none, "late").await.expect("a server"), CancelOutcome::Missing);
        worker.drain().await;
    });
}
