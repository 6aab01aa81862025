//! What the `ripcord` binary is made of.
//!
//! The binary itself parses its arguments, runs one of these, and turns the outcome into an exit code. The rest is a
//! library so that tests can drive it in-process, on a clock of their own.
//!
//! [`serve`] is the reference service: the place where a newcomer sees what a [`Context`](ripcord::Context) is for.
//! [`search`] is the part of it that calls others, and [`backends`] are those others, for when none are given. They know nothing of
//! the service; all of them stand on [`connections`].

pub mod backends;
pub mod connections;
mod html;
pub mod search;
pub mod serve;

/// Runs the program in the repository's README as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
