//! P5: what a task costs a pool.

use std::convert::Infallible;
use std::future::ready;
use std::io;

use ripcord::Context;
use ripcord_policy::WorkerPool;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt, service_fn};
use tower_resilience::executor::{CurrentRuntime, ExecutorService};

use super::caller::Caller;
use crate::harness::{Bench, Timing, clock_main, clock_spawned};
use crate::report::{Line, Rival, TOWER_RESILIENCE, Target};

const JOIN_SET: Rival = Rival::named("tokio JoinSet");
const TASK_TRACKER: Rival = Rival::named("tokio-util TaskTracker");

/// P5. A task of a tokio runtime has an empty task run by the pool and waits for its result: the main
/// task of a current-thread runtime, then a spawned one of a multi-thread runtime with two workers. Ours is `submit` and the
/// `Task` it gives, on a pool of two workers; tokio's is `JoinSet::spawn` and `join_next`.
///
/// * one at a time: the result is waited for before the next task is submitted; under a background
///   context, and under one that can be canceled, which tokio's side has no notion of;
/// * 100 at a time: a hundred are submitted, then their results are waited for; the cost is that of
///   one. Under a context that can be canceled.
///
/// Shown beside them, one at a time: `TaskTracker::spawn` and its `JoinHandle`; tower-resilience's
/// executor layer around an empty service, which is waited for until it is ready and called. Both
/// against ours under a context that can be canceled. And 100 at a time from the main task of the
/// multi-thread runtime, which is polled on a thread that is none of its workers.
pub(super) fn empty_task(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    for flavor in [Flavor::CurrentThread, Flavor::MultiThread] {
        let name = flavor.name();
        let mut add = |what: &str, figures, rival, target| {
            lines.push(Line::time("P5", format!("submit + result, {name}{what}"), figures, rival, target));
        };
        let background = |iterations| ours(flavor, iterations, 1, Caller::Background);
        let cancelable = |iterations| ours(flavor, iterations, 1, Caller::Cancelable);
        let hundreds = |iterations| ours(flavor, iterations, HUNDRED, Caller::Cancelable);
        let figures = bench.compare(background, |iterations| join_set(flavor, iterations, 1));
        add("", figures, JOIN_SET, Target::NoWorse);
        let figures = bench.compare(cancelable, |iterations| join_set(flavor, iterations, 1));
        add(", cancelable", figures, JOIN_SET, Target::NoWorse);
        let figures = bench.compare(hundreds, |iterations| join_set(flavor, iterations, HUNDRED));
        add(", cancelable, 100 at a time", figures, JOIN_SET, Target::NoWorse);
        let figures = bench.compare(cancelable, |iterations| task_tracker(flavor, iterations));
        add(", cancelable", figures, TASK_TRACKER, Target::Shown);
        let figures = bench.compare(cancelable, |iterations| executor(flavor, iterations));
        add(", cancelable", figures, TOWER_RESILIENCE, Target::Shown);
    }
    let figures = bench.compare(
        |iterations| ours(Flavor::Main, iterations, HUNDRED, Caller::Cancelable),
        |iterations| join_set(Flavor::Main, iterations, HUNDRED),
    );
    let what = format!("submit + result, {}, cancelable, 100 at a time", Flavor::Main.name());
    lines.push(Line::time("P5", what, figures, JOIN_SET, Target::Shown));
    lines
}

const HUNDRED: u64 = 100;
const WORKERS: usize = 2;

#[derive(Clone, Copy)]
enum Flavor {
    CurrentThread,
    MultiThread,
    Main,
}

impl Flavor {
    fn name(self) -> &'static str {
        match self {
            Flavor::CurrentThread => "current-thread",
            Flavor::MultiThread => "multi-thread",
            Flavor::Main => "multi-thread from main",
        }
    }

    fn clock(self, runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) -> Timing {
        match self {
            Flavor::MultiThread => clock_spawned(runtime, work),
            _ => clock_main(runtime, work),
        }
    }

    fn runtime(self) -> Runtime {
        let mut builder = match self {
            Flavor::CurrentThread => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        builder.worker_threads(WORKERS).enable_time().build().expect("a runtime can be built")
    }
}

fn ours(flavor: Flavor, iterations: u64, at_a_time: u64, caller: Caller) -> Timing {
    let runtime = flavor.runtime();
    let entered = runtime.enter();
    let pool = WorkerPool::builder().workers(WORKERS).build(&Context::background()).expect("within bounds");
    drop(entered);
    let (context, canceler) = caller.context();
    flavor.clock(&runtime, async move {
        let _live = canceler;
        let mut tasks = Vec::with_capacity(at_a_time as usize);
        let mut left = iterations;
        while left > 0 {
            let now = left.min(at_a_time);
            for _ in 0..now {
                let task = pool.submit(&context, |_context| ready(Ok::<_, io::Error>(()))).await;
                tasks.push(task.expect("the pool is open"));
            }
            for task in tasks.drain(..) {
                task.await.expect("the task succeeds");
            }
            left -= now;
        }
    })
}

fn join_set(flavor: Flavor, iterations: u64, at_a_time: u64) -> Timing {
    let runtime = flavor.runtime();
    flavor.clock(&runtime, async move {
        let mut tasks = JoinSet::new();
        let mut left = iterations;
        while left > 0 {
            let now = left.min(at_a_time);
            for _ in 0..now {
                tasks.spawn(ready(Ok::<_, io::Error>(())));
            }
            while let Some(joined) = tasks.join_next().await {
                joined.expect("the task does not panic").expect("the task succeeds");
            }
            left -= now;
        }
    })
}

fn task_tracker(flavor: Flavor, iterations: u64) -> Timing {
    let runtime = flavor.runtime();
    flavor.clock(&runtime, async move {
        let tasks = TaskTracker::new();
        for _ in 0..iterations {
            let joined = tasks.spawn(ready(Ok::<_, io::Error>(()))).await;
            joined.expect("the task does not panic").expect("the task succeeds");
        }
    })
}

fn executor(flavor: Flavor, iterations: u64) -> Timing {
    let runtime = flavor.runtime();
    flavor.clock(&runtime, async move {
        let empty = service_fn(|()| ready(Ok::<(), Infallible>(())));
        let mut service = ExecutorService::new(empty, CurrentRuntime::new());
        for _ in 0..iterations {
            let ready = service.ready().await.expect("the service is always ready");
            ready.call(()).await.expect("the task succeeds");
        }
    })
}
