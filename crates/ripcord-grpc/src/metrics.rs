//! Metrics through the facade crate `metrics`.

use std::borrow::Cow;

use ::metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::Code;
use crate::server::Call;

const CALLS: &str = "ripcord_grpc_calls_total";
const DURATION: &str = "ripcord_grpc_call_duration_seconds";
const TIME_LEFT: &str = "ripcord_grpc_call_time_left_seconds";
const OVERRUN: &str = "ripcord_grpc_call_overrun_seconds";
const CLIENT_CALLS: &str = "ripcord_grpc_client_calls_total";

/// Registers the help texts and units of this crate's metrics with the recorder of the crate `metrics`. Call this function once,
/// after you have installed the recorder.
///
/// # Metrics
///
/// | metric | type | labels | recorded by |
/// |---|---|---|---|
/// | `ripcord_grpc_calls_total`: calls of a server that have ended | counter | `code`, `method` | [`Call::record_metrics`] |
/// | `ripcord_grpc_call_duration_seconds`: time from a call's arrival to its end | histogram | `method` | [`Call::record_metrics`] |
/// | `ripcord_grpc_call_time_left_seconds`: time left when a call with a deadline arrived | histogram | `method` | [`Call::record_metrics`] |
/// | `ripcord_grpc_call_overrun_seconds`: time from the end of a call's context to the end of the call, if a deadline, an idle timeout, a cancel or a disconnect ended the context first | histogram | `method` | [`Call::record_metrics`] |
/// | `ripcord_grpc_client_calls_total`: calls of a client that have ended. A call that is dropped before its code is known has the code `CANCELLED` | counter | `code`, `method` | every call of a [`ClientLayer`](crate::ClientLayer) |
///
/// On a server, `method` is the name of the call's context. Pass [`server::method`](crate::server::method) to `ContextLayer::name`
/// to use the path of the gRPC method. On a client, `method` is the path of the request. `code` is the name of the status code,
/// such as `DEADLINE_EXCEEDED`.
///
/// The feature `metrics` turns on the feature `metrics` of `ripcord-http`, which records the time left of a client's calls as
/// `ripcord_http_client_time_left_seconds`. Call `ripcord_http::describe_metrics` too.
///
/// ```
/// use ripcord::Context;
/// use ripcord_grpc::{ServerLayer, server};
/// use ripcord_http::server::ContextLayer;
///
/// // Once, after an exporter was installed:
/// ripcord_grpc::describe_metrics();
///
/// let http = ContextLayer::new(&Context::background()).name(server::method);
/// let layer = ServerLayer::new(http).on_end(|call| call.record_metrics());
/// ```
pub fn describe_metrics() {
    describe_counter!(CALLS, Unit::Count, "Calls that have ended, by method and code.");
    describe_counter!(CLIENT_CALLS, Unit::Count, "Calls of a client that have ended, by method and code.");
    describe_histogram!(DURATION, Unit::Seconds, "From a call's arrival to its end.");
    describe_histogram!(TIME_LEFT, Unit::Seconds, "Time left when a call arrived.");
    describe_histogram!(OVERRUN, Unit::Seconds, "Time from the end of a call's context to the end of the call.");
}

impl Call<'_> {
    /// Records this call with the recorder of the crate `metrics`. [`describe_metrics`] lists the metrics. Call this method in the
    /// function for [`ServerLayer::on_end`](crate::ServerLayer::on_end).
    ///
    /// A request that is not a gRPC request is not recorded.
    pub fn record_metrics(&self) {
        let Some(code) = self.code else { return };
        let method = self.request.ctx.name().unwrap_or("unmatched");
        counter!(CALLS, "code" => code.name(), "method" => method.to_owned()).increment(1);
        let record = |metric, value: f64| histogram!(metric, "method" => method.to_owned()).record(value);
        record(DURATION, self.request.took.as_secs_f64());
        if let Some(left) = self.request.time_left_at_start() {
            record(TIME_LEFT, left.as_secs_f64());
        }
        if let Some(overrun) = self.request.overrun() {
            record(OVERRUN, overrun.as_secs_f64());
        }
    }
}

/// Records the end of a client's call.
pub(crate) fn client_call_ended(method: Cow<'static, str>, code: Code) {
    counter!(CLIENT_CALLS, "code" => code.name(), "method" => method).increment(1);
}
