//! The reasons why a task has no output.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use crate::background;
use crate::error::Error;

/// The error of a spawned task that has no output: the task's context ended first, or the task panicked.
///
/// The format `{}` prints `the task ended with its context`, or the message of the panic. The format `{:#}` also prints
/// the context's error, or the line of code that started the panicking task.
///
/// ```
/// use ripcord::TaskError;
///
/// fn describe(error: &TaskError) -> String {
///     match error {
///         TaskError::Ended(error) => format!("ended: {error}"),
///         TaskError::Panicked(panic) => format!("bug: {panic}"),
///         _ => error.to_string(),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// The task's context ended before the task had an output. The future of the task was dropped. The closure of a
    /// task from `Context::spawn_blocking` may still be running.
    ///
    /// This variant is also returned if the task was spawned outside of a tokio runtime, or if the runtime dropped the
    /// task. In both cases, the task's context is canceled.
    Ended(Error),
    /// The task's future or closure panicked.
    Panicked(TaskPanic),
}

impl TaskError {
    /// Returns whether the task's context ended before the task had an output.
    pub fn is_ended(&self) -> bool {
        matches!(self, TaskError::Ended(_))
    }

    /// Returns whether the task panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self, TaskError::Panicked(_))
    }

    /// Returns whether the task has no output because its context was canceled.
    pub fn is_canceled(&self) -> bool {
        self.context_error().is_some_and(Error::is_canceled)
    }

    /// Returns whether the task has no output because its context's deadline passed or idle timeout expired.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.context_error().is_some_and(Error::is_deadline_exceeded)
    }

    /// Returns the error of the task's context, or `None` if the task panicked.
    pub fn context_error(&self) -> Option<&Error> {
        match self {
            TaskError::Ended(error) => Some(error),
            TaskError::Panicked(_) => None,
        }
    }

    /// Returns the panic, or `None` if the task's context ended first.
    pub fn panic(&self) -> Option<&TaskPanic> {
        match self {
            TaskError::Ended(_) => None,
            TaskError::Panicked(panic) => Some(panic),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Ended(error) if f.alternate() => write!(f, "the task ended with its context: {error:#}"),
            TaskError::Ended(_) => f.write_str("the task ended with its context"),
            TaskError::Panicked(panic) => fmt::Display::fmt(panic, f),
        }
    }
}

impl StdError for TaskError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.context_error().map(|error| error as _)
    }
}

/// The panic of a task: the panic's payload, and the line of code that started the task.
///
/// The format `{}` prints the message of the panic. The format `{:#}` also prints the line of code. Clones share the
/// payload.
#[derive(Clone)]
pub struct TaskPanic(Arc<Inner>);

struct Inner {
    message: Option<String>,
    location: &'static Location<'static>,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

impl TaskPanic {
    pub(crate) fn new(payload: Box<dyn Any + Send>, location: &'static Location<'static>) -> Self {
        let message = background::panic_message(&*payload).map(str::to_owned);
        TaskPanic(Arc::new(Inner { message, location, payload: Mutex::new(Some(payload)) }))
    }

    /// Returns the panic's message, or `None` if the panic's payload is not a string.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// Returns the line of code that started the task. The panic hook reports the line that panicked.
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }

    /// Returns the payload of the panic, for [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// Clones share one payload, and the first call on any of them returns it. A later call returns a `String` with the
    /// [message](TaskPanic::message), or with the text `a task panicked` if there is no message.
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        let payload = self.0.payload.lock().unwrap_or_else(PoisonError::into_inner).take();
        payload.unwrap_or_else(|| Box::new(self.message().unwrap_or("a task panicked").to_owned()))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The payload is a user's value, so its drop is user code.
        let payload = self.payload.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        background::shielded(|| drop(payload));
    }
}

impl fmt::Display for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("task panicked")?;
        if let Some(message) = self.message() {
            write!(f, ": {message}")?;
        }
        if f.alternate() { write!(f, " (spawned at {})", self.location()) } else { Ok(()) }
    }
}

impl fmt::Debug for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPanic")
            .field("message", &self.message())
            .field("location", &format_args!("{}", self.location()))
            .finish()
    }
}

impl StdError for TaskPanic {}
