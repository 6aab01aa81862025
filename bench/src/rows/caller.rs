//! The context a policy is called under.

use ripcord::{Canceler, Context};

/// What can end the caller.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    /// Nothing.
    Background,
    /// A canceler, which is kept.
    Cancelable,
}

impl Caller {
    pub(super) fn name(self) -> &'static str {
        match self {
            Caller::Background => "background",
            Caller::Cancelable => "cancelable",
        }
    }

    /// A new context, which lives as long as what comes with it.
    pub(super) fn context(self) -> (Context, Option<Canceler>) {
        match self {
            Caller::Background => (Context::background(), None),
            Caller::Cancelable => {
                let (context, canceler) = Context::background().with_cancel();
                (context, Some(canceler))
            }
        }
    }
}
