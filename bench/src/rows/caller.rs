//! The context under which a policy is called.

use ripcord::{Canceler, Context};

/// The kind of context that the caller has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    /// A background context, which cannot end.
    Background,
    /// A context that can be canceled.
    Cancelable,
}

impl Caller {
    pub(super) fn name(self) -> &'static str {
        match self {
            Caller::Background => "background",
            Caller::Cancelable => "cancelable",
        }
    }

    /// Creates a context. It is live until the returned canceler is dropped.
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
