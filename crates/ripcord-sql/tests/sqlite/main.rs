//! SQLite under a context. A test that waits for a statement to run is told so by the statement, through an SQL function.

#![cfg(feature = "sqlite")]

mod bad_input;
mod borrowers;
mod common;
mod ends;
mod locks;
mod random;
mod spans;
mod telemetry;
mod writes;
