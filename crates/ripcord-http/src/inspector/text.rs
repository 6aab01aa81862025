//! Makes untrusted text safe to show: limits the length and escapes invisible characters.

use std::fmt::{self, Write as _};
use std::panic::{self, AssertUnwindSafe};

/// Maximum number of characters of a shown text.
const MAX_CHARS: usize = 400;

/// Returns the `Display` of `value`, cut after [`MAX_CHARS`] characters. Escapes invisible characters, and characters that change
/// the reading direction.
///
/// Catches a panic of `Display`, which is the user's code.
pub(super) fn shown(value: impl fmt::Display) -> String {
    let mut shown = Shown { text: String::new(), left: MAX_CHARS };
    let written = panic::catch_unwind(AssertUnwindSafe(|| write!(shown, "{value}")));
    if written.is_err() {
        shown.text.push_str("(its Display panicked)");
    }
    shown.text
}

struct Shown {
    text: String,
    left: usize,
}

impl fmt::Write for Shown {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for character in part.chars() {
            if self.left == 0 {
                self.text.push('…');
                // The error stops formatting.
                return Err(fmt::Error);
            }
            self.left -= 1;
            if is_visible(character) {
                self.text.push(character);
            } else {
                self.text.extend(character.escape_unicode());
            }
        }
        Ok(())
    }
}

/// Returns false for control characters, and for Unicode format characters that can make a text look like another text.
fn is_visible(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::{MAX_CHARS, shown};

    #[test]
    fn invisible_characters_are_escaped() {
        assert_eq!(shown("GET /räksmörgås <b>&\"'"), "GET /räksmörgås <b>&\"'");
        assert_eq!(shown("a\r\ndata: b"), "a\\u{d}\\u{a}data: b");
        assert_eq!(shown("user\u{202e}gnp.exe"), "user\\u{202e}gnp.exe");
        assert_eq!(shown("a\u{200b}b\0"), "a\\u{200b}b\\u{0}");
    }

    #[test]
    fn long_text_is_cut() {
        let text = shown("ä".repeat(1_000_000));
        assert_eq!(text.chars().count(), MAX_CHARS + 1);
        assert!(text.ends_with("ä…"));
        assert_eq!(shown("a".repeat(MAX_CHARS)), "a".repeat(MAX_CHARS));
    }

    #[test]
    fn panicking_display_is_caught() {
        struct Bad;
        impl fmt::Display for Bad {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half ")?;
                panic!("in Display")
            }
        }
        assert_eq!(shown(Bad), "half (its Display panicked)");
    }
}
