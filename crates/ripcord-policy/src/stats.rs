//! One shape of numbers for the policies.
//!
//! Each policy has `stats()`, which returns a plain struct of public counters that only grow, and a few gauges. A
//! counter that several policies have bears one name:
//!
//! | counter | counts |
//! |---|---|
//! | `started` | calls that were admitted and begun |
//! | `succeeded` | of those, the ones that ended well |
//! | `failed` | of those, the ones for which the callee is to blame |
//! | `canceled` | of those, the ones the caller gave up, by its context or by dropping the future, and other neutral ends |
//! | `rejected` | calls refused here and never begun |
//!
//! A call whose context had ended before it is `rejected`. A retry cannot judge an error whose type it does not know: its `failed` are
//! all runs that gave up.
//!
//! So `started = succeeded + failed + canceled` whenever nothing is under way. Taken while calls are under way, the
//! numbers are each right but not of one instant.
//!
//! A cache counts its loads so, and a pool its tasks, from when they are accepted. A limiter is the exception: it runs no
//! calls and never learns how they end, so [`LimiterStats`](crate::LimiterStats) has neither `started` nor `succeeded`
//! nor `failed`, but counts what was asked of it: `allowed`, `waited` and `reserved` were granted, `rejected` were
//! refused, and `canceled` were given up, or came under a
//! context that had ended. A reservation that is canceled is in both `reserved` and `canceled`.

pub(crate) use crate::counters::{Counters, LateCounters};
