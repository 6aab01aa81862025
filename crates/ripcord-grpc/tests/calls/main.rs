//! Tests calls through the layers of server and client. Most tests use no socket, but a manual clock and futures polled by hand.

#[path = "../../examples/echo_server/calls.rs"]
#[expect(dead_code, reason = "only the example prints lines")]
mod calls;
mod common;
#[path = "../../examples/echo_server/echo.rs"]
mod echo;
mod exporter;
#[path = "../../examples/echo_server/service.rs"]
mod generated;

mod deadlines;
mod ends;
mod inspector;
mod metadata;
mod metrics;
mod sockets;
mod statuses;
