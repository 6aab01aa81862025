//! The one list of deadline headers. Adding a dialect: see CONTRIBUTING.md.

use std::time::{Duration, SystemTime};

use http::HeaderName;

use super::codec::{Codec, Form};
use super::{Encoded, aws, connect, envoy, finagle, grpc_timeout, plain};
use crate::Malformed;

macro_rules! dialects {
    ($($(#[$attribute:meta])* $dialect:ident => $module:ident,)*) => {
        /// A header that carries a deadline. More dialects may be added.
        ///
        /// This is the only list of dialects: the server reads every dialect in it, and the client can send every dialect in it that
        /// is not [absolute](Dialect::is_absolute).
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
            /// Every dialect.
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
    /// [`plain`]: ripcord's own header.
    #[default]
    Plain => plain,
    /// [`grpc_timeout`]: gRPC's header.
    GrpcTimeout => grpc_timeout,
    /// [`connect`]: Connect's header.
    Connect => connect,
    /// [`envoy`]: the header that Envoy adds for the service behind it.
    Envoy => envoy,
    /// [`finagle`]: Finagle's absolute deadline.
    Finagle => finagle,
    /// [`aws`]: the absolute `ttl` of AWS's clients.
    Aws => aws,
}

impl Dialect {
    /// Returns the header's name.
    pub const fn header(self) -> HeaderName {
        HeaderName::from_static(self.codec().header)
    }

    /// Returns the header's name as text, in lower case.
    pub const fn name(self) -> &'static str {
        self.codec().header
    }

    /// Returns whether the value is an instant on the peer's clock. An absolute dialect is only read, and only
    /// [on request](crate::server::ContextLayer::absolute_deadlines).
    pub const fn is_absolute(self) -> bool {
        matches!(self.codec().form, Form::Absolute { .. })
    }

    /// Returns whether the server reads the header only from a [trusted](crate::TrustPolicy::trusted) peer.
    pub const fn needs_trust(self) -> bool {
        self.codec().needs_trust
    }

    /// Reads a value and returns the time left: zero if the deadline has passed, `None` if the value has no deadline.
    ///
    /// Calls `now` only for an [absolute](Dialect::is_absolute) dialect: pass [`SystemTime::now`].
    ///
    /// # Errors
    ///
    /// Returns an error if the value does not match the dialect's grammar.
    pub fn decode(self, value: &[u8], now: impl FnOnce() -> SystemTime) -> Result<Option<Duration>, Malformed> {
        match self.codec().form {
            Form::Relative { decode, .. } => decode(value).map(Some),
            Form::Absolute { decode } => decode(value, now()),
        }
    }

    /// Returns the header's value for the time left, rounded down. Returns `None` if that is zero, or if the dialect is
    /// [absolute](Dialect::is_absolute).
    pub fn encode(self, left: Duration) -> Option<Encoded> {
        match self.codec().form {
            Form::Relative { encode, .. } => encode(left),
            Form::Absolute { .. } => None,
        }
    }
}
