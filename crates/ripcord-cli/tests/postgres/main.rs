//! Tests `ripcord serve --database-url` with a real Postgres. Like the tests of ripcord-sql, these tests start Postgres.
//!
//! `scripts/postgres` installs Postgres and runs these tests. Without Postgres, the tests are reported as ignored.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "for the tests of the binary")]
mod common;
mod search;
#[path = "../../../ripcord-sql/tests/postgres/server.rs"]
mod server;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use server::Server as Postgres;

type Test = fn(&Postgres);

const TESTS: &[(&str, Test)] = &[
    ("search_finds_the_documents_in_postgres", search::finds_documents),
    ("services_that_start_together_share_the_table", search::share_the_table),
    ("search_ends_at_its_deadline_and_leaves_no_query_behind", search::ends_at_its_deadline),
    ("inspector_shows_the_queries_and_nothing_shows_the_password", search::is_shown),
];

#[expect(clippy::print_stderr, reason = "a test that is ignored says why")]
fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests share one server.
    arguments.test_threads = Some(1);
    let postgres =
        if arguments.list { Err("the tests are only listed".to_owned()) } else { Postgres::start().map(Arc::new) };
    if let Err(reason) = &postgres {
        eprintln!("all tests are ignored: {reason}");
    }
    let trials = TESTS.iter().map(|(name, test)| {
        let postgres = postgres.clone();
        let is_ignored = postgres.is_err();
        let run = move || {
            test(postgres.as_ref().expect("it is not ignored"));
            Ok(())
        };
        Trial::test(*name, run).with_ignored_flag(is_ignored)
    });
    let trials: Vec<_> = trials.collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
