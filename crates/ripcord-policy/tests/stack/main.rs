//! The composition: what each layer saw, for every way a call can end.

mod caching;
mod clocks;
mod common;
mod outcomes;
mod refusals;
mod whole;
