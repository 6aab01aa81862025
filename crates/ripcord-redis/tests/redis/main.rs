//! The crate with real servers: Debian's redis-server, alone, as a cluster, and with sentinels.
//!
//! Each test starts the servers that it needs, on private ports of the loopback interface. Without redis-server, the tests report
//! themselves as ignored: `scripts/redis` installs it, and runs this.

mod breaker;
mod cache;
mod client;
mod cluster;
mod fleet;
mod hub;
mod limiter;
mod limiter_outage;
mod limiter_rates;
mod metrics;
mod proxy;
mod queue_cancel;
mod queue_endings;
mod queue_faults;
mod queue_jobs;
mod queue_leases;
mod queue_load;
mod queue_process;
mod queue_setup;
mod restarts;
mod sentinel;
mod server;

use std::process::ExitCode;

use cache::{faults as cache_faults, loads as cache_loads, nodes as cache_nodes, values as cache_values};
use libtest_mimic::{Arguments, Trial};

/// Lists tests by their paths.
macro_rules! tests {
    ($($module:ident: $($name:ident),+ $(,)?;)+) => {
        [$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn()),)+)+]
    };
}

fn main() -> ExitCode {
    if let Some(code) = queue_process::run() {
        return code;
    }
    if let Ok(url) = std::env::var(cache_loads::HOLD_LEASE) {
        cache_loads::hold_lease(&url);
        return ExitCode::SUCCESS;
    }
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(limiter_rates::WORKER) {
        limiter_rates::work(&arguments.next().expect("the URL of the server"));
        return ExitCode::SUCCESS;
    }
    let tests = tests! {
        breaker:
            breakers_of_all_machines_open_and_close_together,
            failed_probe_of_one_machine_keeps_all_open,
            machine_that_starts_later_opens_for_the_rest_of_the_time,
            breaker_opened_by_hand_is_not_shared_and_a_reset_closes_all,
            late_message_does_not_open_a_breaker_that_has_closed_since,
            breakers_work_alone_without_redis_and_tell_the_others_afterwards,
            late_change_of_its_own_does_not_open_a_breaker_that_has_closed_since,
            change_that_could_not_be_published_does_not_override_a_later_reset,
            calls_do_not_wait_for_a_paused_server,
            client_clocks_one_minute_apart_change_nothing_for_breakers,
            breakers_follow_a_failover_of_a_cluster,
            breakers_of_keys_are_shared_and_forgotten;
        cache_faults:
            writes_during_an_outage_arrive_after_it,
            loads_during_an_outage_run_directly,
            server_killed_during_a_load_holds_up_no_later_load,
            lease_taken_after_a_long_pause_of_the_server_holds_up_no_load,
            caller_returns_at_its_deadline_while_the_server_is_paused,
            connection_cut_between_read_and_report_leaves_no_old_value,
            connection_closed_because_of_a_full_output_buffer_empties_the_memory,
            values_are_kept_briefly_while_changes_are_not_heard_of,
            refused_changes_hold_up_no_load,
            too_many_refused_changes_become_one_clear;
        cache_loads:
            hundred_callers_on_two_machines_share_one_load,
            failed_load_lets_the_other_machine_load_at_once,
            canceled_load_releases_its_lease_at_once,
            waiting_caller_leaves_at_its_deadline,
            key_removed_during_a_load_is_stored_nowhere,
            dead_machine_loses_its_lease_to_another;
        cache_nodes:
            cache_in_a_cluster_survives_a_failover,
            cache_behind_sentinels_survives_a_failover;
        cache_values:
            value_of_one_machine_is_found_by_another,
            changed_values_leave_the_memory_of_other_machines,
            own_writes_stay_in_memory,
            removal_of_a_key_that_redis_lacks_reaches_other_machines,
            value_keeps_the_time_that_is_left,
            client_clocks_one_minute_apart_change_nothing_for_a_cache,
            expired_value_is_loaded_once_although_the_server_removes_it,
            stale_value_outlives_its_ttl_in_memory_only,
            value_of_another_type_is_loaded_again,
            emptied_database_empties_the_memory,
            refresh_loads_although_redis_has_a_value,
            error_of_a_load_stays_on_its_machine,
            invalid_setting_of_a_cache_is_named;
        client:
            unreachable_server_costs_one_timeout_and_not_one_per_command,
            restarted_server_is_found_again,
            invalid_setting_is_named,
            paused_server_fails_within_the_timeout_and_recovers,
            longest_times_of_a_client_are_accepted,
            server_that_refuses_all_writes_is_unavailable;
        cluster:
            clients_of_a_cluster_see_each_other,
            failed_master_of_a_cluster_is_replaced,
            cluster_without_full_coverage_serves_the_other_masters;
        fleet:
            reports_of_all_members_are_read_until_they_end,
            report_that_is_too_long_is_refused,
            report_with_the_longest_lifetime_is_kept;
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
            cancel_reaches_the_other_machine_without_a_read,
            cancels_survive_a_failover_of_a_cluster,
            hung_master_of_a_cluster_is_replaced_for_the_listener,
            cancels_survive_a_failover_through_sentinels,
            registration_ends_with_its_context,
            a_million_binds_leave_nothing_behind,
            invalid_id_is_refused_and_named,
            ended_context_cancels_nothing,
            messages_of_others_change_nothing;
        limiter:
            two_clients_share_one_bucket,
            canceled_reservation_returns_its_token_to_the_other_client,
            reservation_canceled_mid_queue_is_free_when_those_behind_leave,
            rate_set_by_one_client_applies_to_the_next_decision_of_the_other,
            new_rate_ends_a_denial_and_moves_a_waiter,
            wait_that_cannot_end_before_the_deadline_takes_nothing,
            canceled_wait_returns_its_token,
            wait_dropped_before_the_answer_returns_its_token,
            each_decision_is_one_script_call,
            denied_key_costs_no_command_until_its_tokens_come,
            idle_bucket_expires_when_it_is_full,
            token_returned_by_another_client_ends_no_denial,
            random_operations_end_as_in_one_process,
            token_of_a_call_that_a_stack_does_not_send_returns,
            synchronous_calls_work_inside_a_current_thread_runtime,
            many_synchronous_calls_work_in_a_task_that_does_not_yield,
            clock_of_a_client_does_not_matter,
            clients_of_a_cluster_share_a_bucket_across_a_failover,
            clients_through_sentinels_share_a_bucket_across_a_failover;
        limiter_outage:
            open_limiter_grants_everything_during_an_outage,
            closed_limiter_refuses_everything_during_an_outage,
            local_limiter_grants_its_share_once_over_several_outages,
            denied_key_stays_denied_when_the_limiter_becomes_local,
            error_of_the_server_counts_as_an_outage,
            data_lost_by_the_server_is_not_remembered,
            outage_costs_one_timeout_and_not_one_per_request,
            server_killed_and_restarted_under_load_leaves_nothing_hanging,
            server_paused_for_two_seconds_under_load_leaves_nothing_hanging;
        limiter_rates:
            four_processes_get_at_most_the_rate_and_one_burst,
            four_processes_without_redis_get_at_most_the_rate_and_their_bursts;
        metrics:
            hub_and_breakers_record_their_counters,
            limiter_and_client_record_their_mode_and_counters;
        queue_cancel:
            canceled_waiting_job_never_runs,
            canceled_running_job_ends_with_cause_and_canceler_and_is_not_retried,
            first_of_two_cancelers_wins,
            cancel_that_is_not_heard_is_read_with_the_next_extension,
            cancel_survives_a_cut_connection,
            canceled_job_of_a_dead_worker_does_not_run_again,
            dead_letter_is_not_canceled;
        queue_endings:
            dropped_worker_disconnects_its_client,
            jobs_of_a_dropped_runtime_wait_again,
            panic_while_a_job_is_read_makes_a_dead_letter,
            panic_while_an_error_is_printed_makes_a_dead_letter,
            panic_of_a_retry_makes_a_dead_letter,
            queue_deleted_before_a_job_starts_runs_later_jobs,
            overwritten_job_holds_up_no_other_job,
            longest_times_and_highest_concurrency_of_a_queue_are_accepted;
        queue_faults:
            server_killed_in_the_middle_of_every_operation_loses_no_job,
            workers_and_server_killed_at_random_lose_no_job,
            paused_server_holds_no_call_longer_than_its_deadline_and_no_worker,
            clocks_one_minute_apart_change_no_deadline_and_no_delay,
            failover_of_a_cluster_loses_no_job,
            failover_through_sentinels_loses_no_job;
        queue_jobs:
            submitted_job_runs_and_is_deleted,
            job_has_the_deadline_and_the_trace_of_its_submitter,
            same_key_adds_no_second_job_even_after_the_first_is_done,
            key_is_forgotten_after_its_time,
            slow_handler_holds_up_no_other_job,
            draining_worker_finishes_running_jobs_and_takes_no_new_ones,
            shutdown_waits_for_the_worker,
            ended_worker_returns_its_jobs_at_once,
            dropped_worker_returns_its_jobs,
            failed_job_is_retried_as_the_retry_says_and_then_is_a_dead_letter,
            panic_of_a_handler_is_a_failure_with_its_message,
            job_whose_deadline_has_passed_does_not_start,
            job_is_dropped_at_its_deadline_and_not_retried,
            retry_that_would_start_after_the_deadline_is_not_made,
            job_of_another_form_is_a_dead_letter,
            delayed_job_starts_after_its_delay,
            jobs_and_dead_letters_are_listed_resent_and_deleted,
            statistics_are_reported_as_metrics,
            invalid_setting_of_a_queue_is_named;
        queue_leases:
            job_of_a_killed_worker_is_taken_over,
            job_that_kills_its_workers_is_a_dead_letter,
            paused_server_ends_the_lease_with_a_cause_and_the_job_runs_again,
            taken_over_job_ends_at_its_old_worker_with_a_cause,
            paused_worker_process_loses_its_job_to_another,
            handler_that_blocks_its_thread_keeps_its_lease;
        queue_load:
            each_job_is_done_although_a_worker_is_killed_again_and_again;
        restarts:
            server_killed_in_the_middle_of_any_call_fails_it_at_most_and_the_next_calls_work;
        sentinel:
            clients_through_sentinels_see_each_other,
            hung_sentinel_keeps_no_client_from_the_master,
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
    let mut arguments = Arguments::from_args();
    // Most tests wait for servers of their own most of the time.
    arguments.test_threads = arguments.test_threads.or(Some(6));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
