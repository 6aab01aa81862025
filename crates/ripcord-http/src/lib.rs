//! A [`ripcord::Context`] over HTTP, both ways: one for each request of a server, one above each call of a client, and between
//! them, in headers, the time that is left, the request's id, its trace and its baggage.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | [`ContextLayer`](server::ContextLayer): a Context for each request, which ends when the request does |
//! | [`client`] | [`ClientLayer`](client::ClientLayer): a call ends with its Context, and tells the peer what that says |
//! | `inspector`, behind that feature | a live page of what is under way |
//! | [`deadline`], [`trace_context`] | the codecs, for whoever has headers and no layer |
//!
//! Every codec is strict, needs no allocation to read a header, and never panics, whatever a peer sends. A malformed value
//! counts as absent: [`Malformed`] says what was wrong with it, for those who count or refuse. How much of what is well-formed
//! is believed is for a [`TrustPolicy`] to say.
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
//! None is on by default, and each one only adds.
//!
//! - `axum`: extractors for axum's handlers, and names after its routes. Leave it off with another server.
//! - `connection`: seeing clients go that a server does not, on TCP connections that hyper serves with tokio.
//! - `inspector`: the page of what is under way, as an axum router.
//! - `reqwest`: `client.get(url).context(&ctx)`. TLS, HTTP/2 and proxies stay for whoever uses reqwest to turn on.
//! - `tracing`: outgoing calls name the spans that `tracing-opentelemetry` exports, where a context or a layer is told to. Leave it
//!   off unless traces are exported that way; a trace's id stays one along a chain of services without it.

pub mod client;
pub mod deadline;
#[cfg(feature = "inspector")]
pub mod inspector;
mod malformed;
mod random;
mod request_id;
pub mod server;
pub mod trace_context;
mod trust;

pub use malformed::Malformed;
pub use request_id::RequestId;
pub use trust::{Lineage, TrustPolicy};

/// The README's program is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
