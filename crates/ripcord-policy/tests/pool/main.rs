//! The worker pool, tested against its specification on a manual clock.

mod common;
mod jobs;
mod nested;
mod queue;
mod results;
mod shutdown;
mod submitters;
mod workers;
