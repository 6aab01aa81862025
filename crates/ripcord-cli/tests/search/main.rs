//! Tests `/search` over real HTTP, with backends whose answers the tests send, on a manual clock.
//!
//! The tests do not sleep. They wait for the arrival of a request, for a disconnect, or for a line of the metrics.

mod answers;
mod backend;
mod ends;
mod metrics;
mod policies;
mod service;
mod trust;
