//! The marker of a canceled ID, as JSON. The message about it is the same text.

use std::panic::Location;

use serde::{Deserialize, Serialize};

/// The kind of the message on the channel.
const KIND: &str = "cancel";
/// Maximum length of the cause in bytes.
const MAX_CAUSE: usize = 1024;
/// Maximum length of the canceler's name and of its location in bytes.
const MAX_NAME: usize = 256;
/// The end of a text that was cut.
const CUT: &str = "...";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    kind: String,
    id: String,
    cause: String,
    canceler: String,
    /// File, line and column.
    location: String,
    /// A random number, by which a canceler recognizes its own marker.
    token: String,
}

impl Marker {
    pub(crate) fn new(id: &str, cause: &str, canceler: &str, location: &Location<'_>) -> Self {
        Marker {
            kind: KIND.to_owned(),
            id: id.to_owned(),
            cause: cut(cause, MAX_CAUSE),
            canceler: cut(canceler, MAX_NAME),
            location: cut(&location.to_string(), MAX_NAME),
            token: format!("{:016x}", ripcord_policy::Random::new().next_u64()),
        }
    }

    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads a marker. Returns `None` if the text is another message.
    pub(crate) fn from_json(text: &[u8]) -> Option<Self> {
        let mut marker: Marker = serde_json::from_slice(text).ok().filter(|marker: &Marker| marker.kind == KIND)?;
        // Another version may have other limits.
        marker.cause = cut(&marker.cause, MAX_CAUSE);
        marker.canceler = cut(&marker.canceler, MAX_NAME);
        marker.location = cut(&marker.location, MAX_NAME);
        Some(marker)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn cause(&self) -> &str {
        &self.cause
    }

    pub(crate) fn canceler(&self) -> &str {
        &self.canceler
    }

    pub(crate) fn location(&self) -> &str {
        &self.location
    }
}

/// Cuts a text between two characters.
fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max - CUT.len()).rev().find(|end| text.is_char_boundary(*end));
    format!("{}{CUT}", &text[..end.unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_comes_back_as_it_was() {
        let marker = Marker::new("a\"b", "größer\n", "shop-1", Location::caller());
        assert_eq!(Marker::from_json(marker.to_json().expect("text").as_bytes()), Some(marker));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let marker = Marker::new("a", &"大".repeat(1000), &"x".repeat(257), Location::caller());
        assert_eq!(marker.cause(), "大".repeat(340) + "...");
        assert_eq!(marker.canceler(), "x".repeat(253) + "...");
    }

    #[test]
    fn other_messages_are_no_markers() {
        let mut marker = Marker::new("a", "b", "c", Location::caller());
        marker.kind = "limit".to_owned();
        assert_eq!(Marker::from_json(marker.to_json().expect("text").as_bytes()), None);
        for text in ["", "{}", "\u{0}", "{\"kind\":\"cancel\"}", "[1]"] {
            assert_eq!(Marker::from_json(text.as_bytes()), None, "{text:?}");
        }
    }
}
