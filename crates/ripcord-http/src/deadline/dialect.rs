//! Which header says it.

use std::time::Duration;

use http::HeaderName;

use super::{Encoded, connect, envoy, grpc_timeout, plain};
use crate::Malformed;

/// One of the headers that say how long the work may still take. More may be added.
///
/// ```
/// use std::time::Duration;
/// use ripcord_http::deadline::Dialect;
///
/// let (header, value) = (Dialect::GrpcTimeout.header(), Dialect::GrpcTimeout.encode(Duration::from_millis(250)));
/// assert_eq!(header, "grpc-timeout");
/// assert_eq!(value.unwrap().as_str(), "250000u");
/// assert_eq!(Dialect::Connect.decode(b"250")?, Duration::from_millis(250));
/// # Ok::<(), ripcord_http::Malformed>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// [`plain`]: ripcord's own.
    #[default]
    Plain,
    /// [`grpc_timeout`]: gRPC's.
    GrpcTimeout,
    /// [`connect`]: Connect's.
    Connect,
    /// [`envoy`]: what the proxy tells the service behind it.
    Envoy,
}

impl Dialect {
    /// All that are known.
    pub const ALL: [Dialect; 4] = [Dialect::Plain, Dialect::GrpcTimeout, Dialect::Connect, Dialect::Envoy];

    /// The header's name.
    pub const fn header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Dialect::Plain => plain::HEADER,
            Dialect::GrpcTimeout => grpc_timeout::HEADER,
            Dialect::Connect => connect::HEADER,
            Dialect::Envoy => envoy::HEADER,
        })
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// If it is not what the dialect's grammar allows.
    pub fn decode(self, value: &[u8]) -> Result<Duration, Malformed> {
        match self {
            Dialect::Plain => plain::decode(value),
            Dialect::GrpcTimeout => grpc_timeout::decode(value),
            Dialect::Connect => connect::decode(value),
            Dialect::Envoy => envoy::decode(value),
        }
    }

    /// Writes the time that is left, rounded down; `None` when that leaves nothing.
    pub fn encode(self, left: Duration) -> Option<Encoded> {
        match self {
            Dialect::Plain => plain::encode(left),
            Dialect::GrpcTimeout => grpc_timeout::encode(left),
            Dialect::Connect => connect::encode(left),
            Dialect::Envoy => envoy::encode(left),
        }
    }
}
