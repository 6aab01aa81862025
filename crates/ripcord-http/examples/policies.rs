//! An axum handler that asks another service through a stack of policies.
//!
//! `cargo run --example policies` sends requests until the circuit breaker opens.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::error::Error;
use std::future::IntoFuture as _;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use ripcord::{Context, Shutdown};
use ripcord_http::client::{self, reqwest::RequestBuilderExt};
use ripcord_http::server::{ContextLayer, Ctx, Ended};
use ripcord_policy::{CircuitBreaker, ConfigError, Outcome, Retry, Stack};

#[derive(Clone)]
struct App {
    users: Stack<String, client::Error>,
    http: reqwest::Client,
    service: String,
}

impl App {
    fn new(service: String) -> Result<Self, ConfigError> {
        let users = Stack::builder()
            .retry(Retry::builder().max_attempts(2).base(Duration::from_millis(10)).retry_if(is_transient))
            .breaker(CircuitBreaker::builder("users").consecutive_failures(4).classify(health))
            .attempt_timeout(Duration::from_secs(5))
            .build()?;
        Ok(App { users, http: reqwest::Client::new(), service })
    }

    /// Makes one attempt. The request carries the deadline of the attempt, and ends with it.
    async fn fetch(&self, ctx: Context, id: u32) -> Result<String, client::Error> {
        let response = self.http.get(format!("{}/users/{id}", self.service)).context(&ctx).send().await?;
        response.error_for_status()?.text().await
    }
}

/// Returns whether another attempt may help. A user that does not exist is not found the next time either.
fn is_transient(error: &client::Error) -> bool {
    error.status() != Some(StatusCode::NOT_FOUND)
}

/// Judges the service for the breaker. A service that finds no user is healthy, so its answers do not open the breaker.
fn health(result: &Result<String, client::Error>) -> Outcome {
    match result {
        Err(error) if is_transient(error) => Outcome::Failure,
        _ => Outcome::Success,
    }
}

/// Returns a user. `Ended` answers with 503 while the breaker is open, with 504 after a timeout, and with 502 if the request to the
/// other service failed.
async fn user(Ctx(ctx): Ctx, State(app): State<App>, Path(id): Path<u32>) -> Result<Response, Ended> {
    match app.users.run(&ctx, |ctx| app.fetch(ctx, id)).await {
        Ok(name) => Ok(name.into_response()),
        Err(error) if error.last().is_some_and(|error| !is_transient(error)) => {
            Ok(StatusCode::NOT_FOUND.into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// The other service. It knows one user, and fails for user 9.
async fn service(Path(id): Path<u32>) -> Result<&'static str, StatusCode> {
    match id {
        7 => Ok("gopher"),
        9 => Err(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder().build();
    let listener = ripcord_http::listen("127.0.0.1:0").await?;
    let app = App::new(format!("http://{}", listener.local_addr()?))?;
    let router = Router::new().route("/users/{id}", get(service));
    tokio::spawn(ripcord_http::serve(listener, router).shutdown(&shutdown).into_future());

    let listener = ripcord_http::listen("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = Router::new().route("/users/{id}", get(user)).with_state(app.clone());
    // The timeout of a request. A retry does not wait longer than this for the breaker.
    let router = router.layer(ContextLayer::new(shutdown.context()).timeout(Duration::from_secs(10)));
    tokio::spawn(ripcord_http::serve(listener, router).shutdown(&shutdown).into_future());

    for id in [7, 8, 8, 8, 8, 8, 9, 9, 7] {
        let response = reqwest::get(format!("{url}/users/{id}")).await?;
        let breaker = app.users.breaker().map(CircuitBreaker::state).expect("the stack has a breaker");
        println!("user {id}: {}, the breaker is {breaker}", response.status());
    }
    shutdown.begin("the end of the example");
    shutdown.run().await;
    Ok(())
}
