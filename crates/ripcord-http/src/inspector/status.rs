//! The states that a program shows on the page, such as the mode of a limiter.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::text::shown;

/// A state, by its name.
#[derive(Clone)]
pub(super) struct Status {
    name: Arc<str>,
    read: Arc<dyn Fn(&mut fmt::Formatter<'_>) -> fmt::Result + Send + Sync>,
}

/// What a [`Status`] was when it was read.
#[derive(Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Reading {
    name: String,
    text: String,
}

impl Status {
    pub(super) fn new<S: fmt::Display>(name: &str, read: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Status { name: name.into(), read: Arc::new(move |f| write!(f, "{}", read())) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads the state. Catches a panic, because this is the user's code.
    pub(super) fn read(&self) -> Reading {
        Reading { name: shown(&self.name), text: shown(self) }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.read)(f)
    }
}
