//! gRPC servers and clients for [`ripcord::Context`].
//!
//! On a server, each call has a context. The context ends at the deadline in the header `grpc-timeout`, when the client
//! disconnects, when the server stops, or when the call is over. On a client, each call ends when its context ends. The call sends
//! the time left until the context's deadline, the request ID and the trace to the server.
//!
//! The crate works with every gRPC framework that uses the crate `http` and tower. The feature `tonic` adds extension traits for
//! tonic.
//!
//! The guide in `docs/guide` of the repository has a chapter about gRPC.
//!
//! # Usage
//!
//! ```toml
//! [dependencies]
//! ripcord = { version = "0.1", features = ["signals", "tokio"] }
//! ripcord-grpc = { version = "0.1", features = ["tonic"] }
//! ripcord-http = { version = "0.1", features = ["serve"] }
//! tonic = { version = "0.14.9", default-features = false, features = ["codegen", "router"] }
//! ```
//!
//! The README of the crate has a whole program.
//!
//! # Which item
//!
//! | you want to | use |
//! |---|---|
//! | give each call of a server a context | [`ServerLayer`] with a [`ContextLayer`](ripcord_http::server::ContextLayer) |
//! | take the context in a tonic handler | [`tonic::RequestExt::context`] |
//! | return a status from a tonic handler when its context ends | [`tonic::ResultExt::or_status`] |
//! | serve tonic's routes until a shutdown | [`ripcord_http::serve`](https://docs.rs/ripcord-http/latest/ripcord_http/fn.serve.html) |
//! | end a client's calls when their context ends | [`ClientLayer`] and [`tonic::RequestExt::with_context`] |
//! | let a call continue after its context has ended | [`Context::without_cancel`](ripcord::Context::without_cancel), or [`ClientLayer::without_cancel`] |
//! | send a value of the context as metadata | [`Metadata`] |
//! | read why the server ended a call | [`tonic::StatusExt::remote_cause`] |
//! | decide whether to retry a call | [`Error`] |
//! | log or count each call by its status code | [`ServerLayer::on_end`] |
//! | export metrics | `server::Call::record_metrics` and `describe_metrics`, feature `metrics` |
//! | read or write `grpc-timeout`, `grpc-status` and `grpc-message` yourself | [`timeout`], [`Code`], [`Status`] |
//!
//! # Codes
//!
//! | event | status from the server | error at the client |
//! |---|---|---|
//! | the deadline passes | `DEADLINE_EXCEEDED` | `DEADLINE_EXCEEDED`, even if the server responds with `CANCELLED` |
//! | the context is canceled | `CANCELLED` | `CANCELLED` |
//! | no time is left | `DEADLINE_EXCEEDED`, without calling the handler | `DEADLINE_EXCEEDED`, without sending the call |
//! | the handler panics | `INTERNAL` | `INTERNAL` |
//! | a header is malformed, and the `ContextLayer` is [strict](ripcord_http::server::ContextLayer::strict) | `INVALID_ARGUMENT` | `INVALID_ARGUMENT` |
//! | the server cannot be reached, or the connection is lost | | `UNAVAILABLE` |
//! | the handler returns a status | the status | the status |
//!
//! If the context of a call ends on the server, a client that the server [trusts](ripcord_http::TrustPolicy) also receives the
//! cause, in the trailer [`ripcord-cause`](ripcord_http::RemoteCause).
//!
//! # Features
//!
//! No feature is on by default.
//!
//! - `h2` maps HTTP/2 errors of hyper's clients to status codes, for example to `CANCELLED` if the server has reset the stream
//!   with the HTTP/2 code `CANCEL`. Without this feature, the code of such errors is `UNAVAILABLE`. Cost: the crate `h2`, which
//!   every gRPC client on hyper contains anyway.
//! - `metrics` records metrics of servers and clients through the facade crate `metrics`: see `describe_metrics`. Leave this
//!   feature off if you install no recorder. Cost: the crate `metrics`, and calls of the recorder for each gRPC call.
//! - `tonic` adds extension traits for tonic's requests, results and statuses, and conversions between tonic's `Status` and the
//!   errors of this crate. It turns on `h2`. Cost: the crate `tonic` without its server and its channel, and `h2`.

pub mod client;
mod code;
mod error;
mod metadata;
mod method;
#[cfg(feature = "metrics")]
mod metrics;
pub mod server;
mod status;
#[cfg(feature = "tonic")]
pub mod tonic;

pub use client::ClientLayer;
pub use code::Code;
pub use error::Error;
pub use metadata::{InvalidMetadata, Metadata};
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
/// Reads and writes the header `grpc-timeout`, which contains the time left until the deadline of a call.
pub use ripcord_http::deadline::grpc_timeout as timeout;
pub use server::ServerLayer;
pub use status::Status;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs the README's program as a test.
#[cfg(all(doctest, feature = "tonic"))]
#[doc = include_str!("../README.md")]
struct Readme;
