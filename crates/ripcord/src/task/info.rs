//! A snapshot of one task.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::list::Entry;

/// A snapshot of one task. [`Tasks::list`](crate::Tasks::list) returns it.
///
/// The [`Report`](crate::Report) of a shutdown contains such snapshots too, from the end of the drain
/// ([`canceled`](crate::Report::canceled)) and from the end of the last phase ([`left`](crate::Report::left)).
///
/// `Display` prints one line: the task's name, the line that started it, and its age.
#[derive(Clone)]
pub struct TaskInfo {
    name: Option<Arc<Cow<'static, str>>>,
    location: &'static Location<'static>,
    age: Duration,
    ended: bool,
}

impl TaskInfo {
    pub(super) fn new(entry: &Entry) -> Self {
        let Entry { ctx, location, start } = entry;
        let age = ctx.clock_ref().ticks().saturating_sub(*start);
        TaskInfo {
            name: ctx.node().and_then(|node| node.name()).cloned(),
            location,
            age: Duration::from_nanos(age.max(0).unsigned_abs()),
            ended: ctx.is_done(),
        }
    }

    /// Returns the [name](crate::Context::with_name) of the task's context or of its nearest ancestor with a name. Returns
    /// `None` if none of them has a name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|name| &***name)
    }

    /// Returns the line of code that started the task.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Returns the time from the start of the task to the snapshot, measured by the clock of the task's context.
    pub fn age(&self) -> Duration {
        self.age
    }

    /// Returns whether the task's context had ended before the snapshot was taken.
    ///
    /// The task itself was still running, even if this method returns `true`. For example, the task was cleaning up, or
    /// it does not check its context.
    pub fn is_ended(&self) -> bool {
        self.ended
    }
}

impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} spawned at {} {:.1?} ago", self.name().unwrap_or("task"), self.location, self.age)?;
        if self.ended { f.write_str(", context ended") } else { Ok(()) }
    }
}

impl fmt::Debug for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskInfo")
            .field("name", &self.name())
            .field("location", &format_args!("{}", self.location))
            .field("age", &self.age)
            .field("ended", &self.ended)
            .finish()
    }
}
