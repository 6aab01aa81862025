//! The service of `proto/echo.proto`, as generated code: see `tests/generated.rs`.

#![allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

include!("generated.rs");
