//! Which headers of a peer are trusted.

use std::time::Duration;

use crate::RequestId;
use crate::trace_context::{Baggage, Traceparent};

/// Which headers of a peer are trusted: those of any client, or those of your own services.
///
/// [`ContextLayer::trust`](crate::server::ContextLayer::trust) applies a policy to all requests of a layer. Each header is treated as follows:
///
/// | | untrusted, the default | trusted |
/// |---|---|---|
/// | deadline | can only shorten the server's | the same |
/// | deadline in a header that [needs trust](crate::deadline::Dialect::needs_trust) (Envoy's) | ignored | read |
/// | request id | replaced by a new one | kept |
/// | trace | a new trace that links to the peer's | continued |
/// | baggage | dropped | kept |
/// | [`RemoteCause`](crate::RemoteCause) of the answer | not sent | sent |
/// | cancel with a cause, if [accepted](crate::server::ContextLayer::remote_cancel) | ignored | accepted |
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
    /// Returns the policy for any client. This is the default.
    pub const fn untrusted() -> Self {
        TrustPolicy { peer: Peer::Untrusted, max_timeout: None }
    }

    /// Returns the policy for your own peers. Use it only where nobody else can connect.
    pub const fn trusted() -> Self {
        TrustPolicy { peer: Peer::Trusted, max_timeout: None }
    }

    /// Sets the longest time a request may take, whatever the peer asks for. Default: no limit.
    #[must_use]
    pub const fn with_max_timeout(self, max_timeout: Duration) -> Self {
        TrustPolicy { max_timeout: Some(max_timeout), ..self }
    }

    /// Returns whether the peer is trusted.
    pub const fn is_trusted(&self) -> bool {
        matches!(self.peer, Peer::Trusted)
    }

    /// Returns the timeout of a request whose peer asked for `asked`, or `None` if it has none.
    ///
    /// [`Context::with_timeout`](ripcord::Context::with_timeout) can only shorten the server's own deadline with it.
    pub fn timeout(&self, asked: Option<Duration>) -> Option<Duration> {
        match (asked, self.max_timeout) {
            (Some(asked), Some(max)) => Some(asked.min(max)),
            (one, other) => one.or(other),
        }
    }

    /// Returns whether [`timeout`](TrustPolicy::timeout) shortens `asked`.
    pub fn is_clamped(&self, asked: Duration) -> bool {
        self.max_timeout.is_some_and(|max| asked > max)
    }

    /// Returns the id of a request that arrived with the id `theirs`.
    pub fn request_id(&self, theirs: Option<RequestId>) -> RequestId {
        theirs.filter(|_| self.is_trusted()).unwrap_or_else(RequestId::generate)
    }

    /// Returns the trace of a request that arrived with the traceparent `theirs`.
    ///
    /// A new trace is not sampled: that is the tracer's decision.
    pub fn trace(&self, theirs: Option<Traceparent>) -> Lineage {
        match theirs {
            Some(theirs) if self.is_trusted() => Lineage { current: theirs.child(), parent: Some(theirs), link: None },
            link => Lineage { current: Traceparent::start(false), parent: None, link },
        }
    }

    /// Returns the baggage of a request that arrived with the baggage `theirs`.
    pub fn baggage(&self, theirs: Option<Baggage>) -> Option<Baggage> {
        theirs.filter(|_| self.is_trusted())
    }
}

/// A request's trace: its own span, and its parent or a link to an untrusted client's trace.
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
    /// Returns the request's own span. Outgoing calls are its children.
    pub fn current(&self) -> Traceparent {
        self.current
    }

    /// Returns the trusted client's span: the parent of the request's own.
    pub fn parent(&self) -> Option<Traceparent> {
        self.parent
    }

    /// Returns the untrusted client's span, to link to.
    pub fn link(&self) -> Option<Traceparent> {
        self.link
    }
}
