//! Calls through the layers of server and client. Most tests need no socket: a manual clock, and futures polled by hand.

#[path = "../../examples/echo_server/calls.rs"]
#[expect(dead_code, reason = "only the example prints lines")]
mod calls;
mod common;
#[path = "../../examples/echo_server/echo.rs"]
mod echo;
#[rustfmt::skip]
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    reason = "generated: see tests/generated.rs"
)]
#[path = "../../examples/echo_server/generated.rs"]
mod generated;

mod deadlines;
mod ends;
mod inspector;
mod metadata;
mod sockets;
mod statuses;
