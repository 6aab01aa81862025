//! What is counted, for Prometheus, in OpenMetrics' text.
//!
//! Requests are counted when they are over. What the layer and the policies count by themselves is read when somebody asks.

mod backends;
mod server;

use std::fmt::Write as _;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use ripcord_http::server::{ContextLayer, Finished};

use self::{backends::BackendFigures, server::ServerFigures};
use super::log::method_and_route;
use crate::{connections::Refusals, search::Search};

/// The figures of the service.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
}

/// The labels of a request: few values each, none of them a client's to make up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    /// 504 and 499 also where nobody was there to be told.
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
        registry.register("http_requests", "Requests that are over", Family::clone(&requests));
        registry.register_with_unit(
            "http_request_duration",
            "From a request's arrival to its end",
            Unit::Seconds,
            Family::clone(&durations),
        );
        registry.register_collector(Box::new(ServerFigures { layer, refusals }));
        registry.register_collector(Box::new(BackendFigures(search)));
        Metrics { registry, requests, durations }
    }

    /// Counts a request that is over.
    pub(super) fn count(&self, request: &Finished<'_>) {
        let (method, route) = method_and_route(request);
        let labels = Request { method: method.to_owned(), route: route.to_owned(), status: request.status.as_u16() };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&Route { route: route.to_owned() }).observe(request.took.as_secs_f64());
    }

    /// All figures as of now.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // A string takes what it is given; what cannot be encoded is a name or a figure, and a scraper sees the text end.
            let _ = writeln!(text, "# the rest could not be encoded");
        }
        text
    }
}

/// From a millisecond to eight seconds, which is past the default timeout.
fn duration_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}
