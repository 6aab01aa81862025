//! The numbered semantics of the core. The name of a test begins with its number: `s05_..` belongs to the fifth.
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
