//! The circuit breaker by its specification, on a manual clock.

mod common;
mod hooks;
mod keyed;
mod rules;
mod threads;
