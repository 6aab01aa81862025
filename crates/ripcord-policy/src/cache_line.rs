//! Memory of its own for what several threads write.

use std::ops::Deref;

/// A value that shares no cache line with its neighbours: who only reads those does not wait for whoever writes this.
///
/// Two lines of 64 bytes, as processors fetch them in pairs; also Apple's one of 128.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CacheLine<T>(T);

impl<T> CacheLine<T> {
    pub(crate) const fn new(value: T) -> Self {
        CacheLine(value)
    }
}

impl<T> Deref for CacheLine<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
