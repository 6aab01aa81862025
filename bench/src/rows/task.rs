//! C22 and C23: the cost of tasks under a context.

use std::future::ready;

use ripcord::{Context, Error, Group, Join};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::pool::Flavor;
use crate::floor::Floor;
use crate::harness::Bench;
use crate::report::{Line, Rival, TOKIO, Target};
use crate::timing::Timing;

const JOIN_SET: Rival = Rival::named("JoinSet");
const TASKS: usize = 100;

/// C22. A task of a tokio runtime spawns an empty task below a live parent and awaits its output, one at a time. Ours is
/// `ctx.spawn`, and the rival is `tokio::spawn` around `run_until_cancelled` of a child token. The floor is `tokio::spawn` of the
/// empty task.
pub(super) fn spawn_and_await(bench: &Bench) -> Vec<Line> {
    let lines = [Flavor::CurrentThread, Flavor::MultiThread].map(|flavor| {
        let measured = bench.compare(
            |iterations| ours(flavor, iterations),
            |iterations| token(flavor, iterations),
            Floor::new("tokio::spawn", move |iterations| bare(flavor, iterations)),
        );
        let what = format!("spawn + await, {}", flavor.name());
        Line::time("C22", what, measured, TOKIO, Target::NoWorse(0.05))
    });
    lines.into()
}

fn ours(flavor: Flavor, iterations: u64) -> Timing {
    let (parent, canceler) = Context::background().with_cancel();
    flavor.clock(&flavor.runtime(), async move {
        let _live = canceler;
        for _ in 0..iterations {
            parent.spawn(|_ctx| ready(1_u64)).await.expect("the parent is live");
        }
    })
}

fn token(flavor: Flavor, iterations: u64) -> Timing {
    let parent = CancellationToken::new();
    flavor.clock(&flavor.runtime(), async move {
        for _ in 0..iterations {
            let child = parent.child_token();
            let task = tokio::spawn(async move { child.run_until_cancelled(ready(1_u64)).await });
            task.await.expect("the task does not panic").expect("the token is not canceled");
        }
    })
}

fn bare(flavor: Flavor, iterations: u64) -> Timing {
    flavor.clock(&flavor.runtime(), async move {
        for _ in 0..iterations {
            tokio::spawn(ready(1_u64)).await.expect("the task does not panic");
        }
    })
}

/// C23. A task of a tokio runtime starts 100 tasks that return a number, and collects their results. Ours is a group and its
/// `results`, in the order of `go`. The rival is a `JoinSet`, in the order in which the tasks end. The cost is the time of all 100
/// tasks.
pub(super) fn group_of_100(bench: &Bench) -> Vec<Line> {
    let lines = [Flavor::CurrentThread, Flavor::MultiThread].map(|flavor| {
        let measured = bench.compare(
            |iterations| group(flavor, iterations),
            |iterations| join_set(flavor, iterations),
            Floor::new("tokio::spawn", move |iterations| bare_100(flavor, iterations)),
        );
        let what = format!("group of 100 with results, {}", flavor.name());
        Line::time("C23", what, measured, JOIN_SET, Target::NoWorse(0.1))
    });
    lines.into()
}

fn group(flavor: Flavor, iterations: u64) -> Timing {
    let (parent, canceler) = Context::background().with_cancel();
    flavor.clock(&flavor.runtime(), async move {
        let _live = canceler;
        for _ in 0..iterations {
            let (group, _ctx) = Group::builder().join(Join::All).build(&parent);
            for n in 0..TASKS {
                group.go(ready(Ok::<_, Error>(n)));
            }
            let results = group.results().await;
            assert!(results.len() == TASKS && results.iter().all(Result::is_ok));
        }
    })
}

fn join_set(flavor: Flavor, iterations: u64) -> Timing {
    flavor.clock(&flavor.runtime(), async move {
        for _ in 0..iterations {
            let mut tasks = JoinSet::new();
            for n in 0..TASKS {
                tasks.spawn(ready(Ok::<_, Error>(n)));
            }
            let mut results = Vec::with_capacity(TASKS);
            while let Some(joined) = tasks.join_next().await {
                results.push(joined.expect("the task does not panic"));
            }
            assert!(results.len() == TASKS && results.iter().all(Result::is_ok));
        }
    })
}

fn bare_100(flavor: Flavor, iterations: u64) -> Timing {
    flavor.clock(&flavor.runtime(), async move {
        for _ in 0..iterations {
            let tasks: Vec<_> = (0..TASKS).map(|n| tokio::spawn(ready(n))).collect();
            for task in tasks {
                task.await.expect("the task does not panic");
            }
        }
    })
}
