//! The circuit breaker, tested against its specification on a manual clock.

mod common;
mod hooks;
mod keyed;
mod peers;
mod rules;
mod threads;
