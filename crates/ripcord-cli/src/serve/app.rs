//! The routes and their state.

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
    connections::{Acceptor, Limits, Refusals},
    search::{self, Search},
};

/// The service: the state of its routes.
#[derive(Clone, Debug)]
pub struct Service {
    /// From its end on, `/healthz` reports draining.
    draining: Context,
    /// From its end on, new requests are refused.
    stop: Context,
    layer: ContextLayer,
    max_timeout: Duration,
    limits: Limits,
    trusted_peers: Arc<[IpNet]>,
    search: Search,
    refusals: Refusals,
    metrics: Arc<Metrics>,
    /// `None` if it is not served.
    inspector: Option<Inspector>,
}

impl Service {
    /// Creates a service. Each request has a context below `server`. From the end of `stop` on, new requests are refused.
    ///
    /// The service uses the clock of `server`: see [`Context::with_clock`].
    pub fn new(server: &Context, stop: &Context, settings: &Settings, search: Search) -> Service {
        let inspector = settings.inspector.then(|| {
            // Its streams end when accepting ends, so that the shutdown does not wait for them.
            let inspector = Inspector::builder().context(stop);
            match &settings.inspector_token {
                Some(token) => inspector.token(token.clone()),
                None => inspector,
            }
            .build()
        });
        // The cause names the flag, because a user of the binary cannot look up a line of this file.
        let (timeout, cause) = match settings.max_timeout < settings.timeout {
            true => (settings.max_timeout, "the service's --max-timeout"),
            false => (settings.timeout, "the service's --timeout"),
        };
        let layer = ContextLayer::new(server).timeout_cause(timeout, cause).name(method_and_path);
        let layer = layer.make_id(request_id::make_id);
        let layer = layer.half_close(settings.half_close.into());
        let layer = match &inspector {
            Some(inspector) => layer.inspector(inspector),
            None => layer,
        };
        let refusals = Refusals::default();
        let metrics = Arc::new(Metrics::new(layer.clone(), refusals.clone(), search.clone()));
        let counted = Arc::clone(&metrics);
        // Clones of a layer share their counters.
        let layer = layer.on_end(move |ending| {
            counted.count(ending);
            log::write_line(ending);
        });
        let (max_timeout, trusted_peers) = (settings.max_timeout, settings.trusted_peers.clone().into());
        Service {
            draining: stop.clone(),
            stop: stop.clone(),
            layer,
            max_timeout,
            limits: settings.limits,
            trusted_peers,
            search,
            refusals,
            metrics,
            inspector,
        }
    }

    /// Sets the context from whose end on `/healthz` reports draining. Default: `stop`.
    #[must_use]
    pub fn draining_from(self, draining: &Context) -> Service {
        Service { draining: draining.clone(), ..self }
    }

    /// Returns the routes. A request's [`ConnectInfo`](axum::extract::ConnectInfo) decides whether its peer is trusted.
    pub fn app(&self) -> Router {
        let routes =
            |trust: TrustPolicy| self.routes(self.layer.clone().trust(trust.with_max_timeout(self.max_timeout)));
        by_peer(&self.trusted_peers, routes(TrustPolicy::trusted()), routes(TrustPolicy::untrusted()))
    }

    /// Returns an acceptor that serves the routes and counts malformed requests.
    pub fn acceptor(&self) -> Acceptor {
        Acceptor::new(self.app()).counting(self.refusals.clone()).limits(self.limits)
    }

    fn routes(&self, layer: ContextLayer) -> Router {
        let work = Router::new()
            // `any`, because the chapter's mux ignores the method too.
            .route("/", any(handlers::index))
            .route("/slow", any(handlers::slow))
            .route("/search", get(search::handler::<Service>))
            .fallback(handlers::not_found)
            .layer(middleware::from_fn_with_state(self.clone(), refuse_when_draining));
        let watching = Router::new().route("/healthz", get(handlers::health)).route("/metrics", get(handlers::metrics));
        let app = work.merge(watching).layer(layer).with_state(self.clone());
        match &self.inspector {
            // Outside the layer: it does not show itself, and its streams have no deadline.
            Some(inspector) => {
                app.nest("/debug/contexts", inspector.router()).route("/debug/contexts/", get(without_slash))
            }
            None => app,
        }
    }

    /// Returns whether a load balancer should send requests elsewhere.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_done()
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

/// Redirects to the inspector's path, which has no slash at its end.
async fn without_slash(RawQuery(query): RawQuery) -> Redirect {
    Redirect::permanent(&query.map_or("/debug/contexts".to_owned(), |query| format!("/debug/contexts?{query}")))
}

/// Refuses requests that arrive after the end of accepting. Requests in flight have passed this already.
async fn refuse_when_draining(State(service): State<Service>, request: Request, next: Next) -> Response {
    if !service.stop.is_done() {
        return next.run(request).await;
    }
    let headers = [(CONNECTION, HeaderValue::from_static("close")), (RETRY_AFTER, HeaderValue::from_static("1"))];
    (StatusCode::SERVICE_UNAVAILABLE, headers, "Server is shutting down").into_response()
}
