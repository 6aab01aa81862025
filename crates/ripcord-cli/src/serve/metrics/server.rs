//! The figures of the layer, and of requests that are refused before it.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use ripcord_http::server::ContextLayer;

use crate::connections::Refusals;

/// The figures of the server.
#[derive(Debug)]
pub(super) struct ServerFigures {
    pub(super) layer: ContextLayer,
    pub(super) refusals: Refusals,
}

impl Collector for ServerFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.layer.stats();
        let in_flight = ConstGauge::new(stats.in_flight as i64);
        let help = "Requests in flight.";
        in_flight.encode(encoder.encode_descriptor(
            "http_requests_in_flight",
            help,
            None,
            in_flight.metric_type(),
        )?)?;

        let counters = [
            ("http_requests_started", "Requests that have arrived.", stats.requests),
            ("http_requests_timed_out", "Requests that ended at their deadline.", stats.timed_out),
            ("http_requests_canceled", "Requests that the server canceled.", stats.canceled),
            ("http_requests_disconnected", "Requests whose client disconnected.", stats.disconnected),
            ("http_requests_panicked", "Requests whose handler panicked.", stats.panicked),
        ];
        for (name, help, count) in counters {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }

        let help = "Deadlines in headers: received, clamped to the server's limit, expired on arrival.";
        let mut deadlines = encoder.encode_descriptor("http_deadlines", help, None, MetricType::Counter)?;
        let kinds =
            [("received", stats.deadlines_received), ("clamped", stats.deadlines_clamped), ("expired", stats.expired)];
        for (kind, count) in kinds {
            ConstCounter::new(count).encode(deadlines.encode_family(&[("kind", kind)])?)?;
        }
        let help = "Malformed headers.";
        let mut malformed = encoder.encode_descriptor("http_malformed_headers", help, None, MetricType::Counter)?;
        for (header, count) in stats.malformed() {
            ConstCounter::new(count).encode(malformed.encode_family(&[("header", header)])?)?;
        }
        let help = "Requests refused because they do not parse as HTTP or are too large, by status.";
        let mut refusals = encoder.encode_descriptor("http_refusals", help, None, MetricType::Counter)?;
        for (status, count) in self.refusals.by_status() {
            ConstCounter::new(count).encode(refusals.encode_family(&[("status", status)])?)?;
        }
        Ok(())
    }
}
