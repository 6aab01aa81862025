//! How much of what a peer says is believed.

use std::time::Duration;

use crate::RequestId;
use crate::trace_context::{Baggage, Traceparent};

/// How much of what a peer says is believed.
///
/// | | untrusted, the default | trusted |
/// |---|---|---|
/// | deadline | may only shorten, no longer than the server's maximum | the same |
/// | Envoy's deadline | not read | read |
/// | request id | made anew | kept |
/// | trace | begins anew, and links to theirs | goes on |
/// | baggage | dropped | kept |
///
/// ```
/// use std::time::Duration;
/// use ripcord_http::TrustPolicy;
///
/// let policy = TrustPolicy::untrusted().with_max_timeout(Duration::from_secs(30));
/// assert_eq!(policy.timeout(Some(Duration::from_secs(5))), Some(Duration::from_secs(5)));
/// assert_eq!(policy.timeout(Some(Duration::from_secs(90))), Some(Duration::from_secs(30)));
/// assert_eq!(policy.timeout(None), Some(Duration::from_secs(30)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    peer: Peer,
    max_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Peer {
    #[default]
    Untrusted,
    Trusted,
}

impl TrustPolicy {
    /// For whoever may connect: the world.
    pub const fn untrusted() -> Self {
        TrustPolicy { peer: Peer::Untrusted, max_timeout: None }
    }

    /// For a peer of one's own that nobody else can pass for.
    pub const fn trusted() -> Self {
        TrustPolicy { peer: Peer::Trusted, max_timeout: None }
    }

    /// The longest that a request may take, whatever the peer says.
    #[must_use]
    pub const fn with_max_timeout(self, max_timeout: Duration) -> Self {
        TrustPolicy { max_timeout: Some(max_timeout), ..self }
    }

    /// Whether the peer is trusted.
    pub const fn is_trusted(&self) -> bool {
        matches!(self.peer, Peer::Trusted)
    }

    /// The timeout of a request whose peer asked for `asked`; `None` if there is none.
    ///
    /// Given to [`Context::with_timeout`](ripcord::Context::with_timeout) it can only shorten what the server's Context allows.
    pub fn timeout(&self, asked: Option<Duration>) -> Option<Duration> {
        match (asked, self.max_timeout) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (one, other) => one.or(other),
        }
    }

    /// Whether [`timeout`](TrustPolicy::timeout) makes less of what was asked for.
    pub fn is_clamped(&self, asked: Duration) -> bool {
        self.max_timeout.is_some_and(|most| asked > most)
    }

    /// The id of a request that came with `theirs`.
    pub fn request_id(&self, theirs: Option<RequestId>) -> RequestId {
        theirs.filter(|_| self.is_trusted()).unwrap_or_else(RequestId::generate)
    }

    /// Where a request that came with `theirs` belongs.
    ///
    /// A trace that begins here is not sampled: that is for a tracer to decide.
    pub fn trace(&self, theirs: Option<Traceparent>) -> Lineage {
        match theirs {
            Some(theirs) if self.is_trusted() => Lineage { current: theirs.child(), parent: Some(theirs), link: None },
            link => Lineage { current: Traceparent::start(false), parent: None, link },
        }
    }

    /// The baggage of a request that came with `theirs`.
    pub fn baggage(&self, theirs: Option<Baggage>) -> Option<Baggage> {
        theirs.filter(|_| self.is_trusted())
    }
}

/// Where a request belongs: the trace it is part of, and the stranger's that it is only linked to.
///
/// ```
/// use ripcord_http::{TrustPolicy, trace_context::Traceparent};
///
/// let theirs = Traceparent::start(true);
/// let lineage = TrustPolicy::trusted().trace(Some(theirs));
/// assert_eq!(lineage.current().trace_id(), theirs.trace_id());
/// assert_eq!(lineage.link(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    current: Traceparent,
    parent: Option<Traceparent>,
    link: Option<Traceparent>,
}

impl Lineage {
    /// The request's own span, and what outgoing calls say.
    pub fn current(&self) -> Traceparent {
        self.current
    }

    /// A trusted client's span, which the request's own lies under.
    pub fn parent(&self) -> Option<Traceparent> {
        self.parent
    }

    /// An untrusted client's trace.
    pub fn link(&self) -> Option<Traceparent> {
        self.link
    }
}
