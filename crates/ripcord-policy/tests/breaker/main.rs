//! The circuit breaker, tested against its specification on a manual clock.

mod common;
mod hooks;
mod keyed;
mod rules;
mod threads;
