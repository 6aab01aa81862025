//! The futures: each named, each saying what dropping it does.

mod done;
mod run;
mod scope;
mod sleep;

pub use done::{Done, DoneOwned};
pub(crate) use run::Ending;
pub use run::FutureExt;
pub use sleep::Sleep;

pub use crate::raw::pin::{Run, Scope, WithContext};
