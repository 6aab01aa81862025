//! Tests `ripcord serve --database-url` with a real Postgres. Like the tests of ripcord-sql, these tests start Postgres.
//!
//! `scripts/postgres` installs Postgres and runs these tests. Without Postgres, the tests are reported as ignored.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "for the tests of the binary")]
mod common;
mod search;
#[path = "../../../ripcord-sql/tests/postgres/server.rs"]
mod server;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use server::Server as Postgres;

type Test = fn(&Postgres);

const TESTS: &[(&str, Test)] = &[
    ("search_finds_the_documents_in_postgres", search::finds_documents),
    ("services_that_start_together_share_the_table", search::share_the_table),
    ("search_ends_at_its_deadline_and_leaves_no_query_behind", search::ends_at_its_deadline),
    ("inspector_shows_the_queries_and_nothing_shows_the_password", search::is_shown),
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
    let wanted: Vec<_> = TESTS.iter().filter(|(name, _)| wanted(name)).collect();
    let postgres = if wanted.is_empty() { Err("nothing to run".to_owned()) } else { Postgres::start() };
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    for (name, test) in wanted {
        let postgres = match &postgres {
            Ok(postgres) => postgres,
            Err(reason) => {
                println!("test {name} ... ignored, {reason}");
                ignored += 1;
                continue;
            }
        };
        match panic::catch_unwind(AssertUnwindSafe(|| test(postgres))) {
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
