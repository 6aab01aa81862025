//! The crate with real servers: Debian's redis-server, alone, as a cluster, and with sentinels.
//!
//! Each test starts the servers that it needs, on private ports of the loopback interface. Without redis-server, the tests report
//! themselves as ignored: `scripts/redis` installs it, and runs this.

mod client;
mod cluster;
mod fleet;
mod sentinel;
mod server;

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
        client:
            unreachable_server_costs_one_timeout_and_not_one_per_command,
            restarted_server_is_found_again,
            invalid_setting_is_named,
            paused_server_fails_within_the_timeout_and_recovers;
        cluster:
            clients_of_a_cluster_see_each_other,
            failed_master_of_a_cluster_is_replaced,
            cluster_without_full_coverage_serves_the_other_masters;
        fleet:
            reports_of_all_members_are_read_until_they_end,
            report_that_is_too_long_is_refused;
        sentinel:
            clients_through_sentinels_see_each_other,
            master_that_sentinels_replace_is_found_again;
    };
    let is_missing = !server::is_installed();
    let trials = tests.into_iter().map(|(name, test)| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(is_missing)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
