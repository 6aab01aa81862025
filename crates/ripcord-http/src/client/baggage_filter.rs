//! Which baggage may leave.

use std::sync::Arc;

use crate::trace_context::Baggage;

/// Which members of the Context's baggage a call sends. None, unless they are named: baggage is for services of one's own,
/// and says things about users that are nobody else's business.
///
/// ```
/// use ripcord_http::client::{BaggageFilter, ClientLayer};
///
/// let ours = ClientLayer::new().baggage(BaggageFilter::only(["tenant", "plan"]));
/// let everybody_elses = ClientLayer::new();
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
    /// No member: the default.
    pub const fn none() -> Self {
        BaggageFilter(Allowed::None)
    }

    /// Every member.
    pub const fn all() -> Self {
        BaggageFilter(Allowed::All)
    }

    /// The members with these keys, which count by case.
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
