//! The contract of the core. The name of a test begins with the number of its rule: `s05_..` belongs to the fifth.
//!
//! 1. Contexts are immutable. Every `with_*` method returns a new context and leaves the parent unchanged. The only exception is
//!    a deadline that was created to be movable.
//! 2. When `cancel` returns, every descendant is done, even if another thread is canceling an ancestor at that moment.
//! 3. Error, cause and done state become visible together.
//! 4. When a parent ends, its children end with the parent's error kind and cause. A child's end never reaches its parent.
//! 5. An explicit cancel wins over a later deadline. An expired deadline wins over a later cancel, even if nothing was
//!    watching the deadline. A deadline's cause is reported only if that deadline fired.
//! 6. A timeout of zero or a deadline in the past is done immediately. `Duration::MAX` means no deadline.
//! 7. `is_done` and `err` are correct without waiters and without timers. They never report a deadline early. In a hot loop
//!    they report it at most 1 ms late, whatever the timer thread does. Once a method has reported an end, no method
//!    reports otherwise to a later observer of that context or its descendants.
//! 8. A child of a done parent is done from the moment it is created, with the parent's cause.
//! 9. Value lookup works the same before and after the end. A value shadows an ancestor's value of the same type.
//! 10. Wakers, callbacks and users' `Drop` implementations never run while one of our locks is held. A panic in one of them
//!     does not prevent the others from running.
//! 11. Nothing recurses. A chain of four million contexts can be canceled and dropped on a stack of 2 MiB.
//! 12. A function given to `after_func` runs exactly once, or never if `stop` returned true. `cancel` does not wait for it.
//!     A context that nothing can end and nobody holds is freed.
//! 13. No future holds a lock across an await. Each future documents what dropping it does and who wins a tie. `run` on a
//!     done context never polls its future; afterwards a ready result wins over an end that arrives at the same poll.
//! 14. The core works on any executor and on plain threads. The clock travels with the context.
//! 15. A jump of the wall clock never extends a deadline.
//!
//! Time is manual, wakers are counted by hand, and races run on real threads. No test sleeps.

#[path = "../common/mod.rs"]
mod common;

mod s01_immutable;
mod s02_cancel_returns;
mod s03_visible_together;
mod s04_downwards;
mod s05_ties;
mod s06_zero_and_max;
mod s07_nobody_waits;
mod s08_done_parent;
mod s09_values;
mod s10_no_lock;
mod s11_no_recursion;
mod s12_after_func;
mod s13_futures;
mod s14_clocks;
mod s15_jumps;
