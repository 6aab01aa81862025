//! The named futures of a context, each with the method of `Context` that returns it.

// rustdoc lists the methods in the order of these modules.
mod done;
mod run;
mod run_with_grace;
mod scope;
mod sleep;

pub use done::{Done, DoneOwned};
#[cfg(feature = "tokio")]
pub(crate) use run::Ending;
pub use run::{FutureExt, Run, WithContext};
pub use run_with_grace::RunWithGrace;
pub use scope::Scope;
pub use sleep::Sleep;
