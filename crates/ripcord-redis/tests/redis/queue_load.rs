//! The queue under load: many jobs, four worker processes, one of which is killed again and again.
//!
//! `scripts/queue-load` runs this with a million jobs.
#![expect(clippy::print_stdout, reason = "the figures of scripts/queue-load")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ripcord::Context;

use crate::queue_process::{self, Process};
use crate::queue_setup::block_on;
use crate::server::Server;

/// The environment variable with the number of jobs. Default: 20,000.
const JOBS: &str = "RIPCORD_REDIS_JOBS";
const LEASE: Duration = Duration::from_secs(2);
/// Maximum number of jobs that wait.
const WAITING: u64 = 20_000;

/// The resident memory of a process over time, in KiB.
#[derive(Default)]
struct Memory(HashMap<u32, Vec<u64>>);

impl Memory {
    fn sample(&mut self, process: u32) {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        self.0.entry(process).or_default().extend(size.filter(|size| *size > 0));
    }

    /// Asserts that the memory of the process has grown since its first half by at most a quarter and 16 MiB.
    fn assert_flat(&self, process: u32, name: &str) {
        let samples = &self.0[&process];
        let largest = |samples: &[u64]| samples.iter().copied().max().unwrap_or_default();
        let (first, last) = (largest(&samples[..samples.len() / 2]), largest(&samples[samples.len() * 3 / 4..]));
        println!("{name}: {first} KiB in the first half, {last} KiB at the end, {} samples", samples.len());
        assert!(samples.len() < 8 || last <= first + first / 4 + 16 * 1024, "{name}: {samples:?}");
    }
}

pub(crate) fn each_job_is_done_although_a_worker_is_killed_again_and_again() {
    let jobs: u64 = std::env::var(JOBS).map_or(20_000, |jobs| jobs.parse().expect("a number of jobs"));
    let is_full = jobs > 100_000;
    let server = Server::start();
    let pause = Duration::from_millis(if is_full { 2000 } else { 300 });
    let start = |server: &Server| queue_process::start_with(&server.url(), "count", LEASE, 100);
    let mut workers: Vec<Process> = (0..4).map(|_| start(&server)).collect();
    let mut done = vec![false; usize::try_from(jobs).expect("a number of jobs")];
    let mut runs = 0_u64;
    let mut take = |worker: &Process| {
        for n in worker.numbers() {
            done[usize::try_from(n).expect("a number of a job")] = true;
            runs += 1;
        }
    };
    let (mut memory, mut kills, mut printed) = (Memory::default(), 0, Instant::now());
    let began = Instant::now();
    // A busy disk may delay the server. The workers tolerate this, and the test waits.
    let client = ripcord_redis::Client::builder().url(server.url()).timeout(Duration::from_secs(30)).build();
    let queue = ripcord_redis::Queue::<u64>::builder("numbers").client(&client.expect("valid settings")).lease(LEASE);
    let queue = queue.build().expect("valid settings");
    let stats = block_on(async {
        let ctx = Context::background();
        let (mut next, mut last, mut moved) = (0, (0, 0), Instant::now());
        let mut next_kill = Instant::now() + pause;
        loop {
            let stats = queue.stats(&ctx).await.expect("a server");
            if stats.done == jobs {
                return stats;
            }
            // No job may be stuck for longer than a few leases.
            if last != (stats.done, next) {
                (last, moved) = ((stats.done, next), Instant::now());
            }
            assert!(moved.elapsed() < Duration::from_secs(60), "no progress: {stats:?}");
            if next < jobs && stats.waiting < WAITING {
                let end = jobs.min(next + 5000);
                queue.submit_all(&ctx, next..end).await.expect("a server");
                next = end;
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if Instant::now() >= next_kill {
                next_kill = Instant::now() + pause;
                // The first worker lives, so that its memory can be seen over the whole time.
                let victim = &mut workers[1 + kills % 3];
                victim.kill();
                take(victim);
                *victim = start(&server);
                kills += 1;
                memory.sample(workers[0].id());
                memory.sample(server.id());
            }
            if is_full && printed.elapsed() > Duration::from_secs(10) {
                printed = Instant::now();
                println!("{:?}: {kills} kills, {stats:?}", began.elapsed());
            }
        }
    });
    let elapsed = began.elapsed();
    workers.iter().for_each(&mut take);
    let left = done.iter().filter(|done| !**done).count();
    println!(
        "{jobs} jobs in {elapsed:.1?}, {:.0} jobs/s, {kills} kills, {runs} runs, {} taken over",
        jobs as f64 / elapsed.as_secs_f64(),
        stats.taken_over
    );
    assert_eq!(left, 0, "jobs that no handler has run");
    assert_eq!((stats.waiting, stats.running, stats.delayed, stats.dead), (0, 0, 0, 0), "{stats:?}");
    assert_eq!(stats.submitted, jobs, "{stats:?}");
    assert!(kills > 0, "no worker was killed");
    assert_eq!(
        server.command(&["DBSIZE"]).trim_end().trim_start_matches(':').parse::<u32>().map(|keys| keys < 10),
        Ok(true)
    );
    memory.assert_flat(workers[0].id(), "worker");
    memory.assert_flat(server.id(), "redis-server");
}
