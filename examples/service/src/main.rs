//! A service that answers `GET /users/{id}` and `GET /top` with data of another service, the upstream. It keeps users for a minute,
//! and loads the list `/top` every ten seconds.
//!
//! Usage: `service-ripcord UPSTREAM [ADDRESS]`

use std::{
    env,
    error::Error,
    sync::{Arc, RwLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use ripcord::{Context, Shutdown};
use ripcord_http::{
    RequestId, TrustPolicy,
    client::{self, reqwest::RequestBuilderExt as _},
    server::{ContextLayer, Ctx, Ended, method_and_path},
};
use ripcord_policy::{Cache, ConfigError, Outcome, Rate, RateLimiter, Retry, RetryEvent, Stack};
use tracing::{info, warn};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
const DRAIN_TIME: Duration = Duration::from_secs(1);

type CallError = ripcord_policy::Error<client::Error>;

struct App {
    client: reqwest::Client,
    upstream: String,
    calls: Stack<String, client::Error, String>,
    top: RwLock<String>,
}

impl App {
    fn new(ctx: &Context, upstream: String) -> Result<Self, ConfigError> {
        let calls = Stack::builder()
            .cache(Cache::builder().capacity(10_000).ttl(Duration::from_secs(60)).build(ctx)?)
            .retry(
                Retry::builder()
                    .max_attempts(3)
                    .base(Duration::from_millis(100))
                    .retry_if(is_transient)
                    .on_retry(log_retry),
            )
            .limiter(RateLimiter::new(Rate::per_second(100.0), 20)?)
            .attempt_timeout(ATTEMPT_TIMEOUT)
            .build()?;
        Ok(App { client: reqwest::Client::new(), upstream, calls, top: RwLock::default() })
    }

    async fn user(&self, ctx: &Context, id: String) -> Result<String, CallError> {
        let (client, url) = (self.client.clone(), format!("{}/users/{id}", self.upstream));
        // Without the box, the nested futures overflow the stack of a debug build.
        self.calls.run_keyed(ctx, id, move |ctx| Box::pin(attempt(ctx, client.get(&url)))).await
    }

    /// Keeps the list up to date.
    async fn refresh(self: Arc<Self>, ctx: Context) -> Result<(), ripcord::Error> {
        let url = format!("{}/top", self.upstream);
        loop {
            match self.calls.run(&ctx, |ctx| attempt(ctx, self.client.get(&url))).await {
                Ok(top) => *self.top.write().expect("not poisoned") = top,
                Err(error) => warn!("no new list: {error:#}"),
            }
            ctx.sleep(REFRESH_INTERVAL).await?;
        }
    }
}

/// Makes one attempt.
async fn attempt(ctx: Context, request: reqwest::RequestBuilder) -> Result<String, client::Error> {
    request.context(&ctx).send().await?.error_for_status()?.text().await
}

/// Returns whether another attempt may help. A user that does not exist is not found the next time either.
fn is_transient(error: &client::Error) -> bool {
    error.status().is_none_or(|status| status.is_server_error())
}

fn log_retry(event: &RetryEvent<'_, client::Error>) {
    let id = event.ctx.value::<RequestId>().map(RequestId::as_str);
    warn!(id, delay = ?event.delay, "trying again: {:#}", event.error);
}

async fn user(Ctx(ctx): Ctx, State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    match app.user(&ctx, id).await {
        Ok(user) => user.into_response(),
        Err(error) => failure(error),
    }
}

async fn top(State(app): State<Arc<App>>) -> String {
    app.top.read().expect("not poisoned").clone()
}

/// Returns the response to a request whose call has failed.
fn failure(error: CallError) -> Response {
    if error.last().is_some_and(|error| error.status() == Some(StatusCode::NOT_FOUND)) {
        (StatusCode::NOT_FOUND, "No such user").into_response()
    } else if error.outcome() == Outcome::Failure && !error.is_attempt_timeout() {
        (StatusCode::BAD_GATEWAY, "The upstream has failed").into_response()
    } else {
        Ended::from(error).into_response() // 503 or 504
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let upstream = env::args().nth(1).ok_or("the URL of the upstream is missing")?;
    let address = env::args().nth(2).unwrap_or("127.0.0.1:8080".to_owned());

    let shutdown = Shutdown::builder().drain(DRAIN_TIME).build();
    shutdown.on_signals()?; // the second Ctrl-C ends the process
    let app = Arc::new(App::new(shutdown.context(), upstream)?);
    let job = Arc::clone(&app);
    shutdown.stop_request().with_name("refresh").spawn(|ctx| job.refresh(ctx));

    let layer = ContextLayer::new(shutdown.context())
        .timeout(REQUEST_TIMEOUT)
        .trust(TrustPolicy::trusted())
        .name(method_and_path)
        .on_end(|request| {
            let id = request.ctx.value::<RequestId>().map(RequestId::as_str);
            info!(id, "{} {}: {request:#}", request.method, request.route());
        });
    let router = Router::new().route("/users/{id}", get(user)).route("/top", get(top)).with_state(app).layer(layer);
    let listener = ripcord_http::listen(address).await?;
    println!("listening on {}", listener.local_addr()?);
    ripcord_http::serve(listener, router).shutdown(&shutdown).await;
    info!("{}", shutdown.run().await);
    Ok(())
}
