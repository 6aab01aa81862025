//! P5: the cost of a task in a pool.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::sync::Arc;

use ripcord::Context;
use ripcord_policy::WorkerPool;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt, service_fn};
use tower_resilience::executor::{CurrentRuntime, ExecutorService};

use super::caller::Caller;
use crate::floor::Floor;
use crate::harness::{Bench, Measured};
use crate::report::{Line, Rival, TOWER_RESILIENCE, Target};
use crate::timing::{Timing, clock_main, clock_spawned};

const COMPOSITION: Rival = Rival::named("Semaphore + JoinSet + token");
const JOIN_SET: Rival = Rival::named("JoinSet alone");

/// P5. A task of a tokio runtime submits an empty task and waits for its result: the main task of a current-thread runtime, then a
/// spawned task of a multi-thread runtime with two workers. Ours is `submit` and the returned `JobHandle`, on a pool of two workers.
/// The rival is the usual composition with the same bound: a permit of a `Semaphore` of two, a child of a `CancellationToken` per
/// task, the child's `run_until_cancelled` around the task, and `JoinSet::spawn` and `join_next`.
///
/// * one at a time: the result is awaited before the next submit, under a background context, then under one that can be canceled;
/// * 100 at a time: a hundred are submitted, then their results are awaited, under a context that can be canceled. The cost is the
///   cost of one task.
///
/// For comparison, under a context that can be canceled: `JoinSet` alone, which has no bound and no contexts. And, one at a time,
/// tower-resilience's executor layer around an empty service, which spawns each call without a bound.
///
/// The floor is `tokio::spawn` of an empty task and its `JoinHandle`, one at a time.
pub(super) fn empty_task(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    for flavor in [Flavor::CurrentThread, Flavor::MultiThread] {
        let compare = |at_a_time, caller, rival: fn(Flavor, u64, u64) -> Timing| {
            bench.compare(
                |iterations| ours(flavor, iterations, at_a_time, caller),
                |iterations| rival(flavor, iterations, at_a_time),
                Floor::new("tokio::spawn", move |iterations| spawn(flavor, iterations)),
            )
        };
        let mut add = |what: &str, measured: Measured, rival, target| {
            let what = format!("submit + result, {}, {what}", flavor.name());
            lines.push(Line::time("P5", what, measured, rival, target));
        };
        let no_worse = Target::NoWorse(0.05);
        add("background", compare(1, Caller::Background, composition), COMPOSITION, no_worse);
        add("cancelable", compare(1, Caller::Cancelable, composition), COMPOSITION, no_worse);
        add("cancelable, 100 at a time", compare(HUNDRED, Caller::Cancelable, composition), COMPOSITION, no_worse);
        add("cancelable", compare(1, Caller::Cancelable, join_set), JOIN_SET, Target::Shown);
        add("cancelable, 100 at a time", compare(HUNDRED, Caller::Cancelable, join_set), JOIN_SET, Target::Shown);
        add("cancelable", compare(1, Caller::Cancelable, executor), TOWER_RESILIENCE, Target::Shown);
    }
    lines
}

const HUNDRED: u64 = 100;
const WORKERS: usize = 2;

/// The runtime, and the task that submits.
#[derive(Clone, Copy)]
pub(super) enum Flavor {
    /// The main task of a current-thread runtime.
    CurrentThread,
    /// A spawned task of a multi-thread runtime.
    MultiThread,
}

impl Flavor {
    pub(super) fn name(self) -> &'static str {
        match self {
            Flavor::CurrentThread => "current-thread",
            Flavor::MultiThread => "multi-thread",
        }
    }

    pub(super) fn clock(self, runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) -> Timing {
        match self {
            Flavor::MultiThread => clock_spawned(runtime, work),
            Flavor::CurrentThread => clock_main(runtime, work),
        }
    }

    pub(super) fn runtime(self) -> Runtime {
        let mut builder = match self {
            Flavor::CurrentThread => Builder::new_current_thread(),
            Flavor::MultiThread => Builder::new_multi_thread(),
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

/// Uses `Semaphore::acquire_owned`, because a permit must move into its task.
fn composition(flavor: Flavor, iterations: u64, at_a_time: u64) -> Timing {
    let runtime = flavor.runtime();
    flavor.clock(&runtime, async move {
        let permits = Arc::new(Semaphore::new(WORKERS));
        let token = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut left = iterations;
        while left > 0 {
            let now = left.min(at_a_time);
            for _ in 0..now {
                let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is open");
                let child = token.child_token();
                tasks.spawn(async move {
                    let _permit = permit;
                    child.run_until_cancelled(ready(Ok::<_, io::Error>(()))).await
                });
            }
            while let Some(joined) = tasks.join_next().await {
                let result = joined.expect("the task does not panic").expect("the token is not canceled");
                result.expect("the task succeeds");
            }
            left -= now;
        }
    })
}

fn executor(flavor: Flavor, iterations: u64, _one_at_a_time: u64) -> Timing {
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

fn spawn(flavor: Flavor, iterations: u64) -> Timing {
    let runtime = flavor.runtime();
    flavor.clock(&runtime, async move {
        for _ in 0..iterations {
            let joined = tokio::spawn(ready(Ok::<_, io::Error>(()))).await;
            joined.expect("the task does not panic").expect("the task succeeds");
        }
    })
}
