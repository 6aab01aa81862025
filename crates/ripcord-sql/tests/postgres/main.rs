//! A pool with a real Postgres.
//!
//! The server is the newest that is installed, started in a directory of the tests' own. Without one, the tests report themselves as
//! ignored: `scripts/postgres` installs it, and runs this.

mod common;
mod copies;
mod ends;
mod limits;
mod pools;
mod random;
mod server;
mod statements;
mod streams;
mod telemetry;
mod transactions;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use common::Fixture;
use server::Server;

type Test = fn(&Fixture<'_>);

/// Lists tests by their paths.
macro_rules! tests {
    ($($module:ident: $($name:ident),+;)+) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)), |fixture| fixture.run($module::$name)),)+)+]
    };
}

const TESTS: &[(&str, Test)] = tests! {
    statements:
        query_returns_rows_and_execute_counts,
        query_one_and_query_opt_count_rows,
        refused_statement_keeps_the_sqlstate_and_the_line,
        wrong_parameters_leave_the_connection_usable,
        transaction_begun_by_a_statement_is_refused,
        transaction_left_open_by_a_batch_is_rolled_back,
        batch_that_fails_in_its_transaction_leaves_a_clean_connection,
        statement_whose_table_has_changed_is_prepared_again,
        many_texts_do_not_fill_the_server;
    ends:
        long_statement_ends_at_the_deadline,
        cancel_is_reported_with_its_cause_and_line,
        done_context_sends_nothing,
        result_that_arrives_after_the_end_is_returned,
        statement_that_fails_after_the_end_reports_both,
        dropped_statement_is_canceled_in_the_server,
        next_borrower_is_not_hit_by_a_cancel,
        server_that_does_not_answer_costs_the_grace,
        connection_lost_half_way_has_an_unknown_outcome,
        connection_lost_after_the_end_has_an_unknown_outcome,
        result_is_returned_if_the_connection_is_closed_after_it,
        connection_exception_of_a_pooler_has_an_unknown_outcome,
        blocked_result_is_canceled;
    pools:
        wait_for_a_connection_ends_with_its_context,
        server_that_cannot_be_reached_is_transient,
        second_host_is_tried,
        closed_pool_refuses_calls,
        connection_closed_by_the_server_is_replaced,
        wrong_settings_are_refused,
        wait_dropped_in_the_queue_leaves_no_gap;
    limits:
        statement_timeout_is_the_time_left,
        statement_timeout_is_local_in_a_transaction,
        statement_timeout_is_set_again_after_a_rollback_to_a_savepoint,
        statement_timeout_never_exceeds_the_sessions_own,
        statement_timeout_can_be_turned_off,
        without_cancels_the_connection_is_drained_or_closed;
    transactions:
        commit_stores_and_drop_rolls_back,
        rollback_is_done_when_it_returns,
        end_of_the_context_rolls_back_between_statements,
        end_of_a_statements_own_context_leaves_the_transaction,
        commit_after_a_failed_statement_is_an_error,
        savepoint_saves_a_transaction,
        statement_dropped_half_way_ends_the_transaction,
        deferred_constraint_fails_the_commit,
        conflict_is_transient,
        settings_of_the_builder_are_used,
        two_statements_at_once_are_refused;
    streams:
        rows_arrive_one_by_one,
        stream_dropped_early_is_canceled,
        stream_that_nobody_polls_ends_with_its_context,
        stream_reports_the_end,
        error_in_the_middle_of_a_stream_is_the_servers,
        transaction_goes_on_after_a_dropped_stream,
        savepoint_saves_a_transaction_with_a_dropped_stream,
        statement_that_is_not_sent_leaves_a_dropped_stream_to_the_end;
    copies:
        copy_in_and_out,
        copy_in_that_is_refused_leaves_a_clean_pool,
        bad_data_is_reported_by_finish,
        copy_in_dropped_stores_nothing,
        copy_in_that_nobody_writes_ends_with_its_context,
        copy_out_dropped_is_canceled,
        copies_in_a_transaction;
    telemetry:
        statements_are_spans_of_the_callers_line,
        spans_have_the_attributes_of_the_conventions,
        statements_are_recorded_by_operation_and_outcome;
    random:
        cancels_at_every_await_leave_a_clean_pool;
};

#[expect(clippy::print_stderr, reason = "a test that is ignored says why")]
fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests share one server and count its sessions.
    arguments.test_threads = Some(1);
    let server =
        if arguments.list { Err("the tests are only listed".to_owned()) } else { Server::start().map(Arc::new) };
    if let Err(reason) = &server {
        eprintln!("all tests are ignored: {reason}");
    }
    let trials = TESTS.iter().map(|(name, test)| {
        let server = server.clone();
        let is_ignored = server.is_err();
        let run = move || {
            test(&Fixture::new(server.as_ref().expect("it is not ignored")));
            Ok(())
        };
        Trial::test(*name, run).with_ignored_flag(is_ignored)
    });
    let trials: Vec<_> = trials.collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
