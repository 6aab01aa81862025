//! Reads and writes HTTP headers that carry a deadline.
//!
//! Several protocols have such a header. This crate calls each of these headers a dialect. [`Dialect`] lists all dialects, and each
//! dialect has its own module. In the table, "sent" means that clients of this crate can send the header, and "read" means that
//! servers of this crate read it:
//!
//! | dialect | header | value | sent | read |
//! |---|---|---|---|---|
//! | [`plain`] | `x-request-timeout-ms` | milliseconds | yes | yes |
//! | [`grpc_timeout`] | `grpc-timeout` | 1 to 8 digits and a unit | yes | yes |
//! | [`connect`] | `connect-timeout-ms` | milliseconds | yes | yes |
//! | [`envoy`] | `x-envoy-expected-rq-timeout-ms` | milliseconds | yes | from trusted clients |
//! | [`finagle`] | `finagle-ctx-com.twitter.finagle.deadline` | two points in time on the client's clock | no | if [turned on](crate::server::ContextLayer::absolute_deadlines) |
//! | [`aws`] | `amz-sdk-request` | a point in time on the client's clock | no | if [turned on](crate::server::ContextLayer::absolute_deadlines) |
//!
//! A dialect that is sent is relative: it contains the time left, so a wrong clock has no effect. A dialect that is only read is
//! absolute: if the two clocks differ, the deadline is wrong by the difference.
//!
//! The functions `decode` return the time left until the deadline. Zero means that the deadline has passed. A value with more
//! digits than the dialect allows is malformed. If the dialect allows any number of digits, a value that is too large becomes the
//! maximum.
//!
//! The functions `encode` round down, and a time above the maximum of the header becomes the maximum. They return `None` if the
//! result would be zero. In that case, do not send the request, because no time is left.
//!
//! A deadline in a header can only shorten the deadline of the server: see [`TrustPolicy`](crate::TrustPolicy).

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

/// Encodes whole milliseconds, at most `max`. Returns `None` if less than one millisecond is left.
fn encode_milliseconds(left: Duration, max: u64) -> Option<Encoded> {
    let milliseconds = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(max);
    (milliseconds > 0).then(|| Encoded::number(milliseconds))
}
