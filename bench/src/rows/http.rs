//! H1 to H3: what a request costs a server, under a load of requests that are answered at once.

use std::env;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Bench, Figure};
use crate::http::{Load, Server, Side};
use crate::report::{Line, Rival, Target};

const TOWER_HTTP: Rival = Rival::named("tower-http");
const WITHOUT: Rival = Rival::named("without");

/// Connections of the load. Each has one request under way.
const CONNECTIONS: usize = 32;

/// How long a round of a side takes.
const ROUND: Duration = Duration::from_millis(500);
/// When the rows are only tried out.
const TINY: Duration = Duration::from_millis(20);

/// H1. Both are axum's own server with one handler that answers at once, in a process of its own on one core; the load
/// is on the other. The rival has tower-http's timeout and its request ids, random UUIDs that are sent back. Ours has the
/// `ContextLayer`, which does these two, reads the headers of a deadline and a trace under its trust policy, derives a
/// Context that the handler could take and that ends with the client, the server or the body, and counts.
pub(super) fn server_layer(bench: &Bench) -> Vec<Line> {
    let [rivals] = start(rust(&[Side::TowerHttp]));
    vec![Line::time("H1", "request", against(bench, Side::Ours, Some(rivals)), TOWER_HTTP, Target::Share(0.97))]
}

/// H2. The chapter's middleware for a request's id and a timeout of 5 s, around a handler that prints the id. Go's is the
/// chapter's code without its race on `responseWritten`, on one core too; ours is axum and the `ContextLayer`.
pub(super) fn chapters_middleware(bench: &Bench) -> Vec<Line> {
    let rivals = bench.go().server().map(|command| {
        let [server] = start(command);
        server
    });
    vec![Line::time("H2", "request", against(bench, Side::Chapter, rivals), bench.go().rival(), Target::Faster(2.0))]
}

/// H3. The `ContextLayer` of H1 with an inspector against the one without: nobody looks, and one page does, which is sent a
/// snapshot twice a second.
///
/// Both are in one process and one thread, so that they run the same code and share one heap: two processes differ by several
/// percent in where things happen to lie. What is compared is how long the thread ran for a request, in the kernel too: it keeps
/// its core busy, so the inverse is requests per second, without what other programs on the machine take. The ratio is the median
/// of each round's.
pub(super) fn inspected(bench: &Bench) -> Vec<Line> {
    let [inspected, plain] = start(rust(&[Side::Inspected, Side::Ours]));
    let (mut ours, mut rivals) = (inspected.load(CONNECTIONS), plain.load(CONNECTIONS));
    let round = |server: &Server, load: &mut Load| {
        let before = server.time_on_core();
        let answers = load.ask_for(bench.size(ROUND, TINY));
        // Where the system does not tell, the time that it took.
        let time = server.time_on_core().zip(before).map(|(after, before)| after - before);
        Some([time.map_or(answers.time_per_request(), |time| answers.share_of(time))])
    };
    let rounds = bench.size(41, 1);
    let unseen = bench.pair(rounds, &mut || round(&inspected, &mut ours), &mut || round(&plain, &mut rivals));
    let mut watched_round = || {
        let page = inspected.watch("/debug/contexts/events");
        let _page = page.unwrap_or_else(|error| panic!("the page is not served: {error}"));
        round(&inspected, &mut ours)
    };
    let seen = bench.pair(rounds, &mut watched_round, &mut || round(&plain, &mut rivals));
    let line = |what, figures| Line::time("H3", what, figures, WITHOUT, Target::Share(0.95)).by_round();
    vec![line("request, nobody looks", unseen), line("request, a page looks", seen)]
}

fn against(bench: &Bench, ours: Side, rivals: Option<Server>) -> [Figure; 2] {
    let [ours] = start(rust(&[ours]));
    let mut ours_load = ours.load(CONNECTIONS);
    let mut rivals_load = rivals.as_ref().map(|rivals| rivals.load(CONNECTIONS));
    let lasting = bench.size(ROUND, TINY);
    bench.pair(bench.size(15, 1), &mut || Some([ours_load.ask_for(lasting).time_per_request()]), &mut || {
        Some([rivals_load.as_mut()?.ask_for(lasting).time_per_request()])
    })
}

/// This program once more, as servers.
fn rust(sides: &[Side]) -> Command {
    let mut command = Command::new(env::current_exe().expect("a running program has a path"));
    let names: Vec<_> = sides.iter().map(|side| side.name()).collect();
    command.args(["--serve", &names.join(",")]);
    command
}

fn start<const N: usize>(command: Command) -> [Server; N] {
    Server::start(command).unwrap_or_else(|error| panic!("a server did not start: {error}"))
}
