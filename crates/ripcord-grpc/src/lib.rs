//! [`ripcord::Context`] over gRPC.
//!
//! A server gives each call a context that ends when the call ends: at the deadline in `grpc-timeout`, when the client leaves, or
//! when the server stops. A client's calls end with their context, and send the time left, the request ID and the trace.
//!
//! The crate is built on `http` and tower, for any gRPC framework that uses them. The feature `tonic` adds what tonic's handlers and
//! clients need.
//!
//! # Which item
//!
//! | you want to | use |
//! |---|---|
//! | give each call of a server a context | [`ServerLayer`] around a [`ContextLayer`](ripcord_http::server::ContextLayer) |
//! | take the context in a tonic handler | [`tonic::RequestExt::context`] |
//! | respond from a tonic handler whose context has ended | [`tonic::ResultExt::or_status`] |
//! | serve tonic's routes until a shutdown | [`ripcord_http::serve`](https://docs.rs/ripcord-http/latest/ripcord_http/fn.serve.html) |
//! | end a client's calls when their context ends | [`ClientLayer`] and [`tonic::RequestExt::with_context`] |
//! | let a call go on after its caller's deadline | [`Context::without_cancel`](ripcord::Context::without_cancel), or [`ClientLayer::without_cancel`] |
//! | carry a value of the context in metadata | [`Metadata`] |
//! | learn why the server ended a call | [`tonic::StatusExt::remote_cause`] |
//! | decide whether to retry a call | [`Error`] |
//! | log or count each call by its status code | [`ServerLayer::on_end`] |
//! | read or write `grpc-timeout`, `grpc-status` and `grpc-message` yourself | [`timeout`], [`Code`], [`Status`] |
//!
//! # Codes
//!
//! | event | server answers | client reports |
//! |---|---|---|
//! | the deadline passes | `DEADLINE_EXCEEDED` | `DEADLINE_EXCEEDED`, even if the server says `CANCELLED` |
//! | the context is canceled | `CANCELLED` | `CANCELLED` |
//! | no time is left | `DEADLINE_EXCEEDED`, without calling the handler | `DEADLINE_EXCEEDED`, without sending the call |
//! | the handler panics | `INTERNAL` | |
//! | a header is malformed, and the layer is strict | `INVALID_ARGUMENT` | |
//! | the server cannot be reached, or the connection is lost | | `UNAVAILABLE` |
//! | the server answers with a status | | that status, unchanged |
//!
//! A trusted client also gets the cause of the end, in the trailer [`ripcord-cause`](ripcord_http::RemoteCause).
//!
//! # Features
//!
//! No feature is on by default. A feature only adds items.
//!
//! - `h2`: status codes for HTTP/2 errors of hyper's clients, such as `CANCELLED` for a stream that the server has reset. Without
//!   this feature, such errors are `UNAVAILABLE`.
//! - `tonic`: extensions for tonic's handlers and clients, and conversions between its `Status` and this crate's errors. It includes
//!   `h2`.

pub mod client;
mod code;
mod error;
mod metadata;
pub mod server;
mod status;
#[cfg(feature = "tonic")]
pub mod tonic;

pub use client::ClientLayer;
pub use code::Code;
pub use error::Error;
pub use metadata::{InvalidMetadata, Metadata};
/// Reads and writes the header `grpc-timeout`.
pub use ripcord_http::deadline::grpc_timeout as timeout;
pub use server::ServerLayer;
pub use status::Status;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs the README's program as a test.
#[cfg(all(doctest, feature = "tonic"))]
#[doc = include_str!("../README.md")]
struct Readme;
