//! The policy that decides which of a client's headers are used.

use std::time::Duration;

use crate::RequestId;
use crate::trace_context::{Baggage, Traceparent};

/// Decides which of a client's headers the server uses.
///
/// Create a policy with [`TrustPolicy::untrusted`] for clients you do not know, which is the default, or with
/// [`TrustPolicy::trusted`] for your own services. Pass the policy to [`ContextLayer::trust`](crate::server::ContextLayer::trust),
/// or call its methods in a server of your own:
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
///
/// | | untrusted client | trusted client |
/// |---|---|---|
/// | deadline | used, if it is earlier than the server's | used, if it is earlier than the server's |
/// | deadline in a header that [needs trust](crate::deadline::Dialect::needs_trust) (Envoy's) | ignored | used, if it is earlier than the server's |
/// | request ID | replaced by a new one | kept |
/// | trace | a new trace, which links to the client's | continued |
/// | baggage | dropped | kept |
/// | [`RemoteCause`](crate::RemoteCause) in the response | not sent | sent |
/// | cancel with a cause, if [turned on](crate::server::ContextLayer::remote_cancel) | ignored | accepted |
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
    /// Creates the policy for clients that you do not know, without a maximum timeout. This is the default. [`TrustPolicy`] lists
    /// which headers are used.
    pub const fn untrusted() -> Self {
        TrustPolicy { peer: Peer::Untrusted, max_timeout: None }
    }

    /// Creates the policy for your own services, without a maximum timeout. Use it only if no other client can connect to the
    /// server. [`TrustPolicy`] lists which headers are used.
    pub const fn trusted() -> Self {
        TrustPolicy { peer: Peer::Trusted, max_timeout: None }
    }

    /// Sets the maximum duration of a request, for trusted and untrusted clients. Default: no limit.
    ///
    /// A deadline in a header of the request can only shorten this time. A [`ContextLayer`](crate::server::ContextLayer) with this
    /// policy ends a request when the time is over. In a server of your own, use the result of [`timeout`](TrustPolicy::timeout).
    #[must_use]
    pub const fn with_max_timeout(self, max_timeout: Duration) -> Self {
        TrustPolicy { max_timeout: Some(max_timeout), ..self }
    }

    /// Returns whether the policy was created with [`trusted`](TrustPolicy::trusted).
    pub const fn is_trusted(&self) -> bool {
        matches!(self.peer, Peer::Trusted)
    }

    /// Returns the timeout for a request. `asked` is the time left in the client's deadline header, or `None` if the client sent no
    /// such header. Returns `None` if there is no timeout.
    ///
    /// The timeout is the smaller of `asked` and the [maximum](TrustPolicy::with_max_timeout). Pass it to
    /// [`Context::with_timeout`](ripcord::Context::with_timeout), which can only shorten the deadline of the server's context.
    pub fn timeout(&self, asked: Option<Duration>) -> Option<Duration> {
        match (asked, self.max_timeout) {
            (Some(asked), Some(max)) => Some(asked.min(max)),
            (one, other) => one.or(other),
        }
    }

    /// Returns whether `asked`, the time left in the client's deadline header, is longer than the
    /// [maximum](TrustPolicy::with_max_timeout). Returns `false` if there is no maximum.
    pub fn is_clamped(&self, asked: Duration) -> bool {
        self.max_timeout.is_some_and(|max| asked > max)
    }

    /// Returns the ID for a request. `theirs` is the ID that the client sent, or `None` if it sent no ID.
    ///
    /// If the client is trusted and sent an ID, returns `theirs`. Otherwise, returns a new ID.
    pub fn request_id(&self, theirs: Option<RequestId>) -> RequestId {
        theirs.filter(|_| self.is_trusted()).unwrap_or_else(RequestId::generate)
    }

    /// Returns the trace for a request. `theirs` is the `traceparent` header that the client sent, or `None` if it sent no such
    /// header.
    ///
    /// For a trusted client, the request's span is a child of `theirs`. For an untrusted client, the request's span starts a new
    /// trace, which links to `theirs`. Without `theirs`, the span starts a new trace without a link. A new trace does not have the
    /// flag [`sampled`](Traceparent::is_sampled).
    pub fn trace(&self, theirs: Option<Traceparent>) -> Lineage {
        match theirs {
            Some(theirs) if self.is_trusted() => Lineage { current: theirs.child(), parent: Some(theirs), link: None },
            link => Lineage { current: Traceparent::start(false), parent: None, link },
        }
    }

    /// Returns the baggage for a request. `theirs` is the baggage that the client sent, or `None` if it sent no baggage.
    ///
    /// If the client is trusted, returns `theirs`. Otherwise, returns `None`.
    pub fn baggage(&self, theirs: Option<Baggage>) -> Option<Baggage> {
        theirs.filter(|_| self.is_trusted())
    }
}

/// The trace of a request: its own span, and either its parent span or a link to another trace. Returned by [`TrustPolicy::trace`].
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
    /// Returns the `traceparent` of the request's own span. The spans of the request's outgoing calls are children of this span.
    pub fn current(&self) -> Traceparent {
        self.current
    }

    /// Returns the span of a trusted client, which is the parent of the request's own span. Returns `None` if the client is not
    /// trusted or sent no span.
    pub fn parent(&self) -> Option<Traceparent> {
        self.parent
    }

    /// Returns the span of an untrusted client, to which the request's trace links. Returns `None` if the client is trusted or sent
    /// no span.
    pub fn link(&self) -> Option<Traceparent> {
        self.link
    }
}
