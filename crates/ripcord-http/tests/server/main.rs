//! The server layer: in-process on tokio's paused clock or a manual one, and over loopback sockets. Nothing sleeps to wait.

mod body;
mod common;
mod detach;
// What the system tells of a socket is told in time on Linux.
#[cfg(target_os = "linux")]
mod disconnects;
mod ends;
mod headers;
mod layer;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(target_os = "linux")]
mod unread;
