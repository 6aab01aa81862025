//! `/search`, over real HTTP to backends that the tests answer for, on a clock that the tests move.
//!
//! Nothing here sleeps: a test waits for a request to arrive, for one to be given up, or for a figure to be counted.

mod answers;
mod backend;
mod ends;
mod metrics;
mod policies;
mod service;
mod trust;
