//! Tests `ripcord serve --redis` with a real Redis. Like the tests of ripcord-redis, these tests start Redis.
//!
//! `scripts/redis` installs Redis and runs these tests. Without Redis, the tests are reported as ignored.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "for the tests of the binary")]
mod common;
mod queue;
#[path = "../../../ripcord-redis/tests/redis/server.rs"]
#[expect(dead_code, reason = "for the tests of ripcord-redis")]
mod server;
mod services;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Lists tests by their paths.
macro_rules! tests {
    ($($module:ident: $($name:ident),+ $(,)?;)+) => {
        [$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn()),)+)+]
    };
}

fn main() -> ExitCode {
    let tests = tests! {
        queue:
            queue_lists_jobs_and_dead_letters_as_text_and_as_json,
            queue_resends_deletes_and_cancels,
            queue_names_invalid_settings_and_an_unavailable_server_on_one_line;
        services:
            cancel_on_the_page_of_one_service_ends_a_request_of_another,
            limit_of_a_backend_holds_for_both_services_together,
            answer_cached_by_one_service_is_used_by_the_other,
            breaker_opened_by_one_service_is_open_in_the_other,
            job_is_run_by_any_service_and_counted_on_the_page,
            services_continue_without_redis_and_say_so,
            invalid_redis_is_named_before_the_service_starts;
    };
    let is_missing = !server::is_installed();
    let trials = tests.into_iter().map(|(name, test)| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(is_missing)
    });
    let mut arguments = Arguments::from_args();
    // Most tests wait for servers of their own most of the time.
    arguments.test_threads = arguments.test_threads.or(Some(6));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
