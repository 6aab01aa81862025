//! Metrics through the facade crate `metrics`.

use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::Error;

const DURATION: &str = "ripcord_sql_operation_duration_seconds";
const WAIT: &str = "ripcord_sql_connection_wait_seconds";
const DISCARDED: &str = "ripcord_sql_connections_discarded_total";
const CANCELS: &str = "ripcord_sql_cancels_total";

/// Registers the help texts and units of this crate's metrics with the recorder of the crate `metrics`. Call this function once,
/// after you have installed the recorder.
///
/// # Metrics
///
/// | metric | type | labels |
/// |---|---|---|
/// | `ripcord_sql_operation_duration_seconds`: duration of a statement, a COPY or a transaction, including the wait for a connection | histogram | `system`, `operation`, `outcome` |
/// | `ripcord_sql_connection_wait_seconds`: time until a connection was free or opened | histogram | `system` |
/// | `ripcord_sql_cancels_total`: for Postgres, cancel requests sent to the server; for SQLite, statements that were stopped | counter | `system` |
/// | `ripcord_sql_connections_discarded_total`: connections that were closed because they could not be made clean: see `discarded` of `PoolStats` | counter | `system` |
///
/// | label | values |
/// |---|---|
/// | `system` | `postgresql` or `sqlite` |
/// | `operation` | the first word of the statement, such as `SELECT`; `SQL` if the statement starts with something else; `transaction`; for `sqlite::Pool::run`, `run` |
/// | `outcome` | `ok`, `timeout`, `canceled`, `connection` (no connection, or a lost one), `closed` (the pool is closed), Postgres' SQLSTATE, SQLite's name of an error, or `_OTHER` |
pub fn describe_metrics() {
    describe_histogram!(DURATION, Unit::Seconds, "Duration of an operation, with the wait for a connection.");
    describe_histogram!(WAIT, Unit::Seconds, "Time until a connection was free, or was opened.");
    describe_counter!(CANCELS, Unit::Count, "Statements that were canceled in the database.");
    describe_counter!(DISCARDED, Unit::Count, "Connections that were closed because their state was not known.");
}

pub(crate) fn operation_ended(system: &'static str, operation: &str, error: Option<&Error>, took: Duration) {
    let outcome = error.map_or_else(|| "ok".to_owned(), Error::code);
    histogram!(DURATION, "system" => system, "operation" => operation.to_owned(), "outcome" => outcome)
        .record(took.as_secs_f64());
}

pub(crate) fn waited(system: &'static str, time: Duration) {
    histogram!(WAIT, "system" => system).record(time.as_secs_f64());
}

pub(crate) fn canceled(system: &'static str) {
    counter!(CANCELS, "system" => system).increment(1);
}

pub(crate) fn discarded(system: &'static str) {
    counter!(DISCARDED, "system" => system).increment(1);
}
