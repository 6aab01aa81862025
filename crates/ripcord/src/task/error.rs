//! The reasons why a task has no output.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use crate::background;
use crate::error::Error;

/// The reason why a task has no output.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// The task's context ended first. The task was dropped or never polled. A blocking task may still be running.
    Ended(Error),
    /// The task panicked.
    Panicked(TaskPanic),
}

impl TaskError {
    /// Returns whether the task's context ended first.
    pub fn is_ended(&self) -> bool {
        matches!(self, TaskError::Ended(_))
    }

    /// Returns whether the task panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self, TaskError::Panicked(_))
    }

    /// Returns whether the task's context was canceled.
    pub fn is_canceled(&self) -> bool {
        self.end().is_some_and(Error::is_canceled)
    }

    /// Returns whether the deadline of the task's context passed.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.end().is_some_and(Error::is_deadline_exceeded)
    }

    /// Returns the error of the task's context, if the context ended first.
    pub fn end(&self) -> Option<&Error> {
        match self {
            TaskError::Ended(error) => Some(error),
            TaskError::Panicked(_) => None,
        }
    }

    /// Returns the panic, if the task panicked.
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
        self.end().map(|error| error as _)
    }
}

/// The panic of a task: its payload, and the line that started the task.
///
/// Clones share the payload.
#[derive(Clone)]
pub struct TaskPanic(Arc<Inner>);

struct Inner {
    message: Option<String>,
    location: &'static Location<'static>,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

impl TaskPanic {
    pub(crate) fn new(payload: Box<dyn Any + Send>, location: &'static Location<'static>) -> Self {
        let message = match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => Some((*text).to_owned()),
            (_, text) => text.cloned(),
        };
        TaskPanic(Arc::new(Inner { message, location, payload: Mutex::new(Some(payload)) }))
    }

    /// Returns the panic's message, if the payload is a text.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// Returns the line that started the task. The panic hook reports the line of the panic.
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }

    /// Returns the payload of the panic, for [`resume_unwind`](std::panic::resume_unwind). If a clone has returned the payload
    /// before, returns the message.
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        let payload = self.0.payload.lock().unwrap_or_else(PoisonError::into_inner).take();
        payload.unwrap_or_else(|| Box::new(self.message().unwrap_or("a task panicked").to_owned()))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The payload is the user's, so its drop is user code.
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
