//! The routes and their state.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRef, RawQuery},
    response::Redirect,
    routing::{any, get, post},
};
use ipnet::IpNet;
use ripcord::Shutdown;
use ripcord_http::{
    Limits, Refusal, TrustPolicy,
    inspector::Inspector,
    server::{ContextLayer, method_and_path},
};

use tokio::net::TcpListener;

use super::{
    Error, Fleet, Settings, handlers, jobs, log,
    metrics::{Metrics, Recorder, Refusals},
    peers::by_peer,
    request_id,
};
use crate::search::{self, Search};

/// The reference service. Holds the state of its routes.
#[derive(Clone, Debug)]
pub struct Service {
    shutdown: Shutdown,
    layer: ContextLayer,
    max_timeout: Duration,
    limits: Limits,
    trusted_peers: Arc<[IpNet]>,
    search: Search,
    refusals: Refusals,
    metrics: Arc<Metrics>,
    /// `None` if the inspector is not served.
    inspector: Option<Inspector>,
    /// `None` if the service shares nothing.
    fleet: Option<Fleet>,
}

impl Service {
    /// Creates a service with these settings. The service drains when `shutdown` starts.
    ///
    /// The context of each request is derived from the context of `shutdown` and has the same clock. `/search` uses `search`.
    /// `/metrics` shows the metrics of `recorder`. If `inspector` is `Some`, its pages are served at `/debug/contexts`. If
    /// `fleet` is `Some` too, its page is served at `/debug/fleet`, and the services of the fleet can cancel requests of this service.
    pub fn new(
        shutdown: &Shutdown,
        settings: &Settings,
        search: Search,
        recorder: Recorder,
        inspector: Option<Inspector>,
        fleet: Option<Fleet>,
    ) -> Service {
        // The cause names the flag, because a line of this file does not help an operator.
        let (timeout, flag) = match settings.max_timeout < settings.timeout {
            true => (settings.max_timeout, "--max-timeout"),
            false => (settings.timeout, "--timeout"),
        };
        let cause = format!("the service's {flag} of {timeout:?}");
        let layer = ContextLayer::new(shutdown.context()).timeout_cause(timeout, cause).name(method_and_path);
        let layer = layer.make_id(request_id::make_id);
        // `remote_cancel` applies only to trusted peers.
        let layer = layer.half_close(settings.half_close.into()).remote_cancel(true);
        let layer = match &inspector {
            Some(inspector) => {
                search.backends().iter().for_each(|backend| backend.show_limiter(inspector));
                layer.inspector(inspector)
            }
            None => layer,
        };
        let layer = match fleet.clone() {
            Some(fleet) => layer.values(move |ctx, _| fleet.bind(ctx)),
            None => layer,
        };
        let refusals = Refusals::default();
        let metrics = Arc::new(Metrics::new(recorder, layer.clone(), refusals.clone(), search.clone()));
        let counted = Arc::clone(&metrics);
        // Clones of a layer share their counters.
        let layer = layer.on_end(move |ending| {
            counted.count(ending);
            log::write_line(ending);
        });
        let (max_timeout, trusted_peers) = (settings.max_timeout, settings.trusted_peers.clone().into());
        Service {
            shutdown: shutdown.clone(),
            layer,
            max_timeout,
            limits: settings.limits,
            trusted_peers,
            search,
            refusals,
            metrics,
            inspector,
            fleet,
        }
    }

    /// Returns the routes. The routes read the peer's address from the request's [`ConnectInfo`](axum::extract::ConnectInfo), and
    /// trust the headers of the peers in [`Settings::trusted_peers`].
    pub fn app(&self) -> Router {
        let routes =
            |trust: TrustPolicy| self.routes(self.layer.clone().trust(trust.with_max_timeout(self.max_timeout)));
        by_peer(&self.trusted_peers, routes(TrustPolicy::trusted()), routes(TrustPolicy::untrusted()))
    }

    /// Serves the routes on `listener` until the service shuts down. Counts and logs malformed requests.
    pub async fn serve(&self, listener: TcpListener) {
        let refusals = self.refusals.clone();
        let on_refusal = move |refusal: &Refusal| {
            refusals.count(refusal);
            tracing::info!(status = %refusal.status, cause = refusal.reason, "Request refused");
        };
        let serve = ripcord_http::serve(listener, self.app()).limits(self.limits).shutdown(&self.shutdown);
        let on_accept_error =
            |error: &io::Error| tracing::warn!("Cannot accept connections: {error}. Trying again every second");
        serve.on_refusal(on_refusal).on_accept_error(on_accept_error).await;
    }

    fn routes(&self, layer: ContextLayer) -> Router {
        let work = Router::new()
            // Accepts any method, like the mux of the Go tutorial.
            .route("/", any(handlers::index))
            .route("/slow", any(handlers::slow))
            .route("/search", get(search::handler::<Service>))
            .route("/jobs", post(jobs::submit))
            .fallback(handlers::not_found);
        let watching = Router::new().route("/healthz", get(handlers::health)).route("/metrics", get(handlers::metrics));
        let app = work.merge(watching).layer(layer).with_state(self.clone());
        let Some(inspector) = &self.inspector else { return app };
        // The inspector is outside the layer, so it does not show its own requests, and its streams have no deadline.
        let app = app.nest("/debug/contexts", inspector.router()).route("/debug/contexts/", get(without_slash));
        match &self.fleet {
            Some(fleet) => app.nest("/debug/fleet", fleet.router(inspector)),
            None => app,
        }
    }

    /// Returns whether a load balancer should send requests elsewhere.
    pub(super) fn is_draining(&self) -> bool {
        self.shutdown.context().is_draining()
    }

    pub(super) fn jobs(&self) -> Option<&jobs::Jobs> {
        self.fleet.as_ref().map(Fleet::jobs)
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// Creates the inspector. Returns `None` if the settings turn it off. The event streams of the inspector end when `shutdown` starts
/// to drain, so that the shutdown does not wait for them.
///
/// # Errors
///
/// Returns an error if the inspector cannot be built.
pub fn inspector(settings: &Settings, shutdown: &Shutdown) -> Result<Option<Inspector>, Error> {
    let inspector = settings.inspector.then(|| {
        let inspector = Inspector::builder().context(shutdown.context());
        match &settings.inspector_token {
            Some(token) => inspector.token(token.clone()),
            None => inspector,
        }
        .build()
    });
    inspector.transpose().map_err(Error::Inspector)
}

impl FromRef<Service> for Search {
    fn from_ref(service: &Service) -> Search {
        service.search.clone()
    }
}

/// Redirects to the inspector's path without a slash at the end.
async fn without_slash(RawQuery(query): RawQuery) -> Redirect {
    Redirect::permanent(&query.map_or("/debug/contexts".to_owned(), |query| format!("/debug/contexts?{query}")))
}
