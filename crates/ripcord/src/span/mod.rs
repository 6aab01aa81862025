//! Spans: the tree of calls made under a context. The tree shows the caller of each call, how long each call took, and how it
//! ended.
//!
//! # Invariants
//!
//! 1. All spans of one root are in one list (`tree.rs`) and refer to each other by index. So dropping, printing and
//!    copying a tree does not recurse, even if the calls were deeply nested.
//! 2. A recorded span keeps its index. The list has a limit. Spans above the limit are counted, not recorded.
//! 3. Under the list's lock, records are only read and written: no clock is read, no cause is printed or dropped, and no
//!    subscriber of `tracing` is called.

mod builder;
mod guard;
mod handle;
mod name;
mod print;
mod snapshot;
#[cfg(feature = "tracing")]
mod tracing_span;
mod tree;

pub use builder::SpanBuilder;
pub use guard::SpanGuard;
pub use handle::Span;
pub use snapshot::SpanSnapshot;

/// Without the feature `tracing`, no span has a counterpart in that crate.
#[cfg(not(feature = "tracing"))]
mod tracing_span {
    use super::builder::{Parent, Start};
    use super::snapshot::End;

    #[derive(Clone, Default)]
    pub(super) struct TracingSpan {}

    impl TracingSpan {
        pub(super) fn begin(_: Parent<'_>, _: &Start<'_>) -> Self {
            TracingSpan {}
        }

        pub(super) fn hold(&self) -> Self {
            TracingSpan {}
        }

        pub(super) fn end(&self, _: &End) {}
    }
}
