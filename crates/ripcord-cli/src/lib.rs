//! The parts of the `ripcord` binary.
//!
//! The binary parses its arguments, runs a command, and returns an exit code. The rest is a library, so that tests can run it
//! in-process on a manual clock. It is not an API to build on. The README of this crate describes the service and its settings.
//!
//! [`serve`] is the reference service: it shows what a [`Context`](ripcord::Context) does in a server. [`search`] is the part that
//! calls backends, and [`backends`] are the built-in ones.

pub mod backends;
mod html;
#[cfg(target_os = "linux")]
pub mod run;
pub mod search;
pub mod serve;

/// Runs the program in the repository's README as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
