//! A cell whose accesses loom checks.
//!
//! `read` and `write` return plain pointers, as `std::cell::UnsafeCell::get` does, and cost the same. In a model, each call
//! also reports the access. loom fails if two conflicting accesses are not ordered by happens-before.

use std::cell::UnsafeCell;

use crate::atomic::Access;

/// An `UnsafeCell` with separate methods for reading and writing.
pub(in crate::raw) struct Cell<T> {
    access: Access,
    value: UnsafeCell<T>,
}

impl<T> Cell<T> {
    pub(in crate::raw) const fn new(access: Access, value: T) -> Self {
        Cell { access, value: UnsafeCell::new(value) }
    }

    /// Returns a pointer for reading.
    pub(in crate::raw) fn read(&self) -> *const T {
        self.access.read();
        self.value.get()
    }

    /// Returns a pointer for reading and writing.
    pub(in crate::raw) fn write(&self) -> *mut T {
        self.access.write();
        self.value.get()
    }

    /// Returns the value, which no other thread can reach.
    pub(in crate::raw) fn get_mut(&mut self) -> &mut T {
        self.access.write();
        self.value.get_mut()
    }

    /// Returns a pointer to the value of a cell that is being initialized. The caller has to write the value.
    ///
    /// # Safety
    ///
    /// `this` points to memory for a cell that no other thread can reach.
    pub(in crate::raw) unsafe fn initialize(this: *mut Self) -> *mut T {
        // SAFETY: by the contract, only this caller can reach the memory.
        unsafe { (&raw mut (*this).access).write(Access::new()) };
        // SAFETY: as above. No reference to the value is created.
        UnsafeCell::raw_get(unsafe { &raw const (*this).value })
    }
}
