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

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

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

#[expect(clippy::print_stdout, reason = "it reports as Rust's own tests do")]
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    if arguments.iter().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let python = Python::find();
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        let python = match &python {
            Ok(python) => python,
            Err(reason) => {
                println!("test {name} ... ignored, {reason}");
                ignored += 1;
                continue;
            }
        };
        match panic::catch_unwind(AssertUnwindSafe(|| test(python))) {
            Ok(()) => {
                println!("test {name} ... ok");
                passed += 1;
            }
            Err(_) => {
                println!("test {name} ... FAILED");
                failed += 1;
            }
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; {ignored} ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}
