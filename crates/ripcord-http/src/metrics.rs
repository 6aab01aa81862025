//! Metrics through the facade crate `metrics`.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use ripcord::Context;

use crate::client::Call;
use crate::server::{ContextLayer, Finished, ServerStats};

const COUNTERS: &[(&str, &str)] = &[
    ("ripcord_http_requests_total", "Requests that have ended."),
    ("ripcord_http_requests_started_total", "Requests that have arrived."),
    ("ripcord_http_requests_timed_out_total", "Requests that ended at their deadline."),
    ("ripcord_http_requests_canceled_total", "Requests whose context was canceled, other than by their client."),
    ("ripcord_http_requests_disconnected_total", "Requests whose client disconnected."),
    ("ripcord_http_requests_panicked_total", "Requests whose handler panicked."),
    ("ripcord_http_requests_failed_total", "Requests whose service or body failed."),
    ("ripcord_http_requests_refused_total", "Requests refused for a malformed header."),
    (
        "ripcord_http_deadlines_total",
        "Deadlines in headers: received, clamped to the server's limit, expired on arrival.",
    ),
    ("ripcord_http_malformed_headers_total", "Malformed headers."),
];

const GAUGES: &[(&str, &str)] = &[
    ("ripcord_http_requests_in_flight", "Requests in flight."),
    ("ripcord_http_contexts_held", "Requests whose context is still held."),
    ("ripcord_http_detached", "Pieces of work that are detached from their request."),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    ("ripcord_http_request_duration_seconds", "From a request's arrival to its end."),
    ("ripcord_http_request_time_left_seconds", "Time left when a request arrived."),
    ("ripcord_http_request_overrun_seconds", "Time from the end of a request's context to the end of the request."),
    ("ripcord_http_client_time_left_seconds", "Time left when a call was sent."),
];

/// Registers the help texts and units of this crate's metrics with the recorder of the crate `metrics`.
///
/// Call this function once, after you have installed the recorder:
///
/// ```
/// use ripcord::Context;
/// use ripcord_http::server::ContextLayer;
///
/// // Once, after an exporter was installed:
/// ripcord_http::describe_metrics();
///
/// let layer = ContextLayer::new(&Context::background()).on_end(|request| request.record_metrics());
/// // In the handler of `/metrics`, before the exporter renders:
/// layer.record_metrics();
/// ```
///
/// # Metrics
///
/// | metric | type | labels | recorded by |
/// |---|---|---|---|
/// | `ripcord_http_requests_total` | counter | `method`, `route`, `status` | [`Finished::record_metrics`] |
/// | `ripcord_http_request_duration_seconds` | histogram | `route` | [`Finished::record_metrics`] |
/// | `ripcord_http_request_time_left_seconds`: time left when a request with a deadline arrived | histogram | `route` | [`Finished::record_metrics`] |
/// | `ripcord_http_request_overrun_seconds`: time from the end of the context to the end of the request, if the context ended before the response was complete | histogram | `route` | [`Finished::record_metrics`] |
/// | `ripcord_http_requests_in_flight`, `ripcord_http_contexts_held`, `ripcord_http_detached` | gauge | | [`ContextLayer::record_metrics`] |
/// | `ripcord_http_requests_started_total`, `_timed_out_total`, `_canceled_total`, `_disconnected_total`, `_panicked_total`, `_failed_total`, `_refused_total` | counter | | [`ContextLayer::record_metrics`] |
/// | `ripcord_http_deadlines_total` | counter | `kind`: `received`, `clamped` (the client asked for more time than the server's limit), `expired` (no time was left on arrival) | [`ContextLayer::record_metrics`] |
/// | `ripcord_http_malformed_headers_total` | counter | `header` | [`ContextLayer::record_metrics`] |
/// | `ripcord_http_client_time_left_seconds`: time left when a call with a deadline was sent | histogram | `host` | every call |
///
/// The labels `method`, `route` and `status` are [`Finished::method`], [`Finished::route`] and [`Finished::status`]. `header` is
/// the name of the malformed header, and `host` is the host in the URL of the call.
///
/// The metrics that [`ContextLayer::record_metrics`] records are the fields of [`ServerStats`], which describes them.
pub fn describe_metrics() {
    for &(metric, help) in COUNTERS {
        describe_counter!(metric, Unit::Count, help);
    }
    for &(metric, help) in GAUGES {
        describe_gauge!(metric, Unit::Count, help);
    }
    for &(metric, help) in HISTOGRAMS {
        describe_histogram!(metric, Unit::Seconds, help);
    }
}

impl Finished<'_> {
    /// Records this request with the recorder of the crate `metrics`. [`describe_metrics`] lists the metrics.
    ///
    /// Call this method in the function for [`ContextLayer::on_end`].
    pub fn record_metrics(&self) {
        let route = self.route();
        let status = self.status.as_u16().to_string();
        let labels = [("method", self.method.to_owned()), ("route", route.to_owned()), ("status", status)];
        counter!("ripcord_http_requests_total", &labels).increment(1);
        let record = |metric: &'static str, value: f64| histogram!(metric, "route" => route.to_owned()).record(value);
        record("ripcord_http_request_duration_seconds", self.took.as_secs_f64());
        if let Some(left) = self.time_left_at_start() {
            record("ripcord_http_request_time_left_seconds", left.as_secs_f64());
        }
        if let Some(overrun) = self.overrun() {
            record("ripcord_http_request_overrun_seconds", overrun.as_secs_f64());
        }
    }
}

impl ContextLayer {
    /// Copies the layer's [`stats`](ContextLayer::stats) to the recorder of the crate `metrics`. [`describe_metrics`] lists the
    /// metrics.
    ///
    /// Call this method before each scrape, or at an interval. Call it for one layer only: the metrics have no label for the layer,
    /// so a second layer that is not a clone of the first would overwrite them.
    pub fn record_metrics(&self) {
        let stats: ServerStats = self.stats();
        gauge!("ripcord_http_requests_in_flight").set(stats.in_flight as f64);
        gauge!("ripcord_http_contexts_held").set(stats.held as f64);
        gauge!("ripcord_http_detached").set(stats.detached as f64);
        for (outcome, count) in [
            ("started", stats.requests),
            ("timed_out", stats.timed_out),
            ("canceled", stats.canceled),
            ("disconnected", stats.disconnected),
            ("panicked", stats.panicked),
            ("failed", stats.failed),
            ("refused", stats.refused),
        ] {
            counter!(format!("ripcord_http_requests_{outcome}_total")).absolute(count);
        }
        for (kind, count) in
            [("received", stats.deadlines_received), ("clamped", stats.deadlines_clamped), ("expired", stats.expired)]
        {
            counter!("ripcord_http_deadlines_total", "kind" => kind).absolute(count);
        }
        for (header, count) in stats.malformed() {
            counter!("ripcord_http_malformed_headers_total", "header" => header).absolute(count);
        }
    }
}

/// Records the time left for a call that is being sent.
pub(crate) fn call_sent(ctx: &Context, call: &Call) {
    if let Some(left) = ctx.remaining() {
        let metric = histogram!("ripcord_http_client_time_left_seconds", "host" => call.host());
        metric.record(left.as_secs_f64());
    }
}
