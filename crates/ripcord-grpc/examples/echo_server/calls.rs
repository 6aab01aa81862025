//! Prints one line for each call, when the call and the tasks that it has spawned have ended.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ripcord::{Context, Value};
use ripcord_grpc::Code;
use ripcord_grpc::server::Call;
use serde_json::json;

/// The facts about a call so far, as a value of its context.
struct Record(Mutex<State>);

impl Value for Record {}

#[derive(Default)]
struct State {
    /// Spawned tasks that have not ended.
    running: usize,
    /// The end of the last spawned task.
    spawned: Option<&'static str>,
    /// The end of the call.
    ended: Option<Ended>,
}

struct Ended {
    method: String,
    end: &'static str,
    cause: String,
    took: Duration,
    print: Print,
}

type Print = fn(&str);

/// Adds the record of a new call to its context.
pub(crate) fn begin(ctx: &Context) -> Context {
    ctx.with_value(Record(Mutex::default()))
}

/// Records the end of the call. Prints its line now, or when its tasks have ended.
pub(crate) fn end(call: &Call<'_>, print: Print) {
    let (Some(code), Some(record)) = (call.code, call.request.ctx.value::<Record>()) else { return };
    let path = call.request.ctx.name().unwrap_or_default();
    let method = path.rsplit('/').next().unwrap_or_default().to_owned();
    let ended = Ended { method, end: end_of(code), cause: cause(call, code), took: call.request.took, print };
    record.change(|state| state.ended = Some(ended));
}

fn end_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "canceled",
        Code::DeadlineExceeded => "deadline_exceeded",
        _ => "failed",
    }
}

fn cause(call: &Call<'_>, code: Code) -> String {
    match (code, &call.request.error) {
        (Code::Ok, _) => String::new(),
        (Code::Cancelled | Code::DeadlineExceeded, Some(error)) => {
            error.cause().map_or_else(|| error.to_string(), ToString::to_string)
        }
        _ => code.to_string(),
    }
}

impl Record {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let (ended, spawned) = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut state);
            if state.running > 0 {
                return;
            }
            let Some(ended) = state.ended.take() else { return };
            (ended, state.spawned)
        };
        let Ended { method, end, cause, took, print } = ended;
        let (method, cause, spawned, took) = (json!(method), json!(cause), json!(spawned), took.as_millis());
        print(&format!(r#"{{"method":{method},"end":"{end}","cause":{cause},"spawned":{spawned},"took_ms":{took}}}"#));
    }
}

/// A task that a call has spawned. Dropping this value records the end of the task.
pub(crate) struct Spawned {
    ctx: Context,
    is_complete: bool,
}

impl Spawned {
    pub(crate) fn new(ctx: &Context) -> Self {
        if let Some(record) = ctx.value::<Record>() {
            record.change(|state| state.running += 1);
        }
        Spawned { ctx: ctx.clone(), is_complete: false }
    }

    /// Records that the task completed before its context ended.
    pub(crate) fn complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        let end = match self.ctx.err() {
            _ if self.is_complete => "ok",
            Some(error) if error.is_deadline_exceeded() => "deadline_exceeded",
            _ => "canceled",
        };
        if let Some(record) = self.ctx.value::<Record>() {
            record.change(|state| {
                state.running -= 1;
                state.spawned = Some(end);
            });
        }
    }
}
