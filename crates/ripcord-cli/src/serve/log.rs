//! The log: a line for each request when it is over, as text or as JSON, on stderr.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, SystemTime},
};

use ripcord_http::{
    RequestId,
    server::{Finished, Outcome},
    trace_context::Traceparent,
};
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

use super::LogFormat;

/// From here on, log lines go to stderr. Until here, as in tests, they go nowhere.
pub(super) fn start(format: LogFormat) {
    let lines = tracing_subscriber::fmt().with_writer(io::stderr).with_target(false).with_timer(Utc);
    // Refused only when there is a subscriber already, and this is the one place that makes one.
    let _ = match format {
        LogFormat::Text => {
            let colours =
                io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            tracing::subscriber::set_global_default(lines.with_ansi(colours).finish())
        }
        LogFormat::Json => tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish()),
    };
}

/// The line of a request that is over.
pub(super) fn tell(request: &Finished<'_>) {
    let (method, route) = method_and_route(request);
    let id = request.ctx.value::<RequestId>().map(RequestId::as_str);
    let trace_id = request.ctx.value::<Traceparent>().map(Traceparent::trace_id);
    let trace_id = trace_id.map(|id| format!("{:032x}", u128::from_be_bytes(id)));
    let (status, duration_ms) = (request.status.as_u16(), milliseconds(request.took));
    macro_rules! line {
        ($level:ident, $message:literal, $cause:expr) => {
            tracing::$level!(method, route, status, duration_ms, request_id = id, trace_id, cause = $cause, $message)
        };
    }
    let cause = request.error.as_ref().map(|error| format!("{error:#}"));
    match &request.outcome {
        Outcome::Answered => line!(info, "Request answered", None::<&str>),
        Outcome::Panicked(message) => line!(error, "Handler panicked", message.as_str()),
        Outcome::Failed => line!(warn, "Request failed", None::<&str>),
        Outcome::Refused(malformed) => line!(info, "Request refused", display(malformed)),
        _ => line!(info, "Request canceled", cause),
    }
}

/// What [`Service`](super::Service) has named the request's Context after.
pub(super) fn method_and_route<'a>(request: &Finished<'a>) -> (&'a str, &'a str) {
    request.ctx.name().and_then(|name| name.split_once(' ')).unwrap_or(("OTHER", "unmatched"))
}

fn milliseconds(took: Duration) -> f64 {
    took.as_micros() as f64 / 1000.0
}

/// UTC to the millisecond.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", humantime::format_rfc3339_millis(SystemTime::now()))
    }
}
