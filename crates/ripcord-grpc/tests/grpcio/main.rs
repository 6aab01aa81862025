//! Tests Python's grpcio as client and as server, for all four kinds of calls.
//!
//! `scripts/grpcio` installs grpcio into `target/grpcio` and runs these tests. Without grpcio, the tests are reported as ignored.

#[path = "../../examples/echo_server/calls.rs"]
#[expect(dead_code, reason = "only the example prints lines")]
mod calls;
#[path = "../../examples/echo_server/echo.rs"]
mod echo;
#[path = "../../examples/echo_server/service.rs"]
mod generated;

mod as_client;
mod as_server;
mod processes;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use processes::Python;

type Test = fn(&Python);

const TESTS: &[(&str, Test)] = &[
    ("client_makes_all_four_kinds_of_calls", as_client::all_four_kinds),
    ("deadline_of_a_client_ends_every_kind_of_call", as_client::deadlines),
    ("cancel_of_a_client_ends_every_kind_of_call", as_client::cancels),
    ("id_and_trace_of_a_client_are_kept", as_client::identity),
    ("status_of_a_handler_reaches_the_client", as_client::statuses),
    ("upstream_that_cannot_be_reached_is_unavailable", as_client::unreachable),
    ("streams_with_random_cancels_leave_no_call_open", as_client::random_cancels),
    ("drain_answers_what_is_in_flight_and_sends_goaway", as_client::drain),
    ("server_answers_all_four_kinds_of_calls", as_server::all_four_kinds),
    ("server_sees_the_deadline_and_the_cancel_of_every_kind", as_server::ends),
    ("calls_of_a_client_continue_at_an_upstream", as_server::between_client_and_server),
];

#[expect(clippy::print_stderr, reason = "a test that is ignored says why")]
fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests share two cores with their Python processes.
    arguments.test_threads = Some(1);
    let python =
        if arguments.list { Err("the tests are only listed".to_owned()) } else { Python::find().map(Arc::new) };
    if let Err(reason) = &python {
        eprintln!("all tests are ignored: {reason}");
    }
    let trials = TESTS.iter().map(|(name, test)| {
        let python = python.clone();
        let is_ignored = python.is_err();
        let run = move || {
            test(python.as_ref().expect("it is not ignored"));
            Ok(())
        };
        Trial::test(*name, run).with_ignored_flag(is_ignored)
    });
    let trials: Vec<_> = trials.collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
