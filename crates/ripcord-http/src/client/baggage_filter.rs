//! Selects the baggage that a call sends.

use std::sync::Arc;

use crate::trace_context::Baggage;

/// Selects the members of the context's baggage that a call sends. Default: none, because baggage is for your own services and may
/// describe users.
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
    /// Sends no member. This is the default.
    pub const fn none() -> Self {
        BaggageFilter(Allowed::None)
    }

    /// Sends every member.
    pub const fn all() -> Self {
        BaggageFilter(Allowed::All)
    }

    /// Sends the members with these keys. Keys are case-sensitive.
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
