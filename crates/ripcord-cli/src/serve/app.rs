//! The routes, and what they share.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRef, RawQuery, Request, State},
    http::{HeaderValue, StatusCode, header::CONNECTION, header::RETRY_AFTER},
    middleware::{self, Next},
    response::{IntoResponse as _, Redirect, Response},
    routing::{any, get},
};
use ipnet::IpNet;
use ripcord::Context;
use ripcord_http::{
    TrustPolicy,
    inspector::Inspector,
    server::{ContextLayer, method_and_path},
};

use super::{Settings, handlers, log, metrics::Metrics, peers::by_peer, request_id};
use crate::{
    connections::{Acceptor, Refusals},
    search::{self, Search},
};

/// The service: what its routes share.
#[derive(Clone, Debug)]
pub struct Service {
    stop: Context,
    layer: ContextLayer,
    max_timeout: Duration,
    trusted_peers: Arc<[IpNet]>,
    search: Search,
    refusals: Refusals,
    metrics: Arc<Metrics>,
    inspector: Inspector,
}

impl Service {
    /// A service whose requests have a Context each, below `server`. From the end of `stop` on it takes no new ones.
    ///
    /// Time is `server`'s: give it a clock of your own ([`Context::with_clock`]) and the whole service follows it.
    pub fn new(server: &Context, stop: &Context, settings: &Settings, search: Search) -> Service {
        // Its streams end when the accepting does, so that the shutdown does not wait for whoever watches.
        let inspector = Inspector::builder().context(stop);
        let inspector = match &settings.inspector_token {
            Some(token) => inspector.token(token.clone()),
            None => inspector,
        };
        let inspector = inspector.build();
        let layer =
            ContextLayer::new(server).timeout(settings.timeout).name(method_and_path).make_id(request_id::make_id);
        let layer = layer.half_close(settings.half_close.into()).inspector(&inspector);
        let refusals = Refusals::default();
        let metrics = Arc::new(Metrics::new(layer.clone(), refusals.clone(), search.clone()));
        let counted = Arc::clone(&metrics);
        // Clones of a layer share what they count.
        let layer = layer.on_end(move |ending| {
            counted.count(ending);
            log::tell(ending);
        });
        let (max_timeout, trusted_peers) = (settings.max_timeout, settings.trusted_peers.clone().into());
        Service { stop: stop.clone(), layer, max_timeout, trusted_peers, search, refusals, metrics, inspector }
    }

    /// Its routes. Which peers are trusted goes by the [`ConnectInfo`](axum::extract::ConnectInfo) of a request, if it has one.
    pub fn app(&self) -> Router {
        let routes =
            |trust: TrustPolicy| self.routes(self.layer.clone().trust(trust.with_max_timeout(self.max_timeout)));
        by_peer(&self.trusted_peers, routes(TrustPolicy::trusted()), routes(TrustPolicy::untrusted()))
    }

    /// What serves them, and counts what is no request.
    pub fn acceptor(&self) -> Acceptor {
        Acceptor::new(self.app()).counting(self.refusals.clone())
    }

    fn routes(&self, layer: ContextLayer) -> Router {
        let work = Router::new()
            // `any`, since the chapter's mux does not look at the method either.
            .route("/", any(handlers::index))
            .route("/slow", any(handlers::slow))
            .route("/search", get(search::handler::<Service>))
            .fallback(handlers::not_found)
            .layer(middleware::from_fn_with_state(self.clone(), refuse_when_draining));
        let watching = Router::new().route("/healthz", get(handlers::health)).route("/metrics", get(handlers::metrics));
        let app = work.merge(watching).layer(layer).with_state(self.clone());
        // Outside of the layer: it does not show itself, and whoever watches has no deadline.
        app.nest("/debug/contexts", self.inspector.router()).route("/debug/contexts/", get(without_slash))
    }

    /// Whether the service was told to stop.
    pub(super) fn is_draining(&self) -> bool {
        self.stop.is_done()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl FromRef<Service> for Search {
    fn from_ref(service: &Service) -> Search {
        service.search.clone()
    }
}

/// What is nested has no slash at its end; whoever writes one is shown the way.
async fn without_slash(RawQuery(query): RawQuery) -> Redirect {
    Redirect::permanent(&query.map_or("/debug/contexts".to_owned(), |query| format!("/debug/contexts?{query}")))
}

/// Requests that come after the signal are sent elsewhere. Those that are in flight by then do not come by here again.
async fn refuse_when_draining(State(service): State<Service>, request: Request, next: Next) -> Response {
    if !service.is_draining() {
        return next.run(request).await;
    }
    let headers = [(CONNECTION, HeaderValue::from_static("close")), (RETRY_AFTER, HeaderValue::from_static("1"))];
    (StatusCode::SERVICE_UNAVAILABLE, headers, "Server is shutting down").into_response()
}
