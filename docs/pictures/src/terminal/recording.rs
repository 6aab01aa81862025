//! The recording of two terminals: a line for each line that was typed or printed.
//!
//! ```text
//! # Lines with a number sign are comments.
//! 0     1 $ cargo run --release -- serve --demo
//! 96104 1 | Listening on http://127.0.0.1:8080
//! 98021 2 ! curl: (28) Operation timed out after 1001 milliseconds with 0 bytes received
//! ```
//!
//! The fields are the milliseconds since the start, the window, and the kind: `$` for a command, `|` for output, `!` for an error.

/// A line that was typed or printed.
pub(super) struct Event<'a> {
    /// The time since the start of the recording.
    pub(super) seconds: f64,
    pub(super) window: Window,
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Window {
    First,
    Second,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Command,
    Output,
    Error,
}

impl Window {
    pub(super) fn name(self) -> &'static str {
        match self {
            Window::First => "Terminal 1",
            Window::Second => "Terminal 2",
        }
    }
}

/// Reads a recording.
///
/// # Errors
///
/// Returns an error that contains the first line that is not as above, or if there is no such line.
pub(super) fn read(text: &str) -> Result<Vec<Event<'_>>, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let events: Vec<_> = lines
        .map(|line| event(line).ok_or_else(|| format!("not a line of a recording: {line}")))
        .collect::<Result<_, _>>()?;
    if events.is_empty() { Err("an empty recording".to_owned()) } else { Ok(events) }
}

fn event(line: &str) -> Option<Event<'_>> {
    let (milliseconds, rest) = line.split_once(' ')?;
    let (window, rest) = rest.trim_start().split_once(' ')?;
    let (kind, text) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(Event {
        seconds: f64::from(milliseconds.parse::<u32>().ok()?) / 1000.0,
        window: match window {
            "1" => Window::First,
            "2" => Window::Second,
            _ => return None,
        },
        kind: match kind {
            "$" => Kind::Command,
            "|" => Kind::Output,
            "!" => Kind::Error,
            _ => return None,
        },
        text,
    })
}
