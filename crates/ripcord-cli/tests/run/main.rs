//! `ripcord run` as a caller sees it: the binary, with real processes. Each wait has an outer limit, and what a test starts is
//! killed by its number when the test ends.
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
