//! Padding against false sharing.

use std::ops::Deref;

/// A value that shares no cache line with its neighbors, so that a write to it does not slow down reads of them.
///
/// The alignment is two lines of 64 bytes, because processors fetch lines in pairs. Apple's processors have lines of 128 bytes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    pub(crate) const fn new(value: T) -> Self {
        CachePadded(value)
    }
}

impl<T> Deref for CachePadded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
