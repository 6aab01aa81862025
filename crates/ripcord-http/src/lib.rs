//! HTTP servers and clients for [`ripcord::Context`].
//!
//! On a server, each request has a context that ends when the request ends. On a client, each call ends when its context ends.
//! Headers carry the time left until the deadline, the request ID, the trace and the baggage from the client to the server.
//!
//! The guide in `docs/guide` of the repository has chapters about servers, clients, streams, shutdown, incidents, and Go's `net/http`.
//!
//! # Usage
//!
//! ```toml
//! [dependencies]
//! ripcord = { version = "0.1", features = ["signals", "tokio"] }
//! ripcord-http = { version = "0.1", features = ["axum", "reqwest", "serve"] }
//! axum = "0.8"
//! reqwest = "0.13"
//! tokio = { version = "1", features = ["full"] }
//! ```
//!
//! This program is a complete server. `curl localhost:8080/report` prints `done` after two seconds. If you press Ctrl-C during
//! these two seconds, the server accepts no more connections, sends the response and then exits:
//!
#![cfg_attr(all(feature = "axum", feature = "serve"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "axum", feature = "serve")), doc = "```ignore")]
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use ripcord::Shutdown;
//! use ripcord_http::server::{ContextLayer, Ctx, Ended, matched_path};
//!
//! async fn report(Ctx(ctx): Ctx) -> Result<&'static str, Ended> {
//!     ctx.sleep(Duration::from_secs(2)).await?; // when the context ends, `?` returns an error response
//!     Ok("done")
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let shutdown = Shutdown::builder().drain(Duration::from_secs(10)).build();
//!     shutdown.on_signals()?; // the second Ctrl-C ends the process
//!
//!     let layer = ContextLayer::new(shutdown.context()).timeout(Duration::from_secs(5)).name(matched_path);
//!     let app = Router::new().route("/report", get(report)).layer(layer);
//!     let listener = ripcord_http::listen("127.0.0.1:8080").await?;
//!     ripcord_http::serve(listener, app).shutdown(&shutdown).await;
//!     println!("{}", shutdown.run().await); // a report of the work that did not end in time
//!     Ok(())
//! }
//! ```
//!
//! This program calls the server above. The context of the call ends after 500 ms, and the call ends with it. So the program fails
//! with the error `Get "http://localhost:8080/report": context deadline exceeded`. The call also sends the time left until the
//! deadline to the server, so the server stops its work for this request too:
//!
#![cfg_attr(feature = "reqwest", doc = "```no_run")]
#![cfg_attr(not(feature = "reqwest"), doc = "```ignore")]
//! use std::time::Duration;
//!
//! use ripcord::Context;
//! use ripcord_http::client::{Error, reqwest::RequestBuilderExt};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     let ctx = Context::background().with_timeout(Duration::from_millis(500));
//!     let response = reqwest::Client::new().get("http://localhost:8080/report").context(&ctx).send().await?;
//!     println!("{}", response.text().await?);
//!     Ok(())
//! }
//! ```
//!
//! # Which type
//!
//! | you want to | use |
//! |---|---|
//! | give each request of a server a context | [`ContextLayer`](server::ContextLayer) |
//! | take the context in an axum handler | `Ctx` and `CtxValue` in [`server`], feature `axum` |
//! | return an error response from a handler when its context ends | [`Ended`](server::Ended) and `?` |
//! | log or count each request | [`ContextLayer::on_end`](server::ContextLayer::on_end), [`ContextLayer::stats`](server::ContextLayer::stats) |
//! | serve an app until a shutdown | `serve`, feature `serve` |
//! | end a request that makes no progress | [`ContextLayer::idle_timeout`](server::ContextLayer::idle_timeout) |
//! | detect that a client has disconnected | `server::connection::watch`, feature `connection` |
//! | finish work after the response | [`server::detach`] |
//! | end a reqwest call when its context ends | `client::reqwest::RequestBuilderExt`, feature `reqwest` |
//! | end the calls of any tower client when their context ends | [`ClientLayer`](client::ClientLayer) |
//! | decide whether to retry a call | [`client::Error`] |
//! | end a call that makes no progress | [`ClientLayer::idle_timeout`](client::ClientLayer::idle_timeout), and [`ProgressLayer`](client::ProgressLayer) for its upload |
//! | decide which of a client's headers the server uses | [`TrustPolicy`] |
//! | read why a client or server ended a request | [`RemoteCause`] |
//! | tell a server why a call was canceled | [`CauseLayer`](client::CauseLayer), [`ContextLayer::remote_cancel`](server::ContextLayer::remote_cancel) |
//! | read or write a header yourself | [`deadline`], [`trace_context`] |
//! | see the running requests on a web page | `inspector::Inspector`, feature `inspector` |
//!
//! # Headers
//!
//! The modules [`deadline`] and [`trace_context`] read and write headers. Every parser is strict and never panics. Its error is
//! [`Malformed`]. Servers and clients ignore a malformed header, but a server with
//! [`ContextLayer::strict`](server::ContextLayer::strict) refuses the request. On a server, the [`TrustPolicy`] decides which
//! well-formed values are used.
//!
//! ```
//! use std::time::Duration;
//! use ripcord_http::deadline::plain;
//!
//! assert_eq!(plain::decode(b"1500")?, Duration::from_millis(1500));
//! assert!(plain::decode(b" 1500").is_err());
//! # Ok::<(), ripcord_http::Malformed>(())
//! ```
//!
//! # Features
//!
//! No feature is on by default. A feature adds items and changes nothing else.
//!
//! - `axum` adds extractors for axum handlers, and functions that name a request after its route. Leave it off if you do not
//!   use axum. Cost: the crate `axum` without its server.
//! - `connection` adds `server::connection`, for servers that call hyper themselves. It detects disconnects that hyper misses,
//!   and adds timeouts and a graceful close. Cost: the crates `hyper`, `hyper-util`, `slab`, `socket2` and `tokio`.
//! - `inspector` adds a live page of all requests, as an axum router. Cost: the crate `axum`, the crates `form_urlencoded`,
//!   `getrandom`, `serde`, `serde_json`, `slab` and `subtle` for the page's data and its protection, and a record of each
//!   request in memory.
//! - `metrics` records metrics of requests and calls through the facade crate `metrics`: see `describe_metrics`. Leave it off
//!   if you install no recorder. Cost: the crate `metrics`, and calls of the recorder for each request and each call.
//! - `policy` converts the errors of `ripcord-policy` to [`Ended`](server::Ended), so that handlers can use `?`. It also adds
//!   `request_context` for the tower layers of that crate. Leave it off if you do not use that crate. Cost: the crate
//!   `ripcord-policy`.
//! - `reqwest` adds `client.get(url).context(&ctx)`. Turn on TLS, HTTP/2 and proxies in reqwest itself. Cost: the crate
//!   `reqwest`, and the crates `futures-core` and `serde` for its bodies. reqwest depends on hyper and tokio.
//! - `serve` adds a server for any tower service, with timeouts, limits and a graceful shutdown. Leave it off if you have your
//!   own server. It turns on `connection`. Cost: the crates of `connection`, and `httparse`.
//! - `tracing` adds SERVER and CLIENT spans for `tracing-opentelemetry`. Leave it off unless you export spans with that crate.
//!   Trace IDs are sent and received without it. Cost: the crates `opentelemetry`, `tracing` and `tracing-opentelemetry`, and a
//!   span for each request and each call.

pub mod client;
pub mod deadline;
#[cfg(feature = "inspector")]
pub mod inspector;
mod malformed;
#[cfg(feature = "metrics")]
mod metrics;
mod random;
mod remote_cause;
#[cfg(feature = "policy")]
mod request_context;
mod request_id;
#[cfg(feature = "serve")]
mod serve;
pub mod server;
pub mod trace_context;
mod trust;

pub use malformed::Malformed;
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use remote_cause::RemoteCause;
#[cfg(feature = "policy")]
pub use request_context::request_context;
pub use request_id::RequestId;
#[cfg(feature = "serve")]
pub use serve::{Limits, PeerAddr, Refusal, Serve, Serving, listen, serve};
pub use trust::{Lineage, TrustPolicy};

/// Runs the README's programs as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
