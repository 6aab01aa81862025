//! A service that answers `GET /users/{id}` and `GET /top` with data of another service, the upstream. It keeps users for a minute,
//! and loads the list `/top` every ten seconds.
//!
//! Usage: `service-tokio UPSTREAM [ADDRESS]`

use std::{
    env,
    error::Error,
    num::NonZeroU32,
    sync::{Arc, RwLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use backon::{ExponentialBuilder, Retryable};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::future::Cache;
use tokio::{
    net::TcpListener,
    signal::{
        ctrl_c,
        unix::{SignalKind, signal},
    },
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceBuilder;
use tower_http::{
    ServiceBuilderExt,
    request_id::MakeRequestUuid,
    timeout::TimeoutLayer,
    trace::{DefaultMakeSpan, DefaultOnResponse, TraceLayer},
};
use tracing::{Level, warn};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
const DRAIN_TIME: Duration = Duration::from_secs(1);

struct App {
    client: reqwest::Client,
    upstream: String,
    limiter: DefaultDirectRateLimiter,
    users: Cache<String, String>,
    top: RwLock<String>,
}

impl App {
    fn new(upstream: String) -> Self {
        let per_second = |n| NonZeroU32::new(n).expect("not zero");
        App {
            client: reqwest::Client::new(),
            upstream,
            limiter: RateLimiter::direct(Quota::per_second(per_second(100)).allow_burst(per_second(20))),
            users: Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(60)).build(),
            top: RwLock::default(),
        }
    }

    /// Makes one attempt.
    async fn attempt(&self, path: &str) -> Result<String, reqwest::Error> {
        self.limiter.until_ready().await;
        let request = self.client.get(format!("{}{path}", self.upstream)).timeout(ATTEMPT_TIMEOUT);
        request.send().await?.error_for_status()?.text().await
    }

    /// Asks the upstream, up to three times.
    async fn fetch(&self, path: &str) -> Result<String, reqwest::Error> {
        let backoff = ExponentialBuilder::default().with_min_delay(Duration::from_millis(100)).with_max_times(2);
        (|| self.attempt(path))
            .retry(backoff)
            .when(is_transient)
            .notify(|error, delay| warn!(%error, ?delay, "trying again"))
            .await
    }

    async fn user(&self, id: &str) -> Result<String, Arc<reqwest::Error>> {
        self.users.try_get_with_by_ref(id, self.fetch(&format!("/users/{id}"))).await
    }

    /// Keeps the list up to date.
    async fn refresh(self: Arc<Self>) {
        let mut ticks = time::interval(REFRESH_INTERVAL);
        loop {
            ticks.tick().await;
            match self.fetch("/top").await {
                Ok(top) => *self.top.write().expect("not poisoned") = top,
                Err(error) => warn!(%error, "no new list"),
            }
        }
    }
}

/// Returns whether another attempt may help. A user that does not exist is not found the next time either.
fn is_transient(error: &reqwest::Error) -> bool {
    error.status().is_none_or(|status| status.is_server_error())
}

async fn user(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    match app.user(&id).await {
        Ok(user) => user.into_response(),
        Err(error) => failure(&error).into_response(),
    }
}

async fn top(State(app): State<Arc<App>>) -> String {
    app.top.read().expect("not poisoned").clone()
}

/// Returns the response to a request whose call has failed.
fn failure(error: &reqwest::Error) -> (StatusCode, &'static str) {
    if error.status() == Some(StatusCode::NOT_FOUND) {
        (StatusCode::NOT_FOUND, "No such user")
    } else if error.is_timeout() {
        (StatusCode::GATEWAY_TIMEOUT, "Request timed out")
    } else {
        (StatusCode::BAD_GATEWAY, "The upstream has failed")
    }
}

/// Ends a request when the drain time is over.
async fn cancelable(State(cancel): State<CancellationToken>, request: Request, next: Next) -> Response {
    match cancel.run_until_cancelled(next.run(request)).await {
        Some(response) => response,
        None => (StatusCode::SERVICE_UNAVAILABLE, "Request canceled").into_response(),
    }
}

/// Cancels `stop` at a signal, and `cancel` when the drain time is over.
async fn wait_for_signal(stop: CancellationToken, cancel: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    stop.cancel();
    time::sleep(DRAIN_TIME).await;
    cancel.cancel();
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let upstream = env::args().nth(1).ok_or("the URL of the upstream is missing")?;
    let address = env::args().nth(2).unwrap_or("127.0.0.1:8080".to_owned());

    let (stop, cancel, jobs) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    tokio::spawn(wait_for_signal(stop.clone(), cancel.clone()));
    let app = Arc::new(App::new(upstream));
    jobs.spawn(stop.clone().run_until_cancelled_owned(Arc::clone(&app).refresh()));

    let trace = TraceLayer::new_for_http()
        .make_span_with(DefaultMakeSpan::new().level(Level::INFO))
        .on_response(DefaultOnResponse::new().level(Level::INFO));
    let layers = ServiceBuilder::new()
        .set_x_request_id(MakeRequestUuid)
        .layer(trace)
        .propagate_x_request_id()
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, REQUEST_TIMEOUT))
        .layer(middleware::from_fn_with_state(cancel.clone(), cancelable));
    let router = Router::new().route("/users/{id}", get(user)).route("/top", get(top)).with_state(app).layer(layers);
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).into_future();
    let overdue = async {
        cancel.cancelled().await;
        time::sleep(Duration::from_secs(1)).await;
    };
    tokio::select! {
        result = serving => result?,
        () = overdue => warn!("connections are still open"),
    }
    jobs.close();
    jobs.wait().await;
    Ok(())
}
