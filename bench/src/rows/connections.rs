//! H4 and H5: many connections at the same time.

use std::process::Command;
use std::time::Duration;

use crate::harness::{Bench, Figure, Measured};
use crate::http::{Server, Side, disconnect_at_once, finish_at_once, raise_open_files};
use crate::report::{Line, Rival, TOWER_HTTP, Target};

/// H4. 10,000 connections have one request each in flight. The handler sleeps until an instant that is the same for all requests.
/// Then the connections stay open without a request, and 32 other clients make quick requests for half a second. Three figures:
///
/// * the growth of the server's resident memory while all handlers sleep, per connection;
/// * the 99th percentile of the time from the instant until a client has its answer;
/// * the 99th percentile of the time of a quick request.
///
/// In each round, each server is a fresh process on one core, and the clients are on the other core. Ours is axum on watched
/// connections under the `ContextLayer` with a timeout, and the handler sleeps with `ctx.sleep`. tower-http's is axum with its
/// timeout and request IDs and `tokio::time::sleep`. Go's is `net/http` with `context.WithTimeout`. The floor is axum without a
/// layer.
pub(super) fn waiting(bench: &Bench) -> Vec<Line> {
    let count = connections(bench, "H4");
    let quick = bench.size(Duration::from_millis(500), Duration::from_millis(20));
    let measure = |command: Command| finish_at_once(&Server::start_one(command), count, quick);
    let go = bench.go();
    let [ours, tower_http, gos, bare] = bench.interleave(
        bench.few_rounds(),
        [
            &mut || Some(measure(Side::WaitingOurs.command())),
            &mut || Some(measure(Side::WaitingTowerHttp.command())),
            &mut || go.server("waiting").map(measure),
            &mut || Some(measure(Side::WaitingBare.command())),
        ],
    );
    let measured = |index: usize, rivals: &[Figure; 3]| {
        Measured::new(ours[index].clone(), rivals[index].clone()).with_floor("bare axum", bare[index].clone())
    };
    let bytes = |rivals, rival: Rival, target| {
        Line::bytes("H4", format!("bytes per connection of {count}"), measured(0, rivals), rival, target)
    };
    let finish = |rivals, rival: Rival, target| {
        Line::time("H4", format!("{count} handlers finish at once, p99"), measured(1, rivals), rival, target)
    };
    let quick = |rivals, rival: Rival, target| {
        Line::time("H4", format!("quick request beside {count} idle, p99"), measured(2, rivals), rival, target)
    };
    let no_worse = Target::NoWorse(0.10);
    vec![
        bytes(&tower_http, TOWER_HTTP, Target::Within(1.15)),
        bytes(&gos, go.rival(), Target::Within(0.65)),
        finish(&tower_http, TOWER_HTTP, no_worse),
        finish(&gos, go.rival(), Target::Shown),
        quick(&tower_http, TOWER_HTTP, no_worse),
        quick(&gos, go.rival(), Target::Shown),
    ]
}

/// H5. 10,000 clients with a request in flight close their connections at once. Each handler has spawned a task, and both wait
/// until the request's context ends. The figure is the time from the first close until the last handler and task has ended.
/// Servers and cores are the same as in H4. The floor is axum without a layer, which drops a handler and thereby aborts its task.
pub(super) fn disconnecting(bench: &Bench) -> Vec<Line> {
    let count = connections(bench, "H5");
    let measure = |command: Command| [disconnect_at_once(&Server::start_one(command), count)];
    let go = bench.go();
    let [[ours], [gos], [bare]] = bench.interleave(
        bench.few_rounds(),
        [&mut || Some(measure(Side::WaitingOurs.command())), &mut || go.server("waiting").map(measure), &mut || {
            Some(measure(Side::WaitingBare.command()))
        }],
    );
    let measured = Measured::new(ours, gos).with_floor("bare axum", bare);
    let what = format!("{count} clients disconnect, last context ended after");
    vec![Line::time("H5", what, measured, go.rival(), Target::NoWorse(0.05))]
}

/// Returns 10,000, or less if the limit of open files is too low.
fn connections(bench: &Bench, row: &str) -> usize {
    // The files of the quick clients, the control connection and the runtimes.
    const OTHER_FILES: u64 = 200;

    let wanted = bench.size(10_000, 50);
    let limit = raise_open_files();
    let possible = usize::try_from(limit.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    if possible < wanted {
        bench.progress().say(&format!("{row}: only {possible} connections: this process may open {limit} files"));
    }
    wanted.min(possible).max(1)
}
