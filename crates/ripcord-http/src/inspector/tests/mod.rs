//! Unit tests of the inspector. In other code, only the server's layer adds requests to the inspector. Here, [`Request`] replaces
//! it.

mod access;
mod events;
mod finished;
mod live;
mod routes;
mod status;
mod tasks;

use std::{panic::Location, time::Duration};

use ripcord::{Canceler, Clock, Context, ManualTime};
use serde_json::Value;

use super::{EntryGuard, Inspector};
use crate::RequestId;
use crate::server::{DeadlineSource, EntryKey, Observer as _, StartedRequest};
use crate::trace_context::Traceparent;

const SECOND: Duration = Duration::from_secs(1);

/// Creates a server's context with a manual clock.
fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock).with_name("serve"), time)
}

/// The data that the server's layer holds for a request.
struct Request {
    ctx: Context,
    place: EntryKey,
    inspector: Inspector,
    cancel: Canceler,
    has_ended: bool,
}

impl Request {
    fn start(inspector: &Inspector, ctx: &Context, name: &'static str) -> Self {
        Request::start_with(inspector, ctx, name, Some(5 * SECOND), DeadlineSource::Local)
    }

    fn start_with(
        inspector: &Inspector,
        ctx: &Context,
        name: &'static str,
        timeout: Option<Duration>,
        deadline: DeadlineSource,
    ) -> Self {
        let traceparent: Traceparent =
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03".parse().expect("it is well-formed");
        let request_id = RequestId::decode(&http::HeaderValue::from_static("req-17")).expect("it is well-formed");
        let ctx =
            inspector.server(ctx, Location::caller()).with_name(name).with_value(request_id).with_value(traceparent);
        let (ctx, cancel) = ctx.with_cancel();
        let ctx = timeout.map_or(ctx.clone(), |timeout| ctx.with_timeout(timeout));
        let (at, handle) = (ctx.clock().now(), cancel.handle());
        let place = inspector.begin(StartedRequest { ctx: &ctx, cancel: handle, at, deadline, span: None });
        let held = EntryGuard::new(inspector.clone(), place, &ctx);
        Request { ctx: ctx.with_value(held), place, inspector: inspector.clone(), cancel, has_ended: false }
    }

    /// Ends the request like the layer when the answer has been sent. Returns the context.
    fn answer(mut self, status: u16) -> Context {
        self.inspector.answered(self.place, status.try_into().expect("a status"));
        self.end();
        self.cancel.cancel();
        self.ctx.clone()
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.has_ended, true) {
            let started = self.inspector.shared.registry.get(self.place).expect("its context is held").started;
            let latency = self.ctx.clock().now() - started;
            self.inspector.end(self.place, latency, self.ctx.err(), false);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.end();
    }
}

fn json(inspector: &Inspector) -> Value {
    serde_json::to_value(inspector.shared.snapshot(true)).expect("a snapshot is JSON")
}

/// Returns the names of a list of entries.
fn names(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|entry| entry["name"].as_str().expect("a name")).collect()
}
