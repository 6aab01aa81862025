//! The queue: leases, and workers that die or are paused.

use std::time::Duration;

use ripcord::Context;
use ripcord_redis::{DeadReason, JobInfo, LeaseLost};

use crate::queue_process;
use crate::queue_setup::{Running, SHORT, Seen, Setup, block_on, until, until_stats};

type Never = std::convert::Infallible;

pub(crate) fn job_of_a_killed_worker_is_taken_over() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::with(SHORT), Context::background(), Seen::default());
        let mut process = queue_process::start(&setup.server, "block", SHORT);
        setup.queue.submit_all(&ctx, [1, 2, 3]).await.expect("a server");
        until("the process runs the jobs", || std::future::ready(process.numbers().len() == 3)).await;
        process.kill();
        let (queue, handled) = (setup.queue.clone(), seen.clone());
        let worker = Running::start(|ctx| async move {
            let handler = move |ctx: Context, n| {
                assert_eq!(JobInfo::get(&ctx).expect("a job").delivery, 2);
                handled.add(n);
                async { Ok::<_, Never>(()) }
            };
            queue.work(&ctx, handler).await
        });
        until_stats("the jobs are done", &setup.queue, |stats| stats.done == 3 && stats.taken_over == 3).await;
        let mut all = seen.all();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
        worker.drain().await;
    });
}

pub(crate) fn job_that_kills_its_workers_is_a_dead_letter() {
    block_on(async {
        let (setup, ctx) = (Setup::with(SHORT), Context::background());
        let id = setup.queue.submit(&ctx, 1).await.expect("a server");
        for _ in 0..3 {
            let mut process = queue_process::start(&setup.server, "die", SHORT);
            until("the process dies", || std::future::ready(process.has_ended())).await;
            assert_eq!(process.numbers(), [1]);
        }
        let process = queue_process::start(&setup.server, "die", SHORT);
        until_stats("the job is a dead letter", &setup.queue, |stats| stats.dead == 1).await;
        assert_eq!(process.numbers(), [] as [u64; 0]);
        let letters = setup.queue.dead_letters(&ctx, 10).await.expect("a server");
        assert_eq!((letters[0].id, letters[0].reason), (id, DeadReason::Deliveries));
        assert_eq!(letters[0].error, "3 workers have lost the job");
    });
}

/// Starts a worker whose handler sends the end of its context, and then waits until it is dropped.
fn watched(setup: &Setup) -> (Running, tokio::sync::mpsc::UnboundedReceiver<ripcord::Error>, Seen) {
    let (sender, ends) = tokio::sync::mpsc::unbounded_channel();
    let (queue, seen) = (setup.queue.clone(), Seen::default());
    let handled = seen.clone();
    let worker = Running::start(|ctx| async move {
        let handler = move |ctx: Context, n| {
            handled.add(n);
            let sender = sender.clone();
            async move {
                ctx.done().await;
                let _closed = sender.send(ctx.err().expect("an end"));
                std::future::pending::<Result<(), Never>>().await
            }
        };
        queue.worker().grace(Duration::from_millis(100)).run(&ctx, handler).await
    });
    (worker, ends, seen)
}

pub(crate) fn paused_server_ends_the_lease_with_a_cause_and_the_job_runs_again() {
    block_on(async {
        let (setup, ctx) = (Setup::impatient(SHORT), Context::background());
        setup.queue.submit(&ctx, 1).await.expect("a server");
        let (worker, mut ends, seen) = watched(&setup);
        seen.until_count(1).await;
        setup.server.pause();
        let end = ends.recv().await.expect("an end");
        let lost = end.cause().expect("a cause").downcast_ref::<LeaseLost>().copied();
        assert_eq!(lost, Some(LeaseLost::Expired(SHORT)));
        assert!(format!("{end:#}").contains("the lease of the job is lost"), "{end:#}");
        setup.server.resume();
        seen.until_count(2).await;
        until_stats("the loss is counted", &setup.queue, |stats| stats.lost_leases == 1).await;
        worker.abort();
    });
}

pub(crate) fn taken_over_job_ends_at_its_old_worker_with_a_cause() {
    block_on(async {
        let (setup, ctx) = (Setup::new(), Context::background());
        let id = setup.queue.submit(&ctx, 1).await.expect("a server");
        let (worker, mut ends, seen) = watched(&setup);
        seen.until_count(1).await;
        // These are the changes of a takeover. The connection is cut, so that the worker immediately reads them.
        setup.server.command(&["HINCRBY", &format!("ripcord:queue:{{numbers}}:job:{id}"), "version", "1"]);
        setup.server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        let end = ends.recv().await.expect("an end");
        let lost = end.cause().expect("a cause").downcast_ref::<LeaseLost>().copied();
        assert_eq!(lost, Some(LeaseLost::TakenOver));
        until_stats("the loss is counted", &setup.queue, |stats| stats.lost_leases == 1).await;
        // The old worker has not ended the run of the new one.
        let stats = setup.queue.stats(&ctx).await.expect("a server");
        assert_eq!((stats.running, stats.done, stats.waiting), (1, 0, 0), "{stats:?}");
        worker.abort();
    });
}

pub(crate) fn paused_worker_process_loses_its_job_to_another() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::with(SHORT), Context::background(), Seen::default());
        let process = queue_process::start(&setup.server, "block", SHORT);
        setup.queue.submit(&ctx, 1).await.expect("a server");
        until("the process runs the job", || std::future::ready(process.numbers() == [1])).await;
        process.signal("STOP");
        let (queue, handled) = (setup.queue.clone(), seen.clone());
        let worker = Running::start(|ctx| async move {
            let handler = move |_, n| {
                handled.add(n);
                async { Ok::<_, Never>(()) }
            };
            queue.work(&ctx, handler).await
        });
        until_stats("the job is done", &setup.queue, |stats| stats.done == 1 && stats.taken_over == 1).await;
        process.signal("CONT");
        until_stats("the process sees its loss", &setup.queue, |stats| stats.lost_leases == 1).await;
        assert_eq!(setup.queue.stats(&ctx).await.expect("a server").done, 1);
        worker.drain().await;
    });
}

pub(crate) fn handler_that_blocks_its_thread_keeps_its_lease() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::with(SHORT), Context::background(), Seen::default());
        setup.queue.submit(&ctx, 1).await.expect("a server");
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = std::sync::Arc::new(std::sync::Mutex::new(blocked));
        let (queue, handled) = (setup.queue.clone(), seen.clone());
        let worker = Running::start(|ctx| async move {
            let handler = move |_, n| {
                handled.add(n);
                let blocked = blocked.clone();
                async move {
                    let _released = blocked.lock().expect("no panic").recv();
                    Ok::<_, Never>(())
                }
            };
            queue.worker().concurrency(2).run(&ctx, handler).await
        });
        seen.until_count(1).await;
        let (other, start) = (Seen::default(), std::time::Instant::now());
        let (queue, handled) = (setup.queue.clone(), other.clone());
        let second = Running::start(|ctx| async move {
            let handler = move |_, n| {
                handled.add(n);
                async { Ok::<_, Never>(()) }
            };
            queue.work(&ctx, handler).await
        });
        until("three leases pass", || std::future::ready(start.elapsed() > SHORT * 3)).await;
        assert_eq!(other.count(), 0, "the job was taken over");
        release.send(()).expect("a receiver");
        until_stats("the job is done", &setup.queue, |stats| stats.done == 1).await;
        assert_eq!(setup.queue.stats(&ctx).await.expect("a server").lost_leases, 0);
        worker.drain().await;
        second.drain().await;
    });
}
