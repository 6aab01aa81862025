//! The queue: workers and runtimes that are dropped, code of the user that panics, and keys that are deleted or overwritten.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::Retry;
use ripcord_redis::{CancelOutcome, Client, DeadLetter, DeadReason, JobId, Queue};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::Semaphore;

use crate::proxy::Proxy;
use crate::queue_setup::{Numbers, Running, SHORT, Seen, Setup, block_on, counting, until, until_stats};
use crate::server::{PATIENCE, Server};

type Never = std::convert::Infallible;

/// Returns a client that loses no connection because this machine is busy.
fn client(url: &str) -> Client {
    let builder = Client::builder().url(url).timeout(PATIENCE).retry_every(Duration::from_millis(50));
    builder.build().expect("valid settings")
}

fn setup(lease: Duration) -> Setup {
    let server = Server::start();
    let client = client(&server.url());
    let queue = Queue::builder("numbers").client(&client).lease(lease).build().expect("valid settings");
    Setup { queue, client, server }
}

pub(crate) fn dropped_worker_disconnects_its_client() {
    block_on(async {
        let (Setup { queue, client, server }, seen) = (setup(Duration::from_secs(30)), Seen::default());
        queue.submit(&Context::background(), 1).await.expect("a server");
        let worker = counting(&queue, &seen, 1);
        seen.until_count(1).await;
        worker.abort();
        drop((queue, client));
        // The connection that lists the clients is one of them.
        let count = || server.command(&["CLIENT", "LIST"]).matches("id=").count();
        until("only the test is connected", || std::future::ready(count() == 1)).await;
    });
}

pub(crate) fn jobs_of_a_dropped_runtime_wait_again() {
    let (setup, seen) = (setup(SHORT), Seen::default());
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let (queue, handled) = (setup.queue.clone(), seen.clone());
    runtime.block_on(setup.queue.submit(&Context::background(), 1)).expect("a server");
    runtime.spawn(async move {
        let handler = move |_, n| {
            handled.add(n);
            std::future::pending::<Result<(), Never>>()
        };
        queue.work(&Context::background(), handler).await
    });
    runtime.block_on(seen.until_count(1));
    runtime.shutdown_background();
    block_on(until_stats("the job waits again", &setup.queue, |stats| stats.waiting == 1 && stats.running == 0));
}

/// A job that panics while it is read.
#[derive(Serialize)]
struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("no job")
    }
}

pub(crate) fn panic_while_a_job_is_read_makes_a_dead_letter() {
    block_on(async {
        let (setup, ctx) = (setup(Duration::from_secs(30)), Context::background());
        let queue = Queue::<Unreadable>::builder("numbers").client(&setup.client).build().expect("valid settings");
        queue.submit(&ctx, Unreadable).await.expect("a server");
        let worker = Running::start(|ctx| async move { queue.work(&ctx, |_, _| async { Ok::<_, Never>(()) }).await });
        let letter = until_dead(&setup).await;
        assert_eq!((letter.reason, letter.error.as_str()), (DeadReason::Malformed, "panicked: no job"));
        worker.drain().await;
    });
}

/// An error that cannot be printed.
struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no text")
    }
}

pub(crate) fn panic_while_an_error_is_printed_makes_a_dead_letter() {
    block_on(async {
        let (setup, ctx) = (setup(Duration::from_secs(30)), Context::background());
        setup.queue.submit(&ctx, 1).await.expect("a server");
        let queue = setup.queue.clone();
        let worker = Running::start(|ctx| async move { queue.work(&ctx, |_, _| async { Err(Unprintable) }).await });
        let letter = until_dead(&setup).await;
        assert_eq!((letter.reason, letter.error.as_str()), (DeadReason::Failed, "panicked: no text"));
        worker.drain().await;
    });
}

pub(crate) fn panic_of_a_retry_makes_a_dead_letter() {
    block_on(async {
        let (setup, ctx) = (setup(Duration::from_secs(30)), Context::background());
        setup.queue.submit(&ctx, 1).await.expect("a server");
        let queue = setup.queue.clone();
        let retry = Retry::builder().retry_if(|_: &&str| panic!("no decision")).build().expect("valid settings");
        let worker = Running::start(|ctx| async move {
            queue.worker().retry(retry).run(&ctx, |_, _| async { Err("an error") }).await
        });
        let letter = until_dead(&setup).await;
        assert_eq!((letter.reason, letter.error.as_str()), (DeadReason::Failed, "panicked: no decision"));
        worker.drain().await;
    });
}

/// Waits until there is a dead letter, and returns it.
async fn until_dead(setup: &Setup) -> DeadLetter {
    until_stats("the job is a dead letter", &setup.queue, |stats| stats.dead == 1 && stats.running == 0).await;
    setup.queue.dead_letters(&Context::background(), 1).await.expect("a server").remove(0)
}

pub(crate) fn queue_deleted_before_a_job_starts_runs_later_jobs() {
    block_on(async {
        let (server, seen) = (Arc::new(Server::start()), Seen::default());
        let proxy = Proxy::start(server.port);
        let client = client(&proxy.url());
        let queue = Queue::<u64>::builder("numbers").client(&client).build().expect("valid settings");
        // The script that starts jobs is loaded after the first read.
        let deleting = Arc::clone(&server);
        proxy.cut_at("local started, taken_over", move || drop(deleting.command(&["FLUSHALL"])));
        let worker = counting(&queue, &seen, 1);
        queue.submit(&Context::background(), 1).await.expect("a server");
        until("the queue is deleted", || std::future::ready(proxy.is_cut())).await;
        until("the next job is submitted", || async { queue.submit(&Context::background(), 2).await.is_ok() }).await;
        seen.until_count(1).await;
        assert_eq!(seen.all(), [2]);
        worker.drain().await;
    });
}

pub(crate) fn overwritten_job_holds_up_no_other_job() {
    block_on(async {
        let (setup, ctx, seen) = (setup(SHORT), Context::background(), Seen::default());
        let overwrite = |id: JobId| setup.server.command(&["SET", &format!("ripcord:queue:{{numbers}}:job:{id}"), "x"]);
        let waiting = setup.queue.submit(&ctx, 1).await.expect("a server");
        overwrite(waiting);
        assert_eq!(setup.queue.cancel(&ctx, waiting, "x").await.expect("a server"), CancelOutcome::Missing);
        let running = setup.queue.submit(&ctx, 2).await.expect("a server");
        setup.queue.submit(&ctx, 3).await.expect("a server");
        assert_eq!(setup.queue.list(&ctx, 10).await.expect("a server").len(), 2);
        let (queue, handled, free) = (setup.queue.clone(), seen.clone(), Arc::new(Semaphore::new(0)));
        let held = Arc::clone(&free);
        let worker = Running::start(|ctx| async move {
            let handler = move |_, n| {
                handled.add(n);
                let held = Arc::clone(&held);
                async move {
                    let _free = held.acquire().await.expect("not closed");
                    Ok::<_, Never>(())
                }
            };
            queue.worker().concurrency(2).run(&ctx, handler).await
        });
        seen.until_count(2).await;
        overwrite(running);
        free.add_permits(2);
        until_stats("the other job is done", &setup.queue, |stats| stats.done == 1).await;
        until_stats("no overwritten job is left", &setup.queue, |stats| stats.waiting + stats.running == 0).await;
        worker.drain().await;
    });
}

/// Submits a job. The first attempt may meet a connection that is lost.
async fn until_submitted(queue: &Numbers, number: u64) {
    let ctx = Context::background();
    let submit = || async { queue.submit_with_key(&ctx, number.to_string(), number).await.is_ok() };
    until("the job is submitted", submit).await;
}

pub(crate) fn longest_times_and_highest_concurrency_of_a_queue_are_accepted() {
    block_on(async {
        let (setup, ctx) = (setup(Duration::from_secs(30)), Context::background());
        let queue = Queue::<u64>::builder("numbers").client(&setup.client);
        let queue = queue.lease(Duration::MAX).keep_keys(Duration::MAX).build().expect("valid settings");
        queue.submit_with_key(&ctx, "key", 1).await.expect("a server");
        let id = queue.job(2).delay(Duration::MAX).timeout(Duration::MAX).submit(&ctx).await.expect("a server");
        let listed = queue.list(&ctx, 2).await.expect("a server");
        let delayed = listed.iter().find(|job| job.id == id).expect("it is listed");
        assert_eq!(delayed.remaining, None, "this timeout sets no deadline");
        let worker = Running::start(|ctx| async move {
            let handler = |_, _| async { Ok::<_, Never>(()) };
            queue.worker().concurrency(usize::MAX).run(&ctx, handler).await
        });
        until_stats("the job is done", &setup.queue, |stats| stats.done == 1 && stats.delayed == 1).await;
        // After the loss of its connection, the worker asks for all jobs that it may hold.
        setup.server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        until_submitted(&setup.queue, 3).await;
        until_stats("the next job is done", &setup.queue, |stats| stats.done == 2).await;
        worker.drain().await;
    });
}
