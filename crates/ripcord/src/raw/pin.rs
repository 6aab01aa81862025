//! The futures that hold a user's future, with the projections that `Pin` needs.
//!
//! An `async fn` would need no `unsafe`, and would hold the future twice: as its argument and as its local.

use std::pin::Pin;

use crate::context::Context;
use crate::future::Ending;

/// Defines a public future over a user's one, and the one projection it needs: the future pinned, the state not.
macro_rules! define {
    ($(#[$attribute:meta])* $name:ident [$($lifetime:lifetime)?] $state:ty) => {
        $(#[$attribute])*
        #[must_use = "futures do nothing unless polled"]
        pub struct $name<$($lifetime,)? F> {
            future: F,
            state: $state,
        }

        // The state is never pinned, so only the future decides.
        impl<$($lifetime,)? F: Unpin> Unpin for $name<$($lifetime,)? F> {}

        impl<$($lifetime,)? F> $name<$($lifetime,)? F> {
            pub(crate) fn new(future: F, state: $state) -> Self {
                $name { future, state }
            }

            pub(crate) fn project(self: Pin<&mut Self>) -> (Pin<&mut F>, &mut $state) {
                // SAFETY: `future` is pinned structurally: it is private, never moved out nor handed out but here, the
                // type has no `Drop`, is not packed, and is `Unpin` only if `F` is. `state` is never pinned.
                unsafe {
                    let this = self.get_unchecked_mut();
                    (Pin::new_unchecked(&mut this.future), &mut this.state)
                }
            }

            pub(crate) fn state(&self) -> &$state {
                &self.state
            }
        }
    };
}

define! {
    /// A future that ends with its context: see [`Context::run`].
    Run['a] Ending<&'a Context>
}

define! {
    /// As [`Run`], holding its context, so that it can be spawned: see
    /// [`FutureExt::with_context`](crate::FutureExt::with_context).
    WithContext[] Ending<Context>
}

define! {
    /// A future in which [`Context::current`] is set: see [`Context::scope`].
    Scope[] Context
}
