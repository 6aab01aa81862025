//! The server layer: in-process on tokio's paused clock or a manual one, and over loopback sockets. Nothing sleeps to wait.

mod body;
mod common;
mod detach;
mod ends;
mod headers;
mod layer;

// What the system tells of a socket is told in time on Linux.
#[cfg(target_os = "linux")]
mod disconnects;
#[cfg(target_os = "linux")]
mod half_close;
#[cfg(target_os = "linux")]
mod handlers;
#[cfg(target_os = "linux")]
mod http2;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(target_os = "linux")]
mod streaming;
#[cfg(target_os = "linux")]
mod unread;
