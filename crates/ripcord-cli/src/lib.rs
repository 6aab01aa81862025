//! The parts of the `ripcord` binary.
//!
//! The binary parses its arguments, runs a command, and returns an exit code. All other code is in this library, so that tests
//! can run it in their own process with a manual clock. Do not depend on this library. The README of this crate describes the
//! service and its settings.
//!
//! [`serve`] contains the reference service, which shows how to use a [`Context`](ripcord::Context) in a server. [`search`]
//! contains the search that calls backends. [`backends`] contains the built-in backends.

pub mod backends;
mod html;
pub mod queue;
#[cfg(target_os = "linux")]
pub mod run;
pub mod search;
pub mod serve;

/// Runs the program in the repository's README as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
