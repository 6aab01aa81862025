//! The other sides of the comparisons.

/// The other side of a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    /// The reason why the rival did not run. `None` if it ran.
    pub(crate) missing: Option<String>,
}

impl Rival {
    /// Creates a rival that is compiled into this program and therefore always runs.
    pub(crate) const fn named(name: &'static str) -> Self {
        Rival { name, missing: None }
    }
}

pub(crate) const TOKIO_UTIL: Rival = Rival::named("tokio-util");
pub(crate) const TOKIO: Rival = Rival::named("tokio");
pub(crate) const TOWER_RESILIENCE: Rival = Rival::named("tower-resilience");
pub(crate) const TOWER_HTTP: Rival = Rival::named("tower-http");
