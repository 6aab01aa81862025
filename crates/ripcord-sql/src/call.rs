//! One operation on a database: its span and its metrics.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;

#[cfg(feature = "tracing")]
use opentelemetry::trace::Status;
use ripcord::{Context, Span, SpanGuard};
#[cfg(feature = "tracing")]
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::Error;

/// The attributes of a database in spans and metrics.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// OpenTelemetry's `db.system.name`.
    pub(crate) system: &'static str,
    /// The name of the database, or of its file.
    pub(crate) name: Arc<str>,
    pub(crate) server: Option<(Arc<str>, u16)>,
    /// Whether spans contain the text of the statement.
    pub(crate) has_text: bool,
}

/// An operation in progress. Dropping it ends its span.
pub(crate) struct Call {
    /// `None` if the span would not be visible anywhere.
    guard: Option<SpanGuard>,
    #[cfg(feature = "metrics")]
    timing: Timing,
}

#[cfg(feature = "metrics")]
struct Timing {
    system: &'static str,
    operation: Cow<'static, str>,
    started: std::time::Instant,
    clock: ripcord::Clock,
}

impl Call {
    /// Starts the span of a statement, named after its first word and the database. Returns the context with the span.
    pub(crate) fn statement(
        ctx: &Context,
        database: &Database,
        sql: &str,
        location: &'static Location<'static>,
    ) -> (Context, Call) {
        Self::start(ctx, database, first_word(sql), Some(sql), location)
    }

    /// Starts the span of an operation that is not one statement, such as a transaction.
    pub(crate) fn start(
        ctx: &Context,
        database: &Database,
        operation: Cow<'static, str>,
        sql: Option<&str>,
        location: &'static Location<'static>,
    ) -> (Context, Call) {
        #[cfg(feature = "metrics")]
        let timing = {
            let clock = ctx.clock();
            Timing { system: database.system, operation: operation.clone(), started: clock.now(), clock }
        };
        // A root span is visible only to a subscriber of `tracing` and in the core's metrics of calls.
        let is_seen = cfg!(any(feature = "metrics", feature = "tracing")) || ctx.value::<Span>().is_some();
        let (ctx, guard) = if is_seen {
            let builder = Span::builder(format!("{operation} {}", database.name)).location(location);
            let (ctx, guard) = builder.start(ctx);
            describe(&guard, database, &operation, sql);
            (ctx, Some(guard))
        } else {
            (ctx.clone(), None)
        };
        let call = Call {
            guard,
            #[cfg(feature = "metrics")]
            timing,
        };
        (ctx, call)
    }

    /// Ends the operation: records its error in the span, and its duration in the metrics.
    pub(crate) fn end(self, error: Option<&Error>) {
        #[cfg(feature = "tracing")]
        // At the context's own end, the guard records the reason. A cancel is no error of the span.
        if let (Some(guard), Some(error)) = (&self.guard, error.filter(|error| !error.is_canceled())) {
            let span = guard.span().tracing_span();
            let code = error.code();
            if error.context_error().is_none() {
                span.set_attribute("db.response.status_code", code.clone());
                span.set_status(Status::error(error.to_string()));
            }
            span.set_attribute("error.type", code);
        }
        #[cfg(feature = "metrics")]
        {
            let Timing { system, operation, started, clock } = &self.timing;
            let took = clock.now().saturating_duration_since(*started);
            crate::metrics::operation_ended(system, operation, error, took);
        }
        let _ = error;
        drop(self.guard);
    }
}

/// Sets the attributes of OpenTelemetry's conventions.
#[cfg(feature = "tracing")]
fn describe(guard: &SpanGuard, database: &Database, operation: &str, sql: Option<&str>) {
    let span = guard.span().tracing_span();
    if span.is_none() {
        return;
    }
    span.record("otel.kind", "client");
    span.set_attribute("db.system.name", database.system);
    span.set_attribute("db.namespace", database.name.to_string());
    span.set_attribute("db.operation.name", operation.to_owned());
    if let Some((host, port)) = &database.server {
        span.set_attribute("server.address", host.to_string());
        span.set_attribute("server.port", i64::from(*port));
    }
    if let Some(sql) = sql.filter(|_| database.has_text) {
        span.set_attribute("db.query.text", sql.to_owned());
    }
}

#[cfg(not(feature = "tracing"))]
fn describe(_: &SpanGuard, database: &Database, _: &str, sql: Option<&str>) {
    let _ = (database.system, database.has_text, &database.server, sql);
}

/// Returns the first word of a statement in upper case, as a name of few values: `SELECT`, or `SQL` if it does not begin with a
/// word.
pub(crate) fn first_word(sql: &str) -> Cow<'static, str> {
    let word = sql.trim_start();
    let length = word.bytes().take_while(u8::is_ascii_alphabetic).count();
    let word = &word[..length];
    for known in ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "COPY", "BEGIN", "COMMIT", "ROLLBACK"] {
        if word.eq_ignore_ascii_case(known) {
            return Cow::Borrowed(known);
        }
    }
    // A longer word is no command.
    if (1..=16).contains(&length) { Cow::Owned(word.to_ascii_uppercase()) } else { Cow::Borrowed("SQL") }
}

#[cfg(test)]
mod tests {
    use super::first_word;

    #[test]
    fn first_word_of_a_statement_is_its_command() {
        for (sql, word) in [
            ("select 1", "SELECT"),
            ("\n  Insert into t values (1)", "INSERT"),
            ("vacuum(full) t", "VACUUM"),
            ("(select 1) union (select 2)", "SQL"),
            ("-- comment\nselect 1", "SQL"),
            ("", "SQL"),
            ("abcdefghijklmnopq", "SQL"),
            ("été", "SQL"),
        ] {
            assert_eq!(first_word(sql), word, "{sql}");
        }
    }
}
