//! The cache by its specification, on a manual clock.

mod common;
mod deadlines;
mod failures;
mod hooks;
mod loads;
mod refresh;
mod settings;
mod store;
mod threads;
