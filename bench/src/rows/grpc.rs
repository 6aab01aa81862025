//! G1: the cost of a gRPC call.

use std::time::Duration;

use crate::harness::{Bench, Measured};
use crate::http::{GrpcLoad, Server, Side};
use crate::report::{Line, Rival, Target};

const TONIC: Rival = Rival::named("tonic");

/// Number of connections of the load.
const CONNECTIONS: usize = 8;

/// The duration of one round of one side.
const ROUND: Duration = Duration::from_millis(500);
/// The duration of a round under `--test`.
const TINY: Duration = Duration::from_millis(20);

/// G1. Unary calls with a deadline of 4 s and a handler that echoes. Ours is `ripcord_http::serve` with tonic's routes under the layers
/// of server and gRPC: each call has a context, which the handler takes. The rival is tonic's own server with a timeout of 5 s.
///
/// As in H3, both sides are in one process and one thread. The figure is the time that the thread ran per call. The ratio is the
/// median of the ratios of all rounds.
pub(super) fn unary(bench: &Bench) -> Vec<Line> {
    let [ours, tonic] = Server::start(Side::command_of(&[Side::GrpcOurs, Side::GrpcTonic]));
    let (mut ours_load, mut tonics_load) = (ours.grpc_load(CONNECTIONS), tonic.grpc_load(CONNECTIONS));
    let round = |server: &Server, load: &mut GrpcLoad| {
        let before = server.time_on_core();
        let answers = load.call_for(bench.size(ROUND, TINY));
        let time = server.time_on_core().zip(before).map(|(after, before)| after - before);
        // The elapsed time is used if the system does not report the time on a core.
        Some([time.map_or(answers.time_per_request(), |time| answers.share_of(time))])
    };
    let [[ours], [tonics]] = bench
        .interleave(bench.size(31, 1), [&mut || round(&ours, &mut ours_load), &mut || round(&tonic, &mut tonics_load)]);
    vec![Line::time("G1", "unary call", Measured::new(ours, tonics), TONIC, Target::Ratio(0.97)).by_round()]
}
