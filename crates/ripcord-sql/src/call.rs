//! One operation on a database: its span and its metrics.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

#[cfg(feature = "tracing")]
use opentelemetry::trace::Status;
use ripcord::{Clock, Context, Span, SpanGuard};
#[cfg(feature = "tracing")]
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::Error;

/// What spans and metrics tell about a database.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// OpenTelemetry's `db.system.name`.
    pub(crate) system: &'static str,
    /// The name of the database, or of its file.
    pub(crate) name: Arc<str>,
    pub(crate) server: Option<(Arc<str>, u16)>,
    /// Whether spans have the text of the statement.
    pub(crate) has_text: bool,
}

/// An operation in progress. Its span ends when this is dropped.
pub(crate) struct Call {
    guard: SpanGuard,
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "a label"))]
    system: &'static str,
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "a label"))]
    operation: Cow<'static, str>,
    started: Instant,
    clock: Clock,
}

impl Call {
    /// Starts the span of a statement, named after its first word and the database. Returns its context.
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
        let clock = ctx.clock();
        let started = clock.now();
        let (ctx, guard) = Span::builder(format!("{operation} {}", database.name)).location(location).start(ctx);
        let call = Call { guard, system: database.system, operation, started, clock };
        call.describe(database, sql);
        (ctx, call)
    }

    #[cfg(feature = "tracing")]
    fn describe(&self, database: &Database, sql: Option<&str>) {
        let span = self.guard.span().tracing_span();
        if span.is_none() {
            return;
        }
        span.record("otel.kind", "client");
        span.set_attribute("db.system.name", database.system);
        span.set_attribute("db.namespace", database.name.to_string());
        span.set_attribute("db.operation.name", self.operation.to_string());
        if let Some((host, port)) = &database.server {
            span.set_attribute("server.address", host.to_string());
            span.set_attribute("server.port", i64::from(*port));
        }
        if let Some(sql) = sql.filter(|_| database.has_text) {
            span.set_attribute("db.query.text", sql.to_owned());
        }
    }

    #[cfg(not(feature = "tracing"))]
    fn describe(&self, database: &Database, sql: Option<&str>) {
        let _ = (database.has_text, &database.server, sql);
    }

    /// Ends the operation: records its error in the span, and its duration in the metrics.
    pub(crate) fn end(self, error: Option<&Error>) {
        let took = self.clock.now().saturating_duration_since(self.started);
        #[cfg(feature = "tracing")]
        // At the context's own end, the guard records the reason. A cancel is no error of the span.
        if let Some(error) = error.filter(|error| !error.is_canceled()) {
            let span = self.guard.span().tracing_span();
            let code = error.code();
            if error.context_error().is_none() {
                span.set_attribute("db.response.status_code", code.clone());
                span.set_status(Status::error(error.to_string()));
            }
            span.set_attribute("error.type", code);
        }
        #[cfg(feature = "metrics")]
        crate::metrics::operation_ended(self.system, &self.operation, error, took);
        #[cfg(not(feature = "metrics"))]
        let _ = took;
        let _ = error;
        drop(self.guard);
    }
}

/// Returns the first word of a statement in upper case, as a name of few values: `SELECT`, or `SQL` if it does not begin with a word.
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
