//! The metrics, for Prometheus.
//!
//! Requests are counted when they end. The counters of the layer, the policies and the process are read at each scrape.

mod backends;
mod format;
mod process;
mod server;

use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use ripcord_http::server::{ContextLayer, Finished};

pub(super) use self::format::Format;
use self::{backends::BackendFigures, format::to_prometheus, process::ProcessFigures, server::ServerFigures};
use super::log::method_and_route;
use crate::{connections::Refusals, search::Search};

/// The metrics of the service.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// The metrics with standard names.
    standard: Registry,
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
}

/// The labels of a request. Each has few values, and no client can invent one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    /// The status for logs and metrics: 504 and 499 are counted even if no answer could be sent.
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

impl Metrics {
    pub(super) fn new(layer: ContextLayer, refusals: Refusals, search: Search) -> Metrics {
        let requests = Family::default();
        let durations = Family::new_with_constructor(duration_buckets as fn() -> Histogram);
        let mut registry = Registry::with_prefix("ripcord");
        registry.register("http_requests", "Requests that have ended", Family::clone(&requests));
        registry.register_with_unit(
            "http_request_duration",
            "From a request's arrival to its end",
            Unit::Seconds,
            Family::clone(&durations),
        );
        registry.register_collector(Box::new(ServerFigures { layer, refusals }));
        registry.register_collector(Box::new(BackendFigures(search)));
        // The standard names have no prefix.
        let mut standard = Registry::default();
        standard.register_collector(Box::new(ProcessFigures));
        Metrics { registry, standard, requests, durations }
    }

    /// Counts a request that has ended.
    pub(super) fn count(&self, request: &Finished<'_>) {
        let (method, route) = method_and_route(request);
        let labels = Request { method: method.to_owned(), route: route.to_owned(), status: request.status.as_u16() };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&Route { route: route.to_owned() }).observe(request.took.as_secs_f64());
    }

    /// Returns all metrics in this format.
    pub(super) fn text(&self, format: Format) -> String {
        let mut text = String::new();
        let encoded =
            encode_registry(&mut text, &self.registry).and_then(|()| encode_registry(&mut text, &self.standard));
        match encoded.and_then(|()| encode_eof(&mut text)) {
            Ok(()) => {}
            // Without the end, a scraper rejects the text.
            Err(_) => text.push_str("# the rest could not be encoded\n"),
        }
        match format {
            Format::OpenMetrics => text,
            Format::Prometheus => to_prometheus(&text),
        }
    }
}

/// Returns buckets from a millisecond to eight seconds, which is above the default timeout.
fn duration_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}
