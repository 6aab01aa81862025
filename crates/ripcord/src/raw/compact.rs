//! An error in two words, both of them scalars.
//!
//! An `enum` of the same two words is passed through memory: it is written in parts and read as a whole, which stalls the
//! processor for longer than all the rest of `err` takes (row C20). A pointer and a number are passed in registers, and so is
//! an `Option` of them.

use std::marker::PhantomData;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

/// A place in the source with a number of 63 bits, or something shared.
pub(crate) struct Compact<S> {
    /// What an `Arc<S>` points to when `bits` is `SHARED`, else a `&'static Location`.
    pointer: NonNull<()>,
    /// `SHARED`, or twice the number.
    bits: u64,
    _owns: PhantomData<Arc<S>>,
}

/// No number is this, since twice a number is even.
const SHARED: u64 = 1;

// SAFETY: it is a shared reference to a `Location`, which is Sync, or an `Arc<S>`; the bounds are those of `Arc`.
unsafe impl<S: Send + Sync> Send for Compact<S> {}
// SAFETY: as above.
unsafe impl<S: Send + Sync> Sync for Compact<S> {}

/// What is in a [`Compact`].
pub(crate) enum View<'a, S> {
    Place(&'static Location<'static>, u64),
    Shared(&'a S),
}

impl<S> Compact<S> {
    /// `number` is less than 2^63.
    #[inline]
    pub(crate) fn place(location: &'static Location<'static>, number: u64) -> Self {
        debug_assert!(number >> 63 == 0);
        Compact { pointer: NonNull::from(location).cast(), bits: number << 1, _owns: PhantomData }
    }

    pub(crate) fn shared(shared: S) -> Self {
        // SAFETY: what an `Arc` points to is not null.
        let pointer = unsafe { NonNull::new_unchecked(Arc::into_raw(Arc::new(shared)).cast_mut()) };
        Compact { pointer: pointer.cast(), bits: SHARED, _owns: PhantomData }
    }

    #[inline]
    pub(crate) fn view(&self) -> View<'_, S> {
        if self.bits == SHARED {
            // SAFETY: `shared` made it, from an `Arc` whose count this still has a part in.
            View::Shared(unsafe { self.pointer.cast().as_ref() })
        } else {
            // SAFETY: `place` made it, from a reference that lives for ever.
            View::Place(unsafe { self.pointer.cast().as_ref() }, self.bits >> 1)
        }
    }

    #[cold]
    fn drop_shared(&mut self) {
        // SAFETY: `shared` or `clone` made it, from an `Arc`, and it is dropped once.
        drop(unsafe { Arc::from_raw(self.pointer.cast::<S>().as_ptr()) });
    }
}

impl<S> Clone for Compact<S> {
    fn clone(&self) -> Self {
        if self.bits == SHARED {
            // SAFETY: it comes from an `Arc` whose count this has a part in; the clone has the part that is added here.
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
    fn a_place_comes_back_with_its_number() {
        for number in [0, 1, 0x1234_5678_9ABC_DEF0, (1 << 63) - 1] {
            let location = Location::caller();
            let compact = Compact::<String>::place(location, number).clone();
            let View::Place(known, known_number) = compact.view() else { panic!("it is a place") };
            assert!(std::ptr::eq(known, location) && known_number == number);
        }
    }

    #[test]
    fn what_is_shared_is_dropped_with_the_last_clone() {
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
    fn an_optional_one_takes_two_words() {
        assert_eq!(size_of::<Option<Compact<String>>>(), 16);
    }
}
