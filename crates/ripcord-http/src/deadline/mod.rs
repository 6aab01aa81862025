//! How long the work may still take, in the dialects that are spoken.
//!
//! All that are written are relative, so that no clock but one's own counts. [`decode`](plain::decode) turns a value into the time that is left:
//! zero is expired, and what no [`Duration`] can hold saturates. [`encode`](plain::encode) rounds down, and returns `None` when
//! nothing is left then: the work fails here, and nothing is sent.
//!
//! [`finagle`] and [`aws`] are absolute, and only read: there a clock that is ahead of the peer's takes time away.
//!
//! What a peer says never extends a deadline of one's own; see [`TrustPolicy`](crate::TrustPolicy).

pub mod aws;
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

/// Whole milliseconds, or `None` when there is not one left.
fn encode_milliseconds(left: Duration, most: u64) -> Option<Encoded> {
    let milliseconds = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(most);
    (milliseconds > 0).then(|| Encoded::number(milliseconds))
}
