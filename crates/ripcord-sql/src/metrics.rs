//! Metrics through the facade crate `metrics`.

use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::Error;

const DURATION: &str = "ripcord_sql_operation_duration_seconds";
const WAIT: &str = "ripcord_sql_connection_wait_seconds";
const DISCARDED: &str = "ripcord_sql_connections_discarded_total";
const CANCELS: &str = "ripcord_sql_cancels_total";

/// Gives the recorder of the crate `metrics` the help texts of this crate's metrics. Call it once, after the recorder is installed.
///
/// With the feature `metrics`, these are recorded:
///
/// | metric | type | labels | meaning |
/// |---|---|---|---|
/// | `ripcord_sql_operation_duration_seconds` | histogram | `system`, `operation`, `outcome` | duration of a statement, a COPY or a transaction, with the wait for a connection. `outcome` is `ok`, or the error's code |
/// | `ripcord_sql_connection_wait_seconds` | histogram | `system` | time until a connection was free, or was opened |
/// | `ripcord_sql_cancels_total` | counter | `system` | statements that were canceled in the database |
/// | `ripcord_sql_connections_discarded_total` | counter | `system` | connections that were closed because nothing answered in time, or because their state was not known |
///
/// `system` is `postgresql` or `sqlite`. `operation` is the first word of a statement, such as `SELECT`, or `transaction`. A code is
/// `timeout`, `canceled`, `connection`, Postgres' SQLSTATE, or SQLite's name of an error.
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
