//! The scenarios of Go's own tests for package `context`, ported by hand.
//!
//! Source: `src/context/x_test.go`, `context_test.go` and `afterfunc_test.go` of the Go project, copyright 2014 to 2023
//! The Go Authors, BSD-3-Clause (<https://go.dev/LICENSE>). The port takes the scenarios and the conditions that must hold
//! after them. The code is our own, and every test keeps the name of Go's test. The differences:
//!
//! - Time is manual where Go sleeps or waits a short time, so no test here waits for time to pass.
//! - `WithTimeout` returns no canceler here. Where Go cancels a timed context, the test uses `with_timeout` above or below
//!   `with_cancel`, depending on the scenario.
//! - The key of a value is its type, so `k2` and `k3` of `TestValues`, which are one type and two numbers, are two types here.
//!   A nil value is a `None`.
//! - `String()` begins with `Background`, not with `context.Background`, and shows only the type's name of a value.
//! - A Context is a concrete type. Go's tests with a user's own contexts (`otherContext`, `customDoneContext`,
//!   `customCauseContext`, `afterFuncContext`, `TestCustomContextGoroutines`) have no counterpart. Where the scenario is about
//!   a foreign source of cancellation, a merge replaces it.
//! - `TestWithValueChecksKey` and `TestInvalidDerivedFail` (a nil or incomparable key, a nil parent) do not compile here: see
//!   `compile_fail.rs`. `TestAllocs` is in `leak.rs`, which has the counting allocator.

#[path = "../common/mod.rs"]
mod common;

mod after_func;
mod causes;
mod ends;
mod values;

use common::{Wakes, poll};
use ripcord::{Context, Value};

/// `<-ctx.Done()` in a select with a default.
fn done_is_closed(ctx: &Context) -> bool {
    poll(&mut ctx.done(), &Wakes::new()).is_ready()
}

/// A value that stores the number of its layer. Go's keys are pointers, so Go finds the value of every layer. Here only the
/// nearest value of a type is found, which is the last one added.
#[derive(Debug, PartialEq)]
struct Layer(usize);

impl Value for Layer {}
