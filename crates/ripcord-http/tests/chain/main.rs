//! Tests a chain of three services: A calls B and B calls C, over HTTP on loopback.

mod budget;
mod cause;
mod identity;
mod one_trace;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use ripcord::{Clock, Context, ManualTime};
use ripcord_http::TrustPolicy;
use ripcord_http::client::BaggageFilter;
use ripcord_http::client::reqwest::RequestBuilderExt as _;
use ripcord_http::server::{ContextLayer, Ctx, matched_path};
use tokio::net::TcpListener;

/// One service with its own clock and the requests that it has received.
#[derive(Clone)]
struct Service {
    layer: ContextLayer,
    time: ManualTime,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request as the handler saw it.
#[derive(Clone)]
struct Seen {
    headers: HeaderMap,
    ctx: Context,
    left: Option<Duration>,
}

impl Service {
    /// Creates a service whose manual clock is advanced by `skew`.
    fn new(trust: TrustPolicy, skew: Duration) -> Self {
        let (clock, time) = Clock::manual();
        time.advance(skew);
        let layer = ContextLayer::new(&Context::background().with_clock(clock)).trust(trust).name(matched_path);
        Service { layer, time, seen: Arc::default() }
    }

    fn trusting() -> Self {
        Service::new(TrustPolicy::trusted(), Duration::ZERO)
    }

    /// Serves `path`. The handler advances the clock by `work` and then calls `next`. Returns the URL.
    async fn serve(&self, path: &str, work: Duration, next: Option<String>) -> String {
        let service = self.clone();
        let handler = move |headers: HeaderMap, Ctx(ctx): Ctx| async move {
            service.seen.lock().unwrap().push(Seen { headers, left: ctx.remaining(), ctx: ctx.clone() });
            let (ctx, _span) = ctx.start_span("work");
            service.time.advance(work);
            match next {
                Some(url) => call(&ctx, &url).await.map_err(|error| (StatusCode::GATEWAY_TIMEOUT, error.to_string())),
                None => Ok(String::from("the end")),
            }
        };
        let router = Router::new().route(path, get(handler)).layer(self.layer.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}{path}", listener.local_addr().expect("it is bound"));
        tokio::spawn(async { axum::serve(listener, router).await });
        url
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the only request received.
    fn only(&self) -> Seen {
        let [seen] = self.seen().try_into().unwrap_or_else(|seen: Vec<_>| panic!("{} requests", seen.len()));
        seen
    }
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("it is ASCII"))
    }
}

async fn call(ctx: &Context, url: &str) -> Result<String, ripcord_http::client::Error> {
    let request = reqwest::Client::new().get(url).context(ctx).baggage(BaggageFilter::all());
    request.send().await?.error_for_status()?.text().await
}

/// Serves a chain of three services that each work for `work`. Returns A's URL.
async fn chain([a, b, c]: [&Service; 3], work: Duration) -> String {
    let url = c.serve("/c", work, None).await;
    let url = b.serve("/b", work, Some(url)).await;
    a.serve("/a", work, Some(url)).await
}
