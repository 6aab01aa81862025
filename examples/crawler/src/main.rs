//! Answers `GET /crawl?url=URL` with one line for each page that it finds: its status and its address. It begins with the page at
//! URL, and follows links to the same host.
//!
//! Usage: `crawler-ripcord [ADDRESS]`

use std::{
    collections::{HashMap, HashSet},
    env,
    error::Error,
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use reqwest::Url;
use ripcord::{Cause, Context, Group, GroupError, Shutdown};
use ripcord_http::{
    client::{self, reqwest::RequestBuilderExt as _},
    server::{ContextLayer, Ctx, Ended},
};
use ripcord_policy::{Rate, RateLimiter, Refused};

const WORKERS: usize = 4;
const MAX_PAGES: usize = 20;
const MAX_BODY: usize = 1 << 20;
const PAGE_TIMEOUT: Duration = Duration::from_secs(1);
const CRAWL_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_TIME: Duration = Duration::from_secs(2);

struct Crawler {
    client: reqwest::Client,
    limiter: RateLimiter,
}

struct Page {
    address: Url,
    status: StatusCode,
    links: Vec<Url>,
}

impl Crawler {
    /// Returns the page at `address`.
    async fn fetch(&self, ctx: &Context, address: Url) -> Result<Page, Cause> {
        self.limiter.wait(ctx).await?;
        let ctx = ctx.with_timeout(PAGE_TIMEOUT);
        let mut response = self.client.get(address.clone()).context(&ctx).send().await?;
        let mut body = Vec::new();
        while body.len() < MAX_BODY
            && let Some(chunk) = response.chunk().await?
        {
            body.extend_from_slice(&chunk);
        }
        let links = links(response.url(), &String::from_utf8_lossy(&body));
        Ok(Page { address, status: response.status(), links })
    }

    /// Returns the pages that can be reached from `start`. All pages at the same distance from `start` are fetched concurrently.
    async fn crawl(self: &Arc<Self>, ctx: &Context, start: Url) -> Result<Vec<Page>, GroupError> {
        let mut crawled = Vec::new();
        let mut seen = HashSet::from([start.clone()]);
        let mut level = vec![start];
        while !level.is_empty() {
            let (group, ctx) = Group::builder().limit(WORKERS).build(ctx);
            for address in level.drain(..) {
                let (crawler, ctx) = (Arc::clone(self), ctx.clone());
                group.go(async move { crawler.fetch(&ctx, address).await });
            }
            let pages = group.values().await?;
            for link in pages.iter().flat_map(|page| &page.links) {
                if seen.len() < MAX_PAGES && seen.insert(link.clone()) {
                    level.push(link.clone());
                }
            }
            crawled.extend(pages);
        }
        Ok(crawled)
    }
}

/// Returns the addresses on the same host that a page links to.
fn links(base: &Url, body: &str) -> Vec<Url> {
    let references = body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let links = references.filter_map(|reference| base.join(reference).ok());
    links.filter(|link| link.authority() == base.authority()).collect()
}

/// Answers `GET /crawl`.
async fn crawl(
    Ctx(ctx): Ctx,
    State(crawler): State<Arc<Crawler>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<(StatusCode, String), Ended> {
    let start = query.get("url").and_then(|url| Url::parse(url).ok());
    let Some(start) = start.filter(Url::has_host) else {
        return Ok((StatusCode::BAD_REQUEST, "the parameter url is missing or malformed\n".to_owned()));
    };
    match crawler.crawl(&ctx, start).await {
        Ok(pages) => Ok((StatusCode::OK, lines(&pages))),
        Err(error) => {
            ctx.check()?; // if the request has ended, the answer says so
            Ok((status(&error), format!("{error}\n")))
        }
    }
}

fn lines(pages: &[Page]) -> String {
    let mut lines = String::new();
    for page in pages {
        let _ = writeln!(lines, "{} {}", page.status.as_u16(), page.address); // writing to a String cannot fail
    }
    lines
}

/// Returns the status of the answer to a crawl that failed.
fn status(error: &GroupError) -> StatusCode {
    let fetch = error.cause().downcast_ref().is_some_and(client::Error::is_deadline_exceeded);
    let limiter = error.cause().downcast_ref().is_some_and(Refused::is_deadline_exceeded);
    if fetch || limiter { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder().drain(DRAIN_TIME).build();
    shutdown.on_signals()?; // the second Ctrl-C ends the process

    let limiter = RateLimiter::new(Rate::per_second(50.0), 10)?;
    let crawler = Arc::new(Crawler { client: reqwest::Client::new(), limiter });
    let layer = ContextLayer::new(shutdown.context()).timeout(CRAWL_TIMEOUT);
    let app = Router::new().route("/crawl", get(crawl)).with_state(crawler).layer(layer);
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    let listener = ripcord_http::listen(address).await?;
    println!("listening on {}", listener.local_addr()?);
    ripcord_http::serve(listener, app).shutdown(&shutdown).await;
    println!("{}", shutdown.run().await);
    Ok(())
}
