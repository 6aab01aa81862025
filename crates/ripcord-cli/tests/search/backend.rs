//! Helper: a backend whose answers the test sends.

use std::{future::IntoFuture as _, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use ripcord::Context;
use ripcord_http::server::{ContextLayer, Ctx, Ended};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

/// The maximum time to wait for events in real time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A backend on a loopback port. Each request waits until the test answers it.
pub(crate) struct Backend {
    pub(crate) url: String,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

/// A request that a backend has received.
pub(crate) struct Arrival {
    pub(crate) headers: HeaderMap,
    pub(crate) query: String,
    answer: oneshot::Sender<Response>,
}

impl Backend {
    pub(crate) async fn start() -> Backend {
        let (arrive, arrivals) = mpsc::unbounded_channel();
        let layer = ContextLayer::new(&Context::background());
        Backend { arrivals, ..Backend::serve(Router::new().fallback(wait).layer(layer).with_state(arrive)).await }
    }

    /// Starts a backend that answers with `app`.
    pub(crate) async fn serve(app: Router) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/search", listener.local_addr().expect("it is bound"));
        tokio::spawn(ripcord_http::serve(listener, app).into_future());
        Backend { url, arrivals: mpsc::unbounded_channel().1 }
    }

    /// Returns a backend that refuses connections. No server can get its port by asking for a free one.
    pub(crate) fn unreachable() -> Backend {
        Backend { url: "http://127.0.0.1:1/search".to_owned(), arrivals: mpsc::unbounded_channel().1 }
    }

    /// Returns the backend's name in the service.
    pub(crate) fn name(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Waits for the next request.
    #[track_caller]
    pub(crate) fn arrival(&mut self) -> impl Future<Output = Arrival> {
        let place = std::panic::Location::caller();
        async move {
            let arrival = tokio::time::timeout(PATIENCE, self.arrivals.recv()).await;
            arrival.unwrap_or_else(|_| panic!("no request arrives at {place}")).expect("the backend runs")
        }
    }

    /// Returns whether the backend has received a request that the test has not taken.
    pub(crate) fn has_arrivals(&self) -> bool {
        !self.arrivals.is_empty()
    }
}

impl Arrival {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers)).to_str().expect("text")
    }

    /// Answers with one hit that has this title.
    pub(crate) fn find(self, title: &str) {
        self.answer((StatusCode::OK, serde_json::json!({ "hits": [{ "title": title, "snippet": "…" }] }).to_string()));
    }

    pub(crate) fn answer(self, (status, body): (StatusCode, String)) {
        self.respond((status, body).into_response());
    }

    pub(crate) fn respond(self, response: Response<Body>) {
        self.answer.send(response).expect("somebody waits for the answer");
    }

    /// Waits until the client has disconnected.
    pub(crate) async fn gone(mut self) {
        tokio::time::timeout(PATIENCE, self.answer.closed()).await.expect("the client closes the connection");
    }
}

async fn wait(
    State(arrive): State<mpsc::UnboundedSender<Arrival>>,
    Ctx(ctx): Ctx,
    request: Request,
) -> Result<Response, Ended> {
    let (answer, answered) = oneshot::channel();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let _ = arrive.send(Arrival { headers: request.headers().clone(), query, answer });
    let forgotten = |_| (StatusCode::INTERNAL_SERVER_ERROR, "the test has forgotten it").into_response();
    Ok(ctx.run(answered).await?.unwrap_or_else(forgotten))
}
