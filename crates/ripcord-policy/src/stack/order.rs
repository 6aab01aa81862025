//! The order of the layers.

use crate::ConfigError;

/// The layers, from the outside in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    Fallback,
    Cache,
    Deadline,
    Retry,
    Hedge,
    Breaker,
    Limiter,
    Bulkhead,
    AttemptTimeout,
}

/// The names of the layers, in the same order.
const NAMES: [&str; Layer::AttemptTimeout as usize + 1] =
    ["fallback", "cache", "deadline", "retry", "hedge", "breaker", "limiter", "bulkhead", "attempt_timeout"];

impl Layer {
    /// Checks that this layer may be added to a stack whose last layer is `innermost`.
    pub(super) fn check_after(self, innermost: Option<Layer>) -> Result<(), ConfigError> {
        match innermost {
            Some(same) if same == self => Err(ConfigError::new(self.name(), "given once", "a second one")),
            Some(inner) if inner > self => {
                let bound = format!("in its place in: {}", NAMES.join(", "));
                Err(ConfigError::new(self.name(), bound, format!("after {}", inner.name())))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}
