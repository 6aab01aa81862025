//! The server layer: in-process on tokio's paused clock or a manual one, and over loopback sockets. Nothing sleeps to wait.

mod common;
mod layer;
