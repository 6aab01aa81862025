//! Stacks: the calls that each layer sees, for every end of a call.

mod caching;
mod clocks;
mod common;
mod outcomes;
mod refusals;
mod whole;
