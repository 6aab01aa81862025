//! The crate with real servers: Debian's redis-server, alone, as a cluster, and with sentinels.
//!
//! Each test starts the servers that it needs, on private ports of the loopback interface. Without redis-server, the tests report
//! themselves as ignored: `scripts/redis` installs it, and runs this.

mod client;
mod cluster;
mod fleet;
mod hub;
mod proxy;
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
        hub:
            cancel_ends_the_contexts_of_all_machines_with_cause_name_and_line,
            context_bound_after_the_cancel_ends_with_its_cause_until_the_ttl,
            first_of_many_cancelers_wins_and_all_see_its_cause,
            connection_cut_between_subscribe_and_read_misses_no_cancel,
            connections_killed_again_and_again_miss_no_cancel,
            server_killed_in_the_middle_of_bind_and_cancel_misses_no_cancel,
            paused_server_holds_no_call_longer_than_its_context_or_the_timeout,
            full_output_buffer_misses_no_cancel,
            clocks_one_minute_apart_change_nothing,
            cancels_survive_a_failover_of_a_cluster,
            cancels_survive_a_failover_through_sentinels,
            registration_ends_with_its_context,
            a_million_binds_leave_nothing_behind,
            invalid_id_is_refused_and_named,
            ended_context_cancels_nothing,
            messages_of_others_change_nothing;
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
