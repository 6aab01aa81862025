//! Selects the baggage that a call sends.

use std::sync::Arc;

use crate::trace_context::Baggage;

/// Selects which members (keys and values) of the context's [`Baggage`] a call sends. Passed to
/// [`ClientLayer::baggage`](super::ClientLayer::baggage).
///
/// The default is [`BaggageFilter::none`], because baggage is meant for your own services and may contain data about users.
///
/// ```
/// use ripcord_http::client::{BaggageFilter, ClientLayer};
///
/// let ours = ClientLayer::new().baggage(BaggageFilter::only(["tenant", "plan"]));
/// let third_party = ClientLayer::new();
/// ```
#[derive(Clone, Debug, Default)]
pub struct BaggageFilter(Allowed);

#[derive(Clone, Debug, Default)]
enum Allowed {
    #[default]
    None,
    Only(Arc<[String]>),
    All,
}

impl BaggageFilter {
    /// Creates a filter that sends no baggage. This is the default.
    pub const fn none() -> Self {
        BaggageFilter(Allowed::None)
    }

    /// Creates a filter that sends all members of the context's baggage.
    pub const fn all() -> Self {
        BaggageFilter(Allowed::All)
    }

    /// Creates a filter that sends the baggage members with the given keys. Keys are case-sensitive.
    pub fn only<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        BaggageFilter(Allowed::Only(keys.into_iter().map(Into::into).collect()))
    }

    pub(super) fn filter(&self, baggage: &Baggage) -> Option<Baggage> {
        match &self.0 {
            Allowed::None => None,
            Allowed::Only(keys) => baggage.retain(|key| keys.iter().any(|allowed| allowed == key)),
            Allowed::All => Some(baggage.clone()),
        }
    }
}
