//! The cache, tested against its specification on a manual clock.

mod common;
mod cycles;
mod deadlines;
mod errors;
mod failures;
mod listeners;
mod loads;
mod refresh;
mod second_level;
mod settings;
mod store;
mod threads;
