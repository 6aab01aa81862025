//! Tests the binary `ripcord run` with real processes. Each wait has a time limit. A test kills the processes that it started by
//! their numbers when it ends.
#![cfg(target_os = "linux")]

mod arguments;
mod common;
mod deadlines;
mod environment;
mod exit_codes;
mod leftovers;
mod process_one;
mod retries;
mod signals;
mod terminal;
