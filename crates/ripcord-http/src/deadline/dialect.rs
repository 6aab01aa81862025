//! The list of all deadline headers. CONTRIBUTING.md explains how to add a dialect.

use std::time::{Duration, SystemTime};

use http::HeaderName;

use super::codec::{Codec, Form};
use super::{Encoded, aws, connect, envoy, finagle, grpc_timeout, plain};
use crate::Malformed;

macro_rules! dialects {
    ($($(#[$attribute:meta])* $dialect:ident => $module:ident,)*) => {
        /// An HTTP header that carries a deadline. This crate calls such a header a dialect.
        ///
        /// A server ignores [absolute](Dialect::is_absolute) dialects, unless you
        /// [turn them on](crate::server::ContextLayer::absolute_deadlines). It reads dialects that
        /// [need trust](Dialect::needs_trust) only from trusted clients. It reads all other dialects from all clients. A client can
        /// send every dialect that is not absolute: see [`ClientLayer::dialect`](crate::client::ClientLayer::dialect).
        ///
        /// ```
        /// use std::time::{Duration, SystemTime};
        /// use ripcord_http::deadline::Dialect;
        ///
        /// let (header, value) = (Dialect::GrpcTimeout.header(), Dialect::GrpcTimeout.encode(Duration::from_millis(250)));
        /// assert_eq!(header, "grpc-timeout");
        /// assert_eq!(value.unwrap().as_str(), "250000u");
        /// assert_eq!(Dialect::Connect.decode(b"250", SystemTime::now)?, Some(Duration::from_millis(250)));
        /// # Ok::<(), ripcord_http::Malformed>(())
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Dialect {
            $($(#[$attribute])* $dialect,)*
        }

        impl Dialect {
            /// All dialects.
            pub const ALL: &[Dialect] = &[$(Dialect::$dialect),*];

            const fn codec(self) -> &'static Codec {
                match self {
                    $(Dialect::$dialect => &$module::CODEC,)*
                }
            }
        }
    };
}

dialects! {
    /// `x-request-timeout-ms`, this crate's own header. See [`plain`].
    #[default]
    Plain => plain,
    /// `grpc-timeout`, the header of gRPC. See [`grpc_timeout`].
    GrpcTimeout => grpc_timeout,
    /// `connect-timeout-ms`, the header of the Connect protocol. See [`connect`].
    Connect => connect,
    /// `x-envoy-expected-rq-timeout-ms`, which the proxy Envoy adds. See [`envoy`].
    Envoy => envoy,
    /// `finagle-ctx-com.twitter.finagle.deadline`, the absolute deadline of Finagle. See [`finagle`].
    Finagle => finagle,
    /// `amz-sdk-request`, the absolute deadline of AWS clients. See [`aws`].
    Aws => aws,
}

impl Dialect {
    /// Returns the name of this dialect's header.
    pub const fn header(self) -> HeaderName {
        HeaderName::from_static(self.codec().header)
    }

    /// Returns the name of this dialect's header as text, in lower case.
    pub const fn name(self) -> &'static str {
        self.codec().header
    }

    /// Returns whether the value of this dialect's header is a point in time on the client's clock. The value of any other dialect
    /// is the time left until the deadline.
    ///
    /// This crate never sends an absolute dialect. A server reads such a dialect only if you turn it on with
    /// [`ContextLayer::absolute_deadlines`](crate::server::ContextLayer::absolute_deadlines).
    pub const fn is_absolute(self) -> bool {
        matches!(self.codec().form, Form::Absolute { .. })
    }

    /// Returns whether a server reads this dialect's header only from a [trusted](crate::TrustPolicy::trusted) client.
    pub const fn needs_trust(self) -> bool {
        self.codec().needs_trust
    }

    /// Parses a value of this dialect's header and returns the time left until the deadline.
    ///
    /// Returns zero if the deadline has passed. Returns `None` if the value contains no deadline: only the header of
    /// [`Dialect::Aws`] can be without one.
    ///
    /// `now` returns the current time, such as [`SystemTime::now`]. It is called only for an [absolute](Dialect::is_absolute)
    /// dialect.
    ///
    /// # Errors
    ///
    /// Returns an error if the value does not match the grammar of the header.
    pub fn decode(self, value: &[u8], now: impl FnOnce() -> SystemTime) -> Result<Option<Duration>, Malformed> {
        match self.codec().form {
            Form::Relative { decode, .. } => decode(value).map(Some),
            Form::Absolute { decode } => decode(value, now()),
        }
    }

    /// Returns the value of this dialect's header. `left` is the time left until the deadline.
    ///
    /// The time is rounded down to whole milliseconds. For `grpc-timeout`, it is rounded down to a unit that depends on the time:
    /// see [`grpc_timeout::encode`]. A time above the maximum of the header becomes the maximum.
    ///
    /// Returns `None` if the result would be zero, or if the dialect is [absolute](Dialect::is_absolute).
    pub fn encode(self, left: Duration) -> Option<Encoded> {
        match self.codec().form {
            Form::Relative { encode, .. } => encode(left),
            Form::Absolute { .. } => None,
        }
    }
}
