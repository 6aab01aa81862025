//! Prints a tree for humans.

use std::fmt::{self, Write as _};

use super::handle::Span;
use super::snapshot::SpanSnapshot;
use super::tree::Tree;
use crate::error::{Error, ErrorKind};

/// Maximum number of levels that are indented. Indenting a million levels would print a million times a million spaces.
const MAX_INDENTED: usize = 64;

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, span) in self.snapshots().iter().enumerate() {
            if at > 0 {
                f.write_char('\n')?;
            }
            print_line(span, f)?;
        }
        match self.dropped() {
            dropped if dropped > 0 && self.at == Tree::ROOT => write!(f, "\n({dropped} more not recorded)"),
            _ => Ok(()),
        }
    }
}

fn print_line(span: &SpanSnapshot, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{:width$}- ", "", width = 2 * span.depth().min(MAX_INDENTED))?;
    if span.depth() > MAX_INDENTED {
        write!(f, "[level {}] ", span.depth())?;
    }
    OneLine(f).write_str(span.name())?;
    if !span.is_ended() {
        f.write_str(" (running)")?;
    }
    if span.is_panicked() {
        f.write_str(" (panicked)")?;
    }
    if let Some(error) = span.err() {
        f.write_str(" (")?;
        print_error(error, f)?;
        f.write_char(')')?;
    }
    write!(f, ": {:.*?}", f.precision().unwrap_or(1), span.duration())
}

fn print_error(error: &Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if f.alternate() {
        return write!(OneLine(f), "{error:#}");
    }
    f.write_str(match error.kind() {
        ErrorKind::Canceled => "canceled",
        ErrorKind::DeadlineExceeded => "deadline exceeded",
    })?;
    error.cause().map_or(Ok(()), |cause| write!(OneLine(f), ": {cause}"))
}

/// Escapes control characters, so that a name or a cause cannot imitate a line of the tree.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let mut plain = part.chars();
            match plain.next_back() {
                Some(last) if last.is_control() => write!(self.0, "{}{}", plain.as_str(), last.escape_debug())?,
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}
