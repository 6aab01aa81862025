//! The tree of calls that were made under a context: who called whom, how long each took, and what was canceled.
//!
//! # Invariants
//!
//! 1. The traces of one root lie in one list (`tree.rs`) and name each other by place, so that no drop, print or snapshot
//!    recurses, however deep the calls were.
//! 2. A trace once recorded stays in its place. The list has a limit; what comes after that is counted and not recorded.
//! 3. Under the list's lock things are copied in and out, and nothing else: no clock is read, no cause is printed or dropped, no
//!    subscriber of `tracing` is told.

mod guard;
mod handle;
mod name;
mod print;
mod span;
mod start;
#[cfg_attr(not(feature = "tracing"), path = "no_tracing_span.rs")]
mod tracing_span;
mod tree;

pub use guard::TraceGuard;
pub use handle::Trace;
pub use span::Span;
