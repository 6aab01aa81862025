#![cfg(target_os = "linux")]
//! Runs child processes that end with a [`ripcord::Context`]. When the context is canceled or its deadline passes, the command and
//! all of its descendants are ended: with `SIGTERM` and, after a grace period, with `SIGKILL`.
//!
//! The guide in `docs/guide` of the repository has a chapter about processes.
//!
//! # Usage
//!
//! ```toml
//! [dependencies]
//! ripcord = "0.1"
//! ripcord-process = "0.1"
//! tokio = { version = "1", features = ["macros", "rt"] }
//! ```
//!
//! ```
//! use std::time::Duration;
//! use ripcord::Context;
//! use ripcord_process::Command;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let ctx = Context::background().with_timeout(Duration::from_secs(1));
//! let script = "echo started; sleep 60 & sleep 60"; // both sleeps are ended
//! let error = Command::new("sh").args(["-c", script]).output(&ctx).await.unwrap_err();
//! assert!(error.is_deadline_exceeded());
//! assert_eq!(error.into_output().unwrap().stdout, b"started\n");
//! # }
//! ```
//!
//! # Which item
//!
//! | you want to | use |
//! |---|---|
//! | run a program and read its output | [`Command::output`] |
//! | run a program with this process's stdin, stdout and stderr | [`Command::status`] |
//! | read or write a program's pipes while it runs | [`Command::spawn`] and [`Child`] |
//! | send a signal, or end a program before its context ends | [`ChildHandle`] |
//! | give a program time to clean up | [`Command::grace`] |
//! | find out which processes a program left running | [`Exit::left_behind`] |
//! | find out which context ended a program, and why | [`Error`] |
//! | show the running commands | the inspector of `ripcord-http`: see [Spans](#spans) |
//! | export metrics | `describe_metrics`, feature `metrics` |
//! | use the deadline and the trace of the parent process | [`Context::from_env`](FromEnv::from_env) |
//! | run one command in a program that does nothing else, such as process 1 of a container | [`Command::adopt_orphans`] |
//!
//! # Spans
//!
//! If the context of a command has a [`Span`](ripcord::Span), this crate records a child span for the command. The span has the
//! name of the program and the source line that started the command. It ends when the command and its descendants have ended. The
//! inspector of `ripcord-http` shows such spans: if you pass the context of an HTTP request, the inspector shows the command below
//! the request.
//!
//! # Features
//!
//! No feature is on by default.
//!
//! - `metrics` records metrics of commands through the facade crate `metrics`: see `describe_metrics`. Leave this feature off
//!   if you install no recorder. Cost: the crate `metrics`, and calls of the recorder for each command.
//!
//! # Which systems
//!
//! The crate needs Linux 5.4 or later, with `/proc` mounted. On other systems the crate is empty. Without `/proc`, only the
//! command's process group is ended, and processes of the group that still run when the command exits receive `SIGKILL`
//! immediately.
//!
//! The command `ripcord run`, from the crate `ripcord-cli`, runs a command in the same way from a shell. See `ripcord run --help`,
//! and [the comparison with timeout(1)](https://docs.rs/crate/ripcord-process/latest/source/docs/timeout.md).

mod child;
mod command;
mod environment;
mod error;
mod exit;
#[cfg(feature = "metrics")]
mod metrics;
mod pidfd;
mod pipe;
mod signal;
mod supervisor;
mod tree;

pub use child::{Child, ChildHandle};
pub use command::Command;
pub use environment::{FromEnv, InheritedDeadline};
pub use error::Error;
pub use exit::{Exit, Output};
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use pipe::{ChildInput, ChildOutput};
pub use signal::Signal;
pub use tree::Process;

/// Runs the README's program as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
