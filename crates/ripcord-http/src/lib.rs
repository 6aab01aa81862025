//! What a [`ripcord::Context`] says, in HTTP headers: the time that is left, the request's id, its trace and its baggage.
//!
//! Every codec is strict, needs no allocation to read a header, and never panics, whatever a peer sends. A malformed value
//! counts as absent: [`Malformed`] says what was wrong with it, for those who count or refuse.
//!
//! ```
//! use std::time::Duration;
//! use ripcord_http::deadline::plain;
//!
//! assert_eq!(plain::decode(b"1500")?, Duration::from_millis(1500));
//! assert!(plain::decode(b" 1500").is_err());
//! # Ok::<(), ripcord_http::Malformed>(())
//! ```

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
