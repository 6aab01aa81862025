//! The queue: submitting, running, retrying and draining.

use std::time::Duration;

use ripcord::Context;
use ripcord_http::RequestId;
use ripcord_http::trace_context::Traceparent;
use ripcord_policy::Retry;
use ripcord_redis::{DeadReason, JobId, JobInfo, JobState, Queue};
use tokio::sync::Notify;

use crate::queue_setup::{Running, Seen, Setup, block_on, counting, until, until_stats};

type Never = std::convert::Infallible;

pub(crate) fn submitted_job_runs_and_is_deleted() {
    block_on(async {
        let (setup, seen) = (Setup::new(), Seen::default());
        let ctx = Context::background();
        let submitted = setup.queue.submit(&ctx, 7).await.expect("a server");
        let (handled, ids) = (seen.clone(), std::sync::Arc::new(std::sync::Mutex::new(Vec::<JobId>::new())));
        let (queue, kept) = (setup.queue.clone(), ids.clone());
        let worker = Running::start(|ctx| async move {
            let handler = move |ctx: Context, n: u64| {
                handled.add(n);
                kept.lock().expect("no panic").push(JobInfo::get(&ctx).expect("a job").id);
                async { Ok::<_, Never>(()) }
            };
            queue.work(&ctx, handler).await
        });
        until_stats("the job is done", &setup.queue, |stats| stats.done == 1).await;
        assert_eq!(seen.all(), [7]);
        assert_eq!(*ids.lock().expect("no panic"), [submitted]);
        let left = setup.server.command(&["KEYS", "*:job:*"]);
        assert_eq!(left, "*0\r\n", "the job is deleted");
        assert_eq!(setup.server.command(&["XLEN", "ripcord:queue:{numbers}:jobs"]), ":0\r\n");
        worker.drain().await;
        let workers = setup.server.command(&["XINFO", "CONSUMERS", "ripcord:queue:{numbers}:jobs", "workers"]);
        assert_eq!(workers, "*0\r\n", "the worker is forgotten");
    });
}

pub(crate) fn job_has_the_deadline_and_the_trace_of_its_submitter() {
    block_on(async {
        let setup = Setup::new();
        let (theirs, id) = (Traceparent::start(true), RequestId::generate());
        let ctx = Context::background().with_value(theirs).with_value(id.clone());
        let ctx = ctx.with_timeout(Duration::from_secs(50));
        setup.queue.submit(&ctx, 1).await.expect("a server");
        setup.queue.job(2).timeout(Duration::from_secs(500)).submit(&ctx).await.expect("a server");
        setup.queue.job(3).no_deadline().submit(&ctx).await.expect("a server");
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let queue = setup.queue.clone();
        let worker = Running::start(|ctx| async move {
            let handler = move |ctx: Context, n: u64| {
                let trace = ctx.value::<Traceparent>().copied();
                let id = ctx.value::<RequestId>().cloned();
                sender.send((n, ctx.remaining(), trace, id)).expect("a receiver");
                async { Ok::<_, Never>(()) }
            };
            queue.work(&ctx, handler).await
        });
        for (n, low, high) in [(1, Some(30), Some(50)), (2, Some(450), Some(500)), (3, None, None)] {
            let (job, left, trace, request) = receiver.recv().await.expect("a job");
            assert_eq!(job, n);
            let trace = trace.expect("a trace");
            assert_eq!(trace.trace_id(), theirs.trace_id());
            assert_ne!(trace.parent_id(), theirs.parent_id());
            assert_eq!(request, Some(id.clone()));
            assert!(left >= low.map(Duration::from_secs) && left <= high.map(Duration::from_secs), "{left:?}");
        }
        worker.drain().await;
    });
}

pub(crate) fn same_key_adds_no_second_job_even_after_the_first_is_done() {
    block_on(async {
        let (setup, ctx) = (Setup::new(), Context::background());
        let first = setup.queue.submit_with_key(&ctx, "order 1", 1).await.expect("a server");
        let again = setup.queue.submit_with_key(&ctx, "order 1", 1).await.expect("a server");
        let other = setup.queue.submit_with_key(&ctx, "order 2", 2).await.expect("a server");
        assert_eq!(first, again);
        assert_ne!(first, other);
        let seen = Seen::default();
        let worker = counting(&setup.queue, &seen, 1);
        until_stats("both are done", &setup.queue, |stats| stats.done == 2).await;
        let later = setup.queue.submit_with_key(&ctx, "order 1", 1).await.expect("a server");
        assert_eq!(first, later);
        worker.drain().await;
        assert_eq!(seen.all(), [1, 2]);
        assert_eq!(setup.queue.stats(&ctx).await.expect("a server").submitted, 2);
    });
}

pub(crate) fn key_is_forgotten_after_its_time() {
    block_on(async {
        let (setup, ctx) = (Setup::new(), Context::background());
        let queue = Queue::<u64>::builder("short").client(&setup.client).keep_keys(Duration::from_millis(50));
        let queue = queue.build().expect("valid settings");
        let first = queue.submit_with_key(&ctx, "k", 1).await.expect("a server");
        until("the key is forgotten", || async {
            queue.submit_with_key(&Context::background(), "k", 1).await.expect("a server") != first
        })
        .await;
    });
}

pub(crate) fn slow_handler_holds_up_no_other_job() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        setup.queue.submit_all(&ctx, 0..500).await.expect("a server");
        let (queue, handled) = (setup.queue.clone(), seen.clone());
        let release = std::sync::Arc::new(Notify::new());
        let blocked = release.clone();
        let worker = Running::start(|ctx| async move {
            let handler = move |_, n| {
                let (handled, blocked) = (handled.clone(), blocked.clone());
                async move {
                    if n == 0 {
                        blocked.notified().await;
                    }
                    handled.add(n);
                    Ok::<_, Never>(())
                }
            };
            queue.worker().concurrency(2).run(&ctx, handler).await
        });
        until_stats("the others are done", &setup.queue, |stats| stats.done == 499).await;
        assert!(!seen.all().contains(&0));
        release.notify_one();
        until_stats("all are done", &setup.queue, |stats| stats.done == 500).await;
        worker.drain().await;
    });
}

pub(crate) fn draining_worker_finishes_running_jobs_and_takes_no_new_ones() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        setup.queue.submit(&ctx, 1).await.expect("a server");
        let (queue, handled) = (setup.queue.clone(), seen.clone());
        let release = std::sync::Arc::new(Notify::new());
        let blocked = release.clone();
        let worker = Running::start(|ctx| async move {
            let handler = move |_, n| {
                handled.add(n);
                let blocked = blocked.clone();
                async move {
                    blocked.notified().await;
                    Ok::<_, Never>(())
                }
            };
            queue.worker().concurrency(4).run(&ctx, handler).await
        });
        seen.until_count(1).await;
        worker.shutdown.begin("deployment");
        // A read that had started may still bring jobs, which are returned.
        setup.queue.submit_all(&ctx, [2, 3]).await.expect("a server");
        until_stats("the new jobs wait", &setup.queue, |stats| stats.waiting == 2 && stats.running == 1).await;
        release.notify_one();
        worker.drain().await;
        assert_eq!(seen.all(), [1]);
        let stats = setup.queue.stats(&ctx).await.expect("a server");
        assert_eq!((stats.done, stats.waiting, stats.running), (1, 2, 0), "{stats:?}");
    });
}

pub(crate) fn shutdown_waits_for_the_worker() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        setup.queue.submit(&ctx, 1).await.expect("a server");
        let (queue, handled) = (setup.queue.clone(), seen.clone());
        let worker = Running::start(|ctx| async move {
            let handler = move |ctx: Context, n| {
                handled.add(n);
                async move {
                    ctx.draining().await;
                    tokio::task::yield_now().await;
                    Ok::<_, Never>(())
                }
            };
            queue.work(&ctx, handler).await
        });
        seen.until_count(1).await;
        worker.shutdown.begin("deployment");
        let report = worker.shutdown.run().await;
        assert!(report.left().is_empty() && report.canceled().is_empty(), "{report}");
        let stats = setup.queue.stats(&ctx).await.expect("a server");
        assert_eq!((stats.done, stats.running), (1, 0), "{stats:?}");
    });
}

pub(crate) fn ended_worker_returns_its_jobs_at_once() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        setup.queue.submit_all(&ctx, [1, 2]).await.expect("a server");
        let (worker_ctx, cancel) = ctx.with_cancel();
        let handled = seen.clone();
        let handler = move |_, n| {
            handled.add(n);
            std::future::pending::<Result<(), Never>>()
        };
        let run = setup.queue.worker().concurrency(2).run(&worker_ctx, handler);
        let worker = tokio::spawn(run);
        seen.until_count(2).await;
        cancel.cancel_with("the drain time is over");
        let error = worker.await.expect("no panic").unwrap_err();
        assert!(error.context_error().is_some_and(ripcord::Error::is_canceled), "{error:#}");
        let stats = setup.queue.stats(&ctx).await.expect("a server");
        assert_eq!((stats.waiting, stats.running, stats.done), (2, 0, 0), "{stats:?}");
    });
}

pub(crate) fn dropped_worker_returns_its_jobs() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        setup.queue.submit(&ctx, 1).await.expect("a server");
        let (queue, handled) = (setup.queue.clone(), seen.clone());
        let worker = Running::start(|ctx| async move {
            let handler = move |_, n| {
                handled.add(n);
                std::future::pending::<Result<(), Never>>()
            };
            queue.work(&ctx, handler).await
        });
        seen.until_count(1).await;
        worker.abort();
        until_stats("the job waits again", &setup.queue, |stats| stats.waiting == 1 && stats.running == 0).await;
    });
}

pub(crate) fn failed_job_is_retried_as_the_retry_says_and_then_is_a_dead_letter() {
    block_on(async {
        let (setup, ctx) = (Setup::new(), Context::background());
        let id = setup.queue.submit(&ctx, 1).await.expect("a server");
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let queue = setup.queue.clone();
        let retry = Retry::constant(Duration::from_millis(30)).max_attempts(3).build().expect("valid settings");
        let worker = Running::start(|ctx| async move {
            let handler = move |ctx: Context, _| {
                let attempt = JobInfo::get(&ctx).expect("a job").attempt;
                sender.send((attempt, std::time::Instant::now())).expect("a receiver");
                async move { Err::<(), _>(format!("failure {attempt}")) }
            };
            queue.worker().retry(retry).run(&ctx, handler).await
        });
        let mut last = None;
        for n in 0..3 {
            let (attempt, at) = receiver.recv().await.expect("an attempt");
            assert_eq!(attempt, n);
            if let Some(last) = last.replace(at) {
                assert!(at - last >= Duration::from_millis(29), "{:?}", at - last);
            }
        }
        until_stats("the job is a dead letter", &setup.queue, |stats| stats.dead == 1).await;
        let letters = setup.queue.dead_letters(&ctx, 10).await.expect("a server");
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!((letter.id, letter.reason, letter.attempts), (id, DeadReason::Failed, 3));
        assert_eq!(letter.error, "all 3 attempts failed, last error: failure 2");
        assert_eq!(letter.json, "1");
        let stats = setup.queue.stats(&ctx).await.expect("a server");
        assert_eq!((stats.retried, stats.buried, stats.delayed), (2, 1, 0), "{stats:?}");
        // A dead letter that is sent again has all its attempts again.
        assert_eq!(setup.queue.resend(&ctx, &[id]).await.expect("a server"), 1);
        assert_eq!(receiver.recv().await.expect("an attempt").0, 0);
        until_stats("the job is a dead letter again", &setup.queue, |stats| stats.dead == 1).await;
        worker.drain().await;
        assert_eq!(setup.queue.delete(&ctx, &[id]).await.expect("a server"), 1);
        assert_eq!(setup.queue.stats(&ctx).await.expect("a server").dead, 0);
        assert_eq!(setup.server.command(&["KEYS", "*:job:*"]), "*0\r\n");
    });
}

pub(crate) fn panic_of_a_handler_is_a_failure_with_its_message() {
    block_on(async {
        let (setup, ctx) = (Setup::new(), Context::background());
        setup.queue.submit_all(&ctx, [0, 1]).await.expect("a server");
        let queue = setup.queue.clone();
        let worker = Running::start(|ctx| async move {
            let handler = |_, n: u64| async move {
                let _ = 10_u64.checked_div(n).expect("a divisor above zero");
                Ok::<_, Never>(())
            };
            queue.work(&ctx, handler).await
        });
        until_stats("both are over", &setup.queue, |stats| stats.dead == 1 && stats.done == 1).await;
        let letters = setup.queue.dead_letters(&ctx, 10).await.expect("a server");
        assert_eq!(letters[0].error, "panicked: a divisor above zero");
        worker.drain().await;
    });
}

pub(crate) fn job_whose_deadline_has_passed_does_not_start() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        let id = setup.queue.job(1).timeout(Duration::ZERO).submit(&ctx).await.expect("a server");
        setup.queue.submit(&ctx, 2).await.expect("a server");
        let worker = counting(&setup.queue, &seen, 1);
        until_stats("both are over", &setup.queue, |stats| stats.dead == 1 && stats.done == 1).await;
        assert_eq!(seen.all(), [2]);
        let letters = setup.queue.dead_letters(&ctx, 10).await.expect("a server");
        assert_eq!((letters[0].id, letters[0].reason), (id, DeadReason::Deadline));
        assert_eq!(letters[0].error, "the deadline has passed before the job started");
        worker.drain().await;
    });
}

pub(crate) fn job_is_dropped_at_its_deadline_and_not_retried() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        let (queue, handled) = (setup.queue.clone(), seen.clone());
        let worker = Running::start(|ctx| async move {
            let handler = move |_, n| {
                handled.add(n);
                std::future::pending::<Result<(), String>>()
            };
            queue.worker().retry(Retry::builder().build().expect("valid")).run(&ctx, handler).await
        });
        setup.queue.job(1).timeout(Duration::from_secs(3)).submit(&ctx).await.expect("a server");
        until_stats("the job is a dead letter", &setup.queue, |stats| stats.dead == 1).await;
        let letters = setup.queue.dead_letters(&ctx, 10).await.expect("a server");
        assert_eq!(letters[0].reason, DeadReason::Deadline);
        assert!(letters[0].error.starts_with("context deadline exceeded"), "{}", letters[0].error);
        assert_eq!(seen.all(), [1]);
        worker.drain().await;
    });
}

pub(crate) fn retry_that_would_start_after_the_deadline_is_not_made() {
    block_on(async {
        let (setup, ctx) = (Setup::new(), Context::background());
        setup.queue.job(1).timeout(Duration::from_secs(30)).submit(&ctx).await.expect("a server");
        let queue = setup.queue.clone();
        let worker = Running::start(|ctx| async move {
            let retry = Retry::constant(Duration::from_secs(60)).build().expect("valid settings");
            let handler = |_, _| async { Err::<(), _>("no route") };
            queue.worker().retry(retry).run(&ctx, handler).await
        });
        until_stats("the job is a dead letter", &setup.queue, |stats| stats.dead == 1).await;
        let letters = setup.queue.dead_letters(&ctx, 10).await.expect("a server");
        assert!(letters[0].error.contains("no route"), "{}", letters[0].error);
        assert_eq!(letters[0].attempts, 1);
        worker.drain().await;
    });
}

pub(crate) fn job_of_another_form_is_a_dead_letter() {
    block_on(async {
        let (setup, ctx) = (Setup::new(), Context::background());
        let texts = Queue::<String>::builder("numbers").client(&setup.client).build().expect("valid settings");
        texts.submit(&ctx, "seven".to_owned()).await.expect("a server");
        let queue = setup.queue.clone();
        let worker = Running::start(|ctx| async move { queue.work(&ctx, |_, _| async { Ok::<_, Never>(()) }).await });
        until_stats("the job is a dead letter", &setup.queue, |stats| stats.dead == 1).await;
        let letters = setup.queue.dead_letters(&ctx, 10).await.expect("a server");
        assert_eq!(letters[0].reason, DeadReason::Malformed);
        worker.drain().await;
    });
}

pub(crate) fn delayed_job_starts_after_its_delay() {
    block_on(async {
        let (setup, ctx, seen) = (Setup::new(), Context::background(), Seen::default());
        let start = std::time::Instant::now();
        setup.queue.job(1).delay(Duration::from_millis(300)).submit(&ctx).await.expect("a server");
        let listed = setup.queue.list(&ctx, 10).await.expect("a server");
        assert_eq!((listed.len(), listed[0].state), (1, JobState::Delayed));
        let worker = counting(&setup.queue, &seen, 1);
        seen.until_count(1).await;
        assert!(start.elapsed() >= Duration::from_millis(299), "{:?}", start.elapsed());
        worker.drain().await;
    });
}

pub(crate) fn jobs_and_dead_letters_are_listed_resent_and_deleted() {
    block_on(async {
        let (setup, ctx) = (Setup::new(), Context::background());
        let ids = setup.queue.submit_all(&ctx, 0..450).await.expect("a server");
        let listed = setup.queue.list(&ctx, 1000).await.expect("a server");
        assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
        assert!(listed.iter().all(|job| job.state == JobState::Waiting && job.remaining.is_none()));
        assert_eq!(setup.queue.list(&ctx, 3).await.expect("a server").len(), 3);
        let queue = setup.queue.clone();
        let worker = Running::start(|ctx| async move {
            queue.worker().concurrency(50).run(&ctx, |_, _| async { Err::<(), _>("broken") }).await
        });
        until_stats("all are dead letters", &setup.queue, |stats| stats.dead == 450).await;
        worker.drain().await;
        assert_eq!(setup.queue.delete(&ctx, &ids[..200]).await.expect("a server"), 200);
        assert_eq!(setup.queue.resend(&ctx, &ids[..201]).await.expect("a server"), 1);
        assert_eq!(setup.queue.resend_all(&ctx).await.expect("a server"), 249);
        let stats = setup.queue.stats(&ctx).await.expect("a server");
        assert_eq!((stats.waiting, stats.dead, stats.resent, stats.buried), (250, 0, 250, 450), "{stats:?}");
        assert_eq!(setup.queue.delete_all(&ctx).await.expect("a server"), 0);
    });
}

pub(crate) fn statistics_are_reported_as_metrics() {
    block_on(async {
        let (setup, ctx) = (Setup::new(), Context::background());
        setup.queue.submit_all(&ctx, [1, 2]).await.expect("a server");
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let stats = setup.queue.stats(&ctx).await.expect("a server");
        metrics::with_local_recorder(&recorder, || stats.record_metrics("numbers"));
        let text = recorder.handle().render();
        assert!(text.contains(r#"ripcord_redis_queue_jobs{queue="numbers",state="waiting"} 2"#), "{text}");
        assert!(text.contains(r#"ripcord_redis_queue_events_total{queue="numbers",event="submitted"} 2"#), "{text}");
    });
}

pub(crate) fn invalid_setting_of_a_queue_is_named() {
    let client = crate::queue_setup::client("redis://127.0.0.1:1");
    let field = |error: ripcord_redis::Error| error.config_error().expect("a setting").field().to_owned();
    assert_eq!(field(Queue::<u64>::builder("a").build().unwrap_err()), "client");
    assert_eq!(field(Queue::<u64>::builder("").client(&client).build().unwrap_err()), "name");
    assert_eq!(field(Queue::<u64>::builder("{a}").client(&client).build().unwrap_err()), "name");
    let queue = || Queue::<u64>::builder("a").client(&client);
    assert_eq!(field(queue().lease(Duration::from_millis(99)).build().unwrap_err()), "lease");
    assert_eq!(field(queue().max_deliveries(0).build().unwrap_err()), "max_deliveries");
    assert_eq!(field(queue().keep_keys(Duration::ZERO).build().unwrap_err()), "keep_keys");
    let queue = queue().build().expect("valid settings");
    let none = queue.worker().concurrency(0).run(&Context::background(), |_, _| async { Ok::<_, Never>(()) });
    assert_eq!(field(block_on(none).unwrap_err()), "concurrency");
}
