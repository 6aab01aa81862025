//! H1 to H3: the cost of a request, under a load of requests that are answered at once.

use std::time::Duration;

use crate::harness::{Bench, Measured};
use crate::http::{Load, Server, Side};
use crate::report::{Line, Rival, TOWER_HTTP, Target};

const WITHOUT: Rival = Rival::named("without");

/// Number of connections of the load. Each has one request in flight.
const CONNECTIONS: usize = 32;

/// The duration of one round of one side.
const ROUND: Duration = Duration::from_millis(500);
/// The duration of a round under `--test`.
const TINY: Duration = Duration::from_millis(20);

/// H1. Both sides are axum's own server with one handler that answers at once, in a process on one core. The load is on the other
/// core. The rival has tower-http's timeout and its request IDs: random UUIDs that are sent back. Ours has the `ContextLayer`,
/// which does the same. It also reads the headers of a deadline and a trace under its trust policy, derives a context for the
/// handler that ends with the client, the server or the body, and counts requests. The floor has no layer.
pub(super) fn server_layer(bench: &Bench) -> Vec<Line> {
    let measured = under_load(bench, Side::Ours, Some(Server::start_one(Side::TowerHttp.command())));
    vec![Line::time("H1", "request", measured, TOWER_HTTP, Target::Ratio(1.0))]
}

/// H2. The chapter's middleware for a request ID and a timeout of 5 s, around a handler that prints the ID. Go's is the chapter's
/// code without its race on `responseWritten`, also on one core. Ours is axum and the `ContextLayer`. The floor is axum without a
/// layer.
pub(super) fn chapters_middleware(bench: &Bench) -> Vec<Line> {
    let rival = bench.go().server("chapter").map(Server::start_one);
    let measured = under_load(bench, Side::Chapter, rival);
    vec![Line::time("H2", "request", measured, bench.go().rival(), Target::Ratio(1.75))]
}

/// H3. The `ContextLayer` of H1 with an inspector against the same layer without one: first without a page, then with a page that
/// gets a snapshot twice per second.
///
/// Both sides are in one process and one thread, so that they run the same code and share one heap. In two processes, their figures
/// would differ by several percent because of their memory layout. The figure is the time that the thread ran per request,
/// including the kernel. The thread keeps its core busy, so this is the inverse of requests per second, without the time of other
/// programs. The ratio is the median of the ratios of all rounds.
pub(super) fn inspected(bench: &Bench) -> Vec<Line> {
    let [inspected, plain] = Server::start(Side::command_of(&[Side::Inspected, Side::Ours]));
    let (mut ours, mut rivals) = (inspected.load(CONNECTIONS), plain.load(CONNECTIONS));
    let round = |server: &Server, load: &mut Load| {
        let before = server.time_on_core();
        let answers = load.ask_for(bench.size(ROUND, TINY));
        let time = server.time_on_core().zip(before).map(|(after, before)| after - before);
        // The elapsed time is used if the system does not report the time on a core.
        Some([time.map_or(answers.time_per_request(), |time| answers.share_of(time))])
    };
    let rounds = bench.size(41, 1);
    let [[unwatched], [without]] =
        bench.interleave(rounds, [&mut || round(&inspected, &mut ours), &mut || round(&plain, &mut rivals)]);
    let unwatched = Measured::new(unwatched, without);
    let mut watched_round = || {
        let _page = inspected.watch("/debug/contexts/events");
        round(&inspected, &mut ours)
    };
    let [[watched], [without]] = bench.interleave(rounds, [&mut watched_round, &mut || round(&plain, &mut rivals)]);
    let watched = Measured::new(watched, without);
    let line = |what, measured| Line::time("H3", what, measured, WITHOUT, Target::Ratio(0.95)).by_round();
    vec![line("request, no page watches", unwatched), line("request, a page watches", watched)]
}

fn under_load(bench: &Bench, ours: Side, rival: Option<Server>) -> Measured {
    let (ours, bare) = (Server::start_one(ours.command()), Server::start_one(Side::Bare.command()));
    let (mut ours_load, mut bare_load) = (ours.load(CONNECTIONS), bare.load(CONNECTIONS));
    let mut rivals_load = rival.as_ref().map(|rival| rival.load(CONNECTIONS));
    let time = bench.size(ROUND, TINY);
    let [[ours], [rivals], [bare]] = bench.interleave(
        bench.size(15, 1),
        [
            &mut || Some([ours_load.ask_for(time).time_per_request()]),
            &mut || Some([rivals_load.as_mut()?.ask_for(time).time_per_request()]),
            &mut || Some([bare_load.ask_for(time).time_per_request()]),
        ],
    );
    Measured::new(ours, rivals).with_floor("bare axum", bare)
}
