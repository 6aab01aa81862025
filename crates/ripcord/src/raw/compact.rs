//! An error in two words that are passed in registers.
//!
//! An `enum` of the same two words is passed through memory. It is written in parts and read as a whole, which stalls the
//! processor for longer than the rest of `err` takes (row C20). A pointer and a number are passed in registers, and so is an
//! `Option` of the two.

use std::marker::PhantomData;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

/// A source location with a number of 63 bits, or a shared value.
pub(crate) struct Compact<S> {
    /// The pointer of an `Arc<S>` if `bits` is `SHARED`. Otherwise a `&'static Location`.
    pointer: NonNull<()>,
    /// `SHARED`, or twice the number.
    bits: u64,
    _owns: PhantomData<Arc<S>>,
}

/// Distinct from every number, because twice a number is even.
const SHARED: u64 = 1;

// SAFETY: a `Compact` is a reference to a `Location`, which is Sync, or an `Arc<S>`, which has these bounds.
unsafe impl<S: Send + Sync> Send for Compact<S> {}
// SAFETY: as above.
unsafe impl<S: Send + Sync> Sync for Compact<S> {}

/// The contents of a [`Compact`].
pub(crate) enum View<'a, S> {
    Location(&'static Location<'static>, u64),
    Shared(&'a S),
}

impl<S> Compact<S> {
    /// Stores a location with a number, which must be less than 2^63.
    #[inline]
    pub(crate) fn location(location: &'static Location<'static>, number: u64) -> Self {
        debug_assert!(number >> 63 == 0);
        Compact { pointer: NonNull::from(location).cast(), bits: number << 1, _owns: PhantomData }
    }

    pub(crate) fn shared(shared: S) -> Self {
        // SAFETY: the pointer of an `Arc` is not null.
        let pointer = unsafe { NonNull::new_unchecked(Arc::into_raw(Arc::new(shared)).cast_mut()) };
        Compact { pointer: pointer.cast(), bits: SHARED, _owns: PhantomData }
    }

    #[inline]
    pub(crate) fn view(&self) -> View<'_, S> {
        if self.bits == SHARED {
            // SAFETY: `shared` or `clone` created the pointer from an `Arc`, and this value owns one count of it.
            View::Shared(unsafe { self.pointer.cast().as_ref() })
        } else {
            // SAFETY: `location` created the pointer from a static reference.
            View::Location(unsafe { self.pointer.cast().as_ref() }, self.bits >> 1)
        }
    }

    #[cold]
    fn drop_shared(&mut self) {
        // SAFETY: `shared` or `clone` created the pointer from an `Arc`, and this value's count is dropped once.
        drop(unsafe { Arc::from_raw(self.pointer.cast::<S>().as_ptr()) });
    }
}

impl<S> Clone for Compact<S> {
    fn clone(&self) -> Self {
        if self.bits == SHARED {
            // SAFETY: the pointer is from an `Arc`, and this value owns one count of it. The clone owns the count that is added
            // here.
            unsafe { Arc::increment_strong_count(self.pointer.cast::<S>().as_ptr()) };
        }
        Compact { pointer: self.pointer, bits: self.bits, _owns: PhantomData }
    }
}

impl<S> Drop for Compact<S> {
    #[inline]
    fn drop(&mut self) {
        if self.bits == SHARED {
            self.drop_shared();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn location_is_returned_with_its_number() {
        for number in [0, 1, 0x1234_5678_9ABC_DEF0, (1 << 63) - 1] {
            let location = Location::caller();
            let compact = Compact::<String>::location(location, number).clone();
            let View::Location(known, known_number) = compact.view() else { panic!("it is a location") };
            assert!(std::ptr::eq(known, location) && known_number == number);
        }
    }

    #[test]
    fn shared_value_is_dropped_with_the_last_clone() {
        let counted = Arc::new(());
        let compact = Compact::shared(Arc::clone(&counted));
        let clone = compact.clone();
        drop(compact);
        let View::Shared(shared) = clone.view() else { panic!("it is shared") };
        assert!(Arc::ptr_eq(shared, &counted) && Arc::strong_count(&counted) == 2);
        drop(clone);
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn optional_handle_takes_two_words() {
        assert_eq!(size_of::<Option<Compact<String>>>(), 16);
    }
}
