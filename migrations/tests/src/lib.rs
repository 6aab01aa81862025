//! What the comparisons need: an upstream that they control, and programs that they start and stop.

mod program;
mod upstream;

pub use program::{Answer, Program, send};
pub use upstream::{Seen, Upstream};
