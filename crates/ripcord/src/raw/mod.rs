//! All of the crate's `unsafe` code.
//!
//! | file | unsafe code | the bench row or figure that requires it |
//! |---|---|---|
//! | `node` | reference count, fields under a lock bit, pointers to children | rows C1, C3, C7, C9: `Arc` + `Mutex` + `Weak` cost twice the target |
//! | `node/payload` | a union whose tag is in the node | rows C12, C18: 72 bytes instead of 80, and one cache line for a walk |
//! | `node/memory` | reuse of the memory of freed nodes | row C1: the allocator takes half of its time |
//! | `node/reference` | writing the fields of a node in place | rows C1, C2, C7 |
//! | `tree` | following a child's pointer while its parent is locked | row C9 |
//! | `timers` | following a timer's pointer while its queue is locked | row C14 |
//! | `cell` | initializing a cell in place | row C1 |
//! | `compact` | an `Arc` or a reference in one pointer | row C20 |
//! | `coarse` | calling the C library's clock | rows C2, C7, C13 |
//! | `timer_slack` | calling the C library's `prctl` | row C19 |
//! | `lock` | one-byte lock | rows C7, C8, C14 |
//! | `values` | following a pointer to a node above; a value and its entry in one allocation | row C16; row H1: 15 ns for each value of a request, 4 % of the layer's time |
#![expect(unsafe_code, reason = "see the table above and the SAFETY comments")]

mod cell;
pub(crate) mod clock;
mod coarse;
pub(crate) mod compact;
pub(crate) mod lock;
pub(crate) mod movable;
pub(crate) mod node;
mod queue;
mod system_clock;
mod timer_slack;
pub(crate) mod timers;
pub(crate) mod tree;
pub(crate) mod values;
mod wheel;
