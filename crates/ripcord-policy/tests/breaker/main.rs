//! The circuit breaker by its specification, on a manual clock.

mod common;
mod hooks;
mod rules;
mod threads;
