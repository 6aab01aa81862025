//! The log on stderr: one line for each finished request, as text or JSON.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, SystemTime},
};

use ripcord_http::{
    RequestId,
    server::{Finished, RequestOutcome},
    trace_context::Traceparent,
};
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

use super::LogFormat;

/// Starts writing log lines to stderr. Without this call, as in tests, log lines are dropped.
pub(super) fn start(format: LogFormat) {
    let lines = tracing_subscriber::fmt().with_writer(io::stderr).with_target(false).with_timer(Utc);
    // This fails only if there already is a subscriber, and no other code sets one.
    let _ = match format {
        LogFormat::Text => {
            let colors =
                io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            tracing::subscriber::set_global_default(lines.with_ansi(colors).finish())
        }
        LogFormat::Json => tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish()),
    };
}

/// Writes the log line of a finished request.
pub(super) fn write_line(request: &Finished<'_>) {
    let (method, route) = (request.method, request.route());
    let id = request.ctx.value::<RequestId>().map(RequestId::as_str);
    let trace_id = request.ctx.value::<Traceparent>().map(Traceparent::trace_id);
    let trace_id = trace_id.map(|id| format!("{:032x}", u128::from_be_bytes(id)));
    let (status, duration_ms) = (request.status.as_u16(), milliseconds(request.took));
    macro_rules! line {
        ($level:ident, $message:literal, $cause:expr) => {
            tracing::$level!(method, route, status, duration_ms, request_id = id, trace_id, cause = $cause, $message)
        };
    }
    let failure = || request.failure.as_ref().map(ToString::to_string);
    let cause = request.error.as_ref().map(describe).or_else(failure);
    match &request.outcome {
        RequestOutcome::Answered => line!(info, "Request answered", cause),
        RequestOutcome::Panicked(message) => line!(error, "Handler panicked", message.as_str()),
        RequestOutcome::Failed => line!(warn, "Request failed", None::<&str>),
        RequestOutcome::Refused(malformed) => line!(info, "Request refused", display(malformed)),
        _ => line!(info, "Request canceled", cause),
    }
}

/// Describes the end of a request's context: the reason, and the name of the context that ended first.
///
/// Unlike `{:#}`, the text has no line of code, because a line of this program does not help an operator. The cause names the
/// setting.
pub(super) fn describe(error: &ripcord::Error) -> String {
    let cause = error.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
    let name = error.origin().name().map(|name| format!(" (in {name})")).unwrap_or_default();
    format!("{error}{cause}{name}")
}

fn milliseconds(took: Duration) -> f64 {
    took.as_micros() as f64 / 1000.0
}

/// The time in UTC, to the millisecond.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", humantime::format_rfc3339_millis(SystemTime::now()))
    }
}
