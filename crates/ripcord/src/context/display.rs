//! `Display` of a context: its chain, in Go's format.

use std::fmt;
use std::time::Duration;

use super::Context;
use crate::raw::movable::Movable;
use crate::raw::node::{Kind, NEVER, Node, NodeRef};

/// Maximum number of merged contexts that are printed with both parents. Shared parents are printed once for each path to them.
const MAX_MERGES: usize = 16;

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        enum Part<'a> {
            Chain(&'a NodeRef),
            Link(&'a Node),
            Text(&'static str),
        }
        let Some(node) = self.node() else { return f.write_str("Background") };
        let mut merges = 0;
        // Uses a list instead of recursion, because the user decides how long a chain is. The last part is printed first.
        let mut parts = vec![Part::Chain(node)];
        while let Some(part) = parts.pop() {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Link(node) => print_link(node, f)?,
                Part::Chain(node) => {
                    let mut at = node;
                    loop {
                        if let Kind::Merge(merge) = at.kind() {
                            merges += 1;
                            if merges > MAX_MERGES {
                                parts.push(Part::Text("Merge(..)"));
                            } else {
                                parts.push(Part::Text(")"));
                                parts.push(Part::Chain(&merge.other));
                                parts.push(Part::Text(", "));
                                parts.extend(at.parent.as_ref().map(Part::Chain));
                                parts.push(Part::Text("Merge("));
                            }
                            break;
                        }
                        parts.push(Part::Link(at));
                        match &at.parent {
                            Some(parent) => at = parent,
                            None => {
                                if !matches!(at.kind(), Kind::Todo) {
                                    parts.push(Part::Text("Background"));
                                }
                                break;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn print_link(node: &Node, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match node.kind() {
        Kind::Todo => f.write_str("TODO"),
        Kind::Cancel => f.write_str(".WithCancel"),
        Kind::Attached => Ok(()),
        Kind::Deadline { when } => {
            let left = when.saturating_sub(node.clock().ticks());
            if left <= 0 {
                return f.write_str(".WithDeadline(passed)");
            }
            write!(f, ".WithDeadline({:.2?} left)", Duration::from_nanos(left.unsigned_abs()))
        }
        Kind::Movable(movable) => print_movable(node, movable, f),
        Kind::WithoutCancel => f.write_str(".WithoutCancel"),
        Kind::Shielded(shield) => write!(f, ".Shielded({:?})", Duration::from_nanos(shield.grace.unsigned_abs())),
        Kind::Value(entry) => {
            f.write_str(".WithValue(")?;
            entry.value().show(f)?;
            f.write_str(")")
        }
        Kind::Name(name) => write!(f, ".WithName({name})"),
        Kind::Clock(clock) => write!(f, ".WithClock({clock:?})"),
        // The caller prints the merged context with both of its parents.
        Kind::Merge(_) => Ok(()),
    }
}

fn print_movable(node: &Node, movable: &Movable, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let duration = |nanoseconds: i64| Duration::from_nanos(nanoseconds.unsigned_abs());
    match (movable.idle(), movable.when()) {
        (Some(NEVER), _) => f.write_str(".WithIdleTimeout(none)"),
        (Some(timeout), _) => write!(f, ".WithIdleTimeout({:?})", duration(timeout)),
        (None, NEVER) => f.write_str(".WithMovableDeadline(none)"),
        (None, when) => match when.saturating_sub(node.clock().ticks()) {
            ..=0 => f.write_str(".WithMovableDeadline(passed)"),
            left => write!(f, ".WithMovableDeadline({:.2?} left)", duration(left)),
        },
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
