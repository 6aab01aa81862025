//! A slot whose content one caller uses at a time. The end of a context takes the content out.

use std::sync::{Mutex, PoisonError};

/// Contains the connection of a transaction, or the rest of a stream, while no call uses it.
///
/// The end of the context can take the content out immediately, without a task that polls.
#[derive(Debug)]
pub(super) struct Slot<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Here(T),
    Taken,
    Closed,
}

/// The reason why the slot has no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// Another call has the content.
    Taken,
    Closed,
}

impl<T> Slot<T> {
    pub(super) fn new(content: T) -> Self {
        Slot(Mutex::new(State::Here(content)))
    }

    /// Takes the content. The caller must put it back.
    pub(super) fn take(&self) -> Result<T, Unavailable> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Here(content) => Ok(content),
            State::Taken => Err(Unavailable::Taken),
            State::Closed => {
                *state = State::Closed;
                Err(Unavailable::Closed)
            }
        }
    }

    /// Puts the content back. Returns the content if the slot was closed in the meantime.
    pub(super) fn put(&self, content: T) -> Option<T> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed => Some(content),
            State::Here(_) | State::Taken => {
                *state = State::Here(content);
                None
            }
        }
    }

    /// Closes the slot permanently. Returns the content if no call has it.
    pub(super) fn close(&self) -> Option<T> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Closed) {
            State::Here(content) => Some(content),
            State::Taken | State::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Slot, Unavailable};

    #[test]
    fn content_that_is_taken_at_the_close_comes_back_from_put() {
        let slot = Slot::new(7);
        assert_eq!(slot.take(), Ok(7));
        assert_eq!(slot.take(), Err(Unavailable::Taken));
        assert_eq!(slot.close(), None);
        assert_eq!(slot.put(7), Some(7));
        assert_eq!(slot.take(), Err(Unavailable::Closed));
    }

    #[test]
    fn close_returns_content_that_nobody_uses() {
        let slot = Slot::new(7);
        assert_eq!(slot.take(), Ok(7));
        assert_eq!(slot.put(7), None);
        assert_eq!(slot.close(), Some(7));
        assert_eq!(slot.close(), None);
    }
}
