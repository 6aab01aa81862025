//! All of the crate's `unsafe`, and nothing that could be written without it.
//!
//! | file | what is unsafe there | the measured need |
//! |---|---|---|
//! | `node` | reference count, fields under a lock bit, pointers to children | rows C1, C3, C7, C9: `Arc` + `Mutex` + `Weak` cost twice the target |
//! | `node/payload` | a union with its tag elsewhere | rows C12, C18: 72 bytes for 80, and one line for a walk |
//! | `node/memory` | memory of freed nodes used again | row C1: half of it is the allocator's |
//! | `node/reference` | a node written field by field, in its place | rows C1, C2, C7 |
//! | `tree` | following a child's pointer while its parent is locked | row C9 |
//! | `timers` | following a timer's pointer while its queue is locked | row C14 |
//! | `cell` | the place of a value in a cell that is being initialized | row C1: a node is written in its place |
//! | `compact` | an `Arc` or a reference in one pointer | row C20 |
//! | `coarse` | calling the C library's clock | rows C2, C7, C13 |
//! | `lock` | one-byte lock | rows C7, C8, C14 |
//! | `values` | following a pointer to a node above; a value and its entry in one allocation | row C16; row H1: 15 ns for each value of a request, 4 % of what the layer takes |
#![expect(unsafe_code, reason = "the one module that may; see the table above and the SAFETY comments")]

mod cell;
pub(crate) mod coarse;
pub(crate) mod compact;
pub(crate) mod lock;
pub(crate) mod movable;
pub(crate) mod node;
pub(crate) mod timers;
pub(crate) mod tree;
pub(crate) mod values;
