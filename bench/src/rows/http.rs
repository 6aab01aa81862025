//! H1 to H3: what a request costs a server, under a load of requests that are answered at once.

use std::env;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Bench, Figure};
use crate::http::{Server, Side};
use crate::report::{Line, Rival, Target};

const TOWER_HTTP: Rival = Rival::named("tower-http");
const WITHOUT: Rival = Rival::named("without");

/// Connections of the load. Each has one request under way.
const CONNECTIONS: usize = 32;

/// How long a round of a side takes.
const ROUND: Duration = Duration::from_millis(500);

/// H1. Both are axum's own server with one handler that answers at once, in a process of its own on one core; the load
/// is on the other. The rival has tower-http's timeout and its request ids, random UUIDs that are sent back. Ours has the
/// `ContextLayer`, which does these two, reads the headers of a deadline and a trace under its trust policy, derives a
/// Context that the handler could take and that ends with the client, the server or the body, and counts.
pub(super) fn server_layer(bench: &Bench) -> Vec<Line> {
    let rivals = start(rust(Side::TowerHttp));
    vec![Line::time("H1", "request", against(bench, Side::Ours, Some(rivals)), TOWER_HTTP, Target::Share(0.97))]
}

/// H2. The chapter's middleware for a request's id and a timeout of 5 s, around a handler that prints the id. Go's is the
/// chapter's code without its race on `responseWritten`, on one core too; ours is axum and the `ContextLayer`.
pub(super) fn chapters_middleware(bench: &Bench) -> Vec<Line> {
    let rivals = bench.go().server().map(start);
    vec![Line::time("H2", "request", against(bench, Side::Chapter, rivals), bench.go().rival(), Target::Faster(2.0))]
}

/// H3. The `ContextLayer` of H1 with an inspector against the one without: nobody looks, and one page does, which is sent a
/// snapshot twice a second.
pub(super) fn inspected(bench: &Bench) -> Vec<Line> {
    let plain = || Some(start(rust(Side::Ours)));
    let line = |what, figures, share| Line::time("H3", what, figures, WITHOUT, Target::Share(share));
    let unseen = compare(bench, start(rust(Side::Inspected)), plain());
    let inspected = start(rust(Side::Inspected));
    inspected.watch("/debug/contexts/events").unwrap_or_else(|error| panic!("the page is not served: {error}"));
    let seen = compare(bench, inspected, plain());
    vec![line("request, nobody looks", unseen, 0.95), line("request, a page looks", seen, 0.95)]
}

fn against(bench: &Bench, ours: Side, rivals: Option<Server>) -> [Figure; 2] {
    compare(bench, start(rust(ours)), rivals)
}

fn compare(bench: &Bench, ours: Server, rivals: Option<Server>) -> [Figure; 2] {
    let lasting = bench.size(ROUND, Duration::from_millis(20));
    let time = |server: &Server| Some([server.time_per_request(CONNECTIONS, lasting)]);
    bench.pair(bench.size(15, 1), &mut || time(&ours), &mut || time(rivals.as_ref()?))
}

/// This program once more, as a server.
fn rust(side: Side) -> Command {
    let mut command = Command::new(env::current_exe().expect("a running program has a path"));
    command.args(["--serve", side.name()]);
    command
}

fn start(command: Command) -> Server {
    Server::start(command).unwrap_or_else(|error| panic!("a server did not start: {error}"))
}
