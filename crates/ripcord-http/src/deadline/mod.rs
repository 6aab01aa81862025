//! Deadlines in HTTP headers, in several dialects.
//!
//! [`Dialect`] lists the dialects; each has a module. `decode` turns a header's value into the time left: zero means that the
//! deadline has passed. A value with more digits than the dialect allows is malformed; where any number is allowed, a huge one
//! saturates. `encode` rounds down and returns `None` if less than one unit is left: then the call must fail without being sent.
//!
//! | dialect | header | value | sent | read |
//! |---|---|---|---|---|
//! | [`plain`] | `x-request-timeout-ms` | milliseconds | yes | yes |
//! | [`grpc_timeout`] | `grpc-timeout` | 1 to 8 digits and a unit | yes | yes |
//! | [`connect`] | `connect-timeout-ms` | milliseconds | yes | yes |
//! | [`envoy`] | `x-envoy-expected-rq-timeout-ms` | milliseconds | yes | from trusted peers |
//! | [`finagle`] | `finagle-ctx-com.twitter.finagle.deadline` | instants on the peer's clock | no | on request |
//! | [`aws`] | `amz-sdk-request` | an instant on the peer's clock | no | on request |
//!
//! Every dialect that is sent is relative, so no clock but the receiver's matters. An absolute deadline is wrong by the difference
//! between the two clocks.
//!
//! A received deadline never extends the local one: see [`TrustPolicy`](crate::TrustPolicy).

pub mod aws;
mod codec;
pub mod connect;
mod dialect;
mod digits;
mod encoded;
pub mod envoy;
pub mod finagle;
pub mod grpc_timeout;
pub mod plain;

pub use dialect::Dialect;
pub use encoded::Encoded;

use std::time::Duration;

/// Encodes whole milliseconds, at most `max`. Returns `None` if less than one is left.
fn encode_milliseconds(left: Duration, max: u64) -> Option<Encoded> {
    let milliseconds = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(max);
    (milliseconds > 0).then(|| Encoded::number(milliseconds))
}
