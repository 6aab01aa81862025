//! Tests the server layer: in-process on tokio's paused clock or a manual clock, and over loopback sockets. No test sleeps in
//! order to wait.

mod body;
mod common;
mod detach;
mod dialects;
mod ends;
mod grpc;
mod headers;
mod layer;
mod lines;
mod nested;
mod policies;
mod remote_cancel;

// Only Linux and Android report a FIN at once.
#[cfg(target_os = "linux")]
mod disconnects;
#[cfg(target_os = "linux")]
mod half_close;
#[cfg(target_os = "linux")]
mod handlers;
#[cfg(target_os = "linux")]
mod http2;
#[cfg(target_os = "linux")]
mod http2_connect;
mod idle;
#[cfg(target_os = "linux")]
#[path = "../common/posts.rs"]
mod posts;
#[cfg(target_os = "linux")]
mod silent;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(target_os = "linux")]
mod streaming;
#[cfg(target_os = "linux")]
mod unread;
#[cfg(target_os = "linux")]
mod uploads;
#[cfg(target_os = "linux")]
mod websocket;
