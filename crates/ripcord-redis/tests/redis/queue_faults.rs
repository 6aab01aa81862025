//! The queue: servers that are killed, paused and replaced, workers that are killed, and clocks that differ.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ripcord::{Clock, Context};
use ripcord_policy::{Random, Retry};
use ripcord_redis::{CancelOutcome, Client, Queue};

use crate::cluster::Cluster;
use crate::queue_process;
use crate::queue_setup::{Numbers, Running, SHORT, Seen, Setup, block_on, counting, until, until_stats};
use crate::sentinel::Watched;
use crate::server::patient;

type Never = std::convert::Infallible;

/// The lease of the tests with many faults: longer than an outage.
const LEASE: Duration = Duration::from_secs(2);

/// Submits jobs with their numbers as keys, each until Redis has answered.
async fn submit_at_last(queue: &Numbers, numbers: std::ops::Range<u64>) -> Vec<ripcord_redis::JobId> {
    submit_and_count(queue, numbers, &AtomicU64::new(0)).await
}

/// Does the same as [`submit_at_last`], and counts the answers.
async fn submit_and_count(
    queue: &Numbers,
    numbers: std::ops::Range<u64>,
    answers: &AtomicU64,
) -> Vec<ripcord_redis::JobId> {
    let mut ids = Vec::new();
    for n in numbers {
        loop {
            match queue.submit_with_key(&Context::background(), n.to_string(), n).await {
                Ok(id) => break ids.push(id),
                Err(error) => assert!(error.is_unavailable(), "{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        answers.fetch_add(1, Ordering::SeqCst);
    }
    ids
}

/// Returns the number of answers after which something is killed next. With a time instead, a slow machine would do nothing between
/// two kills.
fn next_kill(random: &Random, answers: &AtomicU64) -> u64 {
    answers.load(Ordering::SeqCst) + 20 + random.next_u64() % 150
}

/// Waits until no job is left, and asserts that none is a dead letter.
async fn until_empty(queue: &Numbers) {
    until_stats("no job is left", queue, |stats| stats.waiting + stats.running + stats.delayed == 0).await;
    let stats = queue.stats(&Context::background()).await.expect("a server");
    assert_eq!(stats.dead, 0, "{stats:?}");
}

pub(crate) fn server_killed_in_the_middle_of_every_operation_loses_no_job() {
    block_on(async {
        const JOBS: u64 = 1500;
        let Setup { queue, client: _client, mut server } = Setup::persistent(LEASE);
        let seen = Seen::default();
        let handled = seen.clone();
        let running = queue.clone();
        // Every seventh job fails at first.
        let worker = Running::start(|ctx| async move {
            let retry = Retry::constant(Duration::from_millis(5)).max_attempts(1000).build().expect("valid settings");
            let handler = move |ctx: Context, n: u64| {
                let attempt = ripcord_redis::JobInfo::get(&ctx).expect("a job").attempt;
                let fails = n.is_multiple_of(7) && attempt == 0;
                if !fails {
                    handled.add(n);
                }
                async move { if fails { Err("at first") } else { Ok(()) } }
            };
            running.worker().concurrency(8).retry(retry).run(&ctx, handler).await
        });
        let (is_over, kills) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let answers = Arc::new(AtomicU64::new(0));
        let (stop, killed, counted) = (is_over.clone(), kills.clone(), answers.clone());
        let killer = std::thread::spawn(move || {
            let random = Random::seeded(15);
            while !stop.load(Ordering::SeqCst) {
                let next = next_kill(&random, &counted);
                while counted.load(Ordering::SeqCst) < next && !stop.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                server.kill();
                server.restart();
                killed.fetch_add(1, Ordering::SeqCst);
            }
            server
        });
        let ids = submit_and_count(&queue, 0..JOBS, &answers).await;
        // Some of the later jobs are canceled, if they are not over yet.
        let more = submit_and_count(&queue, JOBS..JOBS + 200, &answers).await;
        let mut canceled = HashSet::new();
        for (n, id) in more.iter().enumerate().filter(|(n, _)| n % 2 == 0) {
            let outcome = loop {
                match queue.cancel(&Context::background(), *id, "no longer needed").await {
                    Ok(outcome) => break outcome,
                    Err(error) => assert!(error.is_unavailable(), "{error:#}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            // If the first answer was lost, the job is missing at the second.
            if outcome != CancelOutcome::Dead {
                canceled.insert(JOBS + n as u64);
            }
        }
        until("many jobs are done", || std::future::ready(seen.count() >= JOBS / 2)).await;
        is_over.store(true, Ordering::SeqCst);
        let server = tokio::task::spawn_blocking(|| killer.join().expect("no panic")).await.expect("no panic");
        until_empty(&queue).await;
        worker.drain().await;
        let kills = kills.load(Ordering::SeqCst);
        assert!(kills >= 8, "{kills} kills");
        let all: HashSet<u64> = seen.all().into_iter().collect();
        let lost: Vec<u64> = (0..JOBS + 200).filter(|n| !all.contains(n) && !canceled.contains(n)).collect();
        assert!(lost.is_empty(), "after {kills} kills: {lost:?}");
        assert_eq!(ids.iter().chain(&more).collect::<HashSet<_>>().len() as u64, JOBS + 200);
        assert_eq!(server.command(&["KEYS", "*:job:*"]), "*0\r\n");
    });
}

pub(crate) fn workers_and_server_killed_at_random_lose_no_job() {
    block_on(async {
        const JOBS: u64 = 3000;
        let Setup { queue, client: _client, mut server } = Setup::persistent(LEASE);
        let random = Random::seeded(16);
        let mut numbers = HashSet::new();
        let start = |server: &crate::server::Server| queue_process::start(server, "count", LEASE);
        let mut workers: Vec<_> = (0..3).map(|_| start(&server)).collect();
        let submitting = queue.clone();
        let answers = Arc::new(AtomicU64::new(0));
        let counted = answers.clone();
        let submitted = tokio::spawn(async move { submit_and_count(&submitting, 0..JOBS, &counted).await });
        // The jobs are done during the kills, and the rest after them.
        let mut kills = 0;
        while !submitted.is_finished() {
            let next = next_kill(&random, &answers);
            while answers.load(Ordering::SeqCst) < next && !submitted.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let victim = usize::try_from(random.next_u64() % 4).expect("small");
            match workers.get_mut(victim) {
                Some(worker) => {
                    worker.kill();
                    numbers.extend(worker.numbers());
                    *worker = start(&server);
                }
                None => {
                    server.kill();
                    server.restart();
                }
            }
            kills += 1;
        }
        assert!(kills >= 15, "{kills} kills");
        submitted.await.expect("no panic");
        until_empty(&queue).await;
        workers.iter().for_each(|worker| numbers.extend(worker.numbers()));
        let lost: Vec<u64> = (0..JOBS).filter(|n| !numbers.contains(n)).collect();
        assert!(lost.is_empty(), "after {kills} kills: {lost:?}");
        let stats = queue.stats(&Context::background()).await.expect("a server");
        assert_eq!((stats.submitted, stats.done), (JOBS, JOBS), "{stats:?}");
        assert_eq!(server.command(&["KEYS", "*:job:*"]), "*0\r\n");
    });
}

pub(crate) fn paused_server_holds_no_call_longer_than_its_deadline_and_no_worker() {
    block_on(async {
        let (setup, seen) = (Setup::impatient(LEASE), Seen::default());
        let worker = counting(&setup.queue, &seen, 1);
        let (ending, cancel) = Context::background().with_cancel();
        let second = tokio::spawn(setup.queue.work(&ending, |_, _: u64| async { Ok::<_, Never>(()) }));
        let id = setup.queue.submit(&Context::background(), 1).await.expect("a server");
        until_stats("the job is done", &setup.queue, |stats| stats.done == 1).await;
        setup.server.pause();
        let paused = Instant::now();
        let limited = || Context::background().with_timeout(Duration::from_millis(200));
        let call = Instant::now();
        let mut failed = 0;
        failed += usize::from(setup.queue.submit(&limited(), 2).await.is_err());
        failed += usize::from(setup.queue.cancel(&limited(), id, "late").await.is_err());
        failed += usize::from(setup.queue.stats(&limited()).await.is_err());
        failed += usize::from(setup.queue.list(&limited(), 1).await.is_err());
        failed += usize::from(setup.queue.dead_letters(&limited(), 1).await.is_err());
        failed += usize::from(setup.queue.resend(&limited(), &[id]).await.is_err());
        failed += usize::from(setup.queue.delete(&limited(), &[id]).await.is_err());
        assert_eq!(failed, 7);
        // Seven deadlines, on a busy machine.
        assert!(call.elapsed() < Duration::from_secs(8), "{:?}", call.elapsed());
        cancel.cancel();
        let ended =
            tokio::time::timeout(Duration::from_secs(20), second).await.expect("the worker returns").expect("no panic");
        assert!(ended.is_err_and(|error| error.context_error().is_some()));
        until("two seconds pass", || std::future::ready(paused.elapsed() >= Duration::from_secs(2))).await;
        setup.server.resume();
        submit_at_last(&setup.queue, 10..20).await;
        // The server may have the job 2 nevertheless. Its deadline is near, so it may be a dead letter.
        until_stats("no job is left", &setup.queue, |stats| stats.waiting + stats.running + stats.delayed == 0).await;
        let all: HashSet<u64> = seen.all().into_iter().collect();
        assert!((10..20).all(|n| all.contains(&n)), "{all:?}");
        worker.drain().await;
    });
}

pub(crate) fn clocks_one_minute_apart_change_no_deadline_and_no_delay() {
    block_on(async {
        let setup = Setup::with(SHORT);
        let (ahead, time) = Clock::manual();
        time.advance(Duration::from_secs(60));
        let (behind, _time) = Clock::manual();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let queue = setup.queue.clone();
        let worker = Running::start(|ctx| async move {
            let handler = move |ctx: Context, n: u64| {
                sender.send((n, ctx.remaining())).expect("a receiver");
                async { Ok::<_, Never>(()) }
            };
            queue.work(&ctx.with_clock(behind), handler).await
        });
        let ctx = Context::background().with_clock(ahead).with_timeout(Duration::from_secs(30));
        setup.queue.submit(&ctx, 1).await.expect("a server");
        let (n, left) = receiver.recv().await.expect("a job");
        let left = left.expect("a deadline");
        assert!(n == 1 && left <= Duration::from_secs(30) && left > Duration::from_secs(10), "{left:?}");
        let start = Instant::now();
        setup.queue.job(2).delay(Duration::from_millis(100)).submit(&ctx).await.expect("a server");
        assert_eq!(receiver.recv().await.expect("a job").0, 2);
        assert!(start.elapsed() >= Duration::from_millis(99), "{:?}", start.elapsed());
        assert_eq!(setup.queue.stats(&ctx).await.expect("a server").lost_leases, 0);
        worker.drain().await;
    });
}

fn queue_of(client: &Client) -> Numbers {
    Queue::builder("numbers").client(client).lease(LEASE).max_deliveries(10).build().expect("valid settings")
}

/// Waits until the replica has every write of the master.
pub(crate) fn until_replicated(info: impl Fn() -> String) {
    crate::server::until("the replica has all writes", || {
        let info = info();
        let offset = |name: &str| Some(info.split_once(name)?.1.split([',', '\r']).next()?.to_owned());
        offset("master_repl_offset:") == offset("offset=") && offset("offset=").is_some()
    });
}

pub(crate) fn failover_of_a_cluster_loses_no_job() {
    let mut cluster = Cluster::start();
    let queue = queue_of(&patient(Client::builder().cluster(cluster.urls())));
    block_on(async {
        let key = "ripcord:queue:{numbers}:jobs";
        submit_at_last(&queue, 0..300).await;
        let master = cluster.node(cluster.master_of(key));
        until_replicated(|| master.command(&["INFO", "replication"]));
        let seen = Seen::default();
        let worker = counting(&queue, &seen, 2);
        seen.until_count(20).await;
        let killed = cluster.fail_over(key);
        submit_at_last(&queue, 300..400).await;
        until_empty(&queue).await;
        cluster.restart(killed);
        cluster.settle();
        submit_at_last(&queue, 400..420).await;
        until_empty(&queue).await;
        let all: HashSet<u64> = seen.all().into_iter().collect();
        assert_eq!((0..420).filter(|n| !all.contains(n)).collect::<Vec<_>>(), [] as [u64; 0]);
        worker.drain().await;
    });
}

pub(crate) fn failover_through_sentinels_loses_no_job() {
    let mut watched = Watched::start();
    let queue = queue_of(&watched.client());
    block_on(async {
        submit_at_last(&queue, 0..300).await;
        until_replicated(|| watched.master_info());
        let seen = Seen::default();
        let worker = counting(&queue, &seen, 2);
        seen.until_count(20).await;
        watched.fail_over();
        submit_at_last(&queue, 300..400).await;
        until_empty(&queue).await;
        let all: HashSet<u64> = seen.all().into_iter().collect();
        assert_eq!((0..400).filter(|n| !all.contains(n)).collect::<Vec<_>>(), [] as [u64; 0]);
        worker.drain().await;
    });
}
