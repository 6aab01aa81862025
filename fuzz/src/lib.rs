//! What each codec must hold for every input: it never panics, it says what a second parser says that is written as plainly as
//! the grammar, and what it encodes it decodes again to the same.
//!
//! One target a codec, in `targets/`. `scripts/fuzz` runs them.

pub mod absolute;
pub mod deadlines;
pub mod identity;
pub mod lists;

/// Each byte as a character, so that the plain parsers can be written on text.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
