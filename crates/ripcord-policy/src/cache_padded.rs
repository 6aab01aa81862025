//! Padding against false sharing.

use std::ops::Deref;

/// A value that shares no cache line with its neighbors, so that a write to it does not slow down reads of them.
///
/// The alignment is two lines of 64 bytes, since processors fetch them in pairs; Apple's lines have 128.
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
