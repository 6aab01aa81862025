//! The rows, in the order of the performance table.

mod breaker;
mod cache;
mod caller;
mod cancel;
mod check;
mod connections;
mod create;
mod error;
mod grpc;
mod http;
mod idle;
mod limiter;
mod memory;
mod pool;
mod redis;
mod retry;
mod service;
mod sql;
mod task;
mod timeout;
mod value;
mod wait;
mod wake;

use crate::harness::Bench;
use crate::report::Line;

/// A row of the table: a function that measures all sides and returns one line per target.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) measure: fn(&Bench) -> Vec<Line>,
}

const fn row(id: &'static str, title: &'static str, measure: fn(&Bench) -> Vec<Line>) -> Row {
    Row { id, title, measure }
}

pub(crate) const ALL: &[Row] = &[
    row("C1", "child create + drop", create::create_and_drop),
    row("C2", "child create + cancel + drop", create::create_cancel_and_drop),
    row("C3", "clone + drop", create::clone_and_drop),
    row("C4", "is_done", check::one_thread),
    row("C5", "is_done, two threads, one context", check::two_threads),
    row("C6", "child create + drop, two threads, one parent", create::two_threads),
    row("C7", "child + wait once + drop", wait::on_a_new_child),
    row("C8", "wait once + drop", wait::on_a_live_context),
    row("C9", "cancel 1M children that have a waiter", cancel::with_waiters),
    row("C10", "cancel 1M children nobody waits on", cancel::without_waiters),
    row("C11", "longest is_done on the root while C9 runs", cancel::longest_check),
    row("C12", "bytes per live child", memory::per_child),
    row("C13", "with_timeout + run(ready)", timeout::run_ready),
    row("C14", "with_timeout + run(pending once)", timeout::run_pending_once),
    row("C15", "with_timeout create + drop", create::timeout_and_drop),
    row("C16", "value", value::look_up),
    row("C17", "cancel to wake, across tokio tasks", wake::across_tasks),
    row("C18", "1M timeouts due at one instant", timeout::a_million_at_once),
    row("C19", "lateness of a 1 ms timeout", timeout::lateness),
    row("C20", "err on a done context", error::done),
    row("C21", "reset of an idle timeout", idle::reset),
    row("C22", "spawn + await", task::spawn_and_await),
    row("C23", "group of 100 with results", task::group_of_100),
    row("P1", "limiter allow", limiter::allow),
    row("P2", "breaker, closed path", breaker::closed),
    row("P3", "retry, first try succeeds", retry::first_try),
    row("P4", "cache hit with TTL", cache::hit),
    row("P5", "pool: submit + result, empty task", pool::empty_task),
    row("H1", "requests through the server layer", http::server_layer),
    row("H2", "requests, the chapter's middleware", http::chapters_middleware),
    row("H3", "requests under an inspector", http::inspected),
    row("H4", "10,000 connections", connections::waiting),
    row("H5", "10,000 clients disconnect", connections::disconnecting),
    row("G1", "gRPC unary under a Context", grpc::unary),
    row("Q1", "Postgres query under a Context", sql::query),
    row("R1", "decision of a limiter over Redis", redis::wait),
    row("R2", "hit in memory of a cache over Redis", redis::hit),
    row("R3", "job of a queue over Redis", redis::jobs),
];
