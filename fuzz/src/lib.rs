//! Checks of the wire codecs for any input: a codec never panics, agrees with a second parser that follows the grammar literally, and
//! decodes its own output to the same value.
//!
//! `targets/` has one target for all deadline dialects, and one for each other header. `scripts/fuzz` runs them.

pub mod absolute;
pub mod deadlines;
pub mod identity;
pub mod lists;

/// Converts each byte to a character, because the second parsers work on text.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
