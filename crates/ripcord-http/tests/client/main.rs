//! Tests the client layer with a scripted client, on a manual clock.

mod bodies;
mod calls;
mod cause;
mod errors;
mod headers;
mod uploads;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use ripcord::{Clock, Context, ManualTime};
use ripcord_http::client::{Client, ClientLayer, Error, RequestExt};
use tower::{Layer, Service};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Returns a root context on a manual clock.
fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

fn get() -> Request<()> {
    Request::get("http://localhost/slow").body(()).unwrap()
}

/// A client that records the headers of each call and answers at once.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<HeaderMap>>>);

impl Service<Request<()>> for Recorder {
    type Response = Response<Script>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Script>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.0.lock().unwrap().push(request.headers().clone());
        ready(Ok(Response::new(Script::default())))
    }
}

impl Recorder {
    /// Sends a request under a context. Returns the sent headers.
    fn sent(layer: ClientLayer, ctx: &Context, request: Request<()>) -> Result<HeaderMap, Error> {
        let recorder = Recorder::default();
        let mut client = layer.layer(recorder.clone());
        let result = futures::executor::block_on(client.call(request.with_context(ctx)));
        let sent = recorder.0.lock().unwrap().pop();
        result.map(|_| sent.expect("there was a call"))
    }
}

/// A client. First its call and then the body of the response follow a list of steps.
#[derive(Clone, Default)]
struct Player {
    calls: Arc<AtomicUsize>,
    dropped: Arc<AtomicBool>,
    steps: Vec<Step>,
}

/// The result of a poll of the call or the body. After the last step, the body has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Pending,
    Ready,
    Fail,
    /// Every later poll is ready.
    Endless,
}

#[derive(Default)]
struct Script {
    steps: VecDeque<Step>,
    dropped: Arc<AtomicBool>,
}

impl Script {
    fn new(steps: &[Step]) -> Self {
        Script { steps: steps.iter().copied().collect(), dropped: Arc::default() }
    }

    fn next(&mut self) -> Option<Step> {
        if self.steps.front() == Some(&Step::Endless) { Some(Step::Ready) } else { self.steps.pop_front() }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
    }
}

impl Future for Script {
    type Output = Result<Response<Script>, std::io::Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Self::Output> {
        match self.next() {
            Some(Step::Pending) => Poll::Pending,
            Some(Step::Fail) => Poll::Ready(Err(std::io::Error::other("the line is cut"))),
            _ => Poll::Ready(Ok(Response::new(Script {
                steps: std::mem::take(&mut self.steps),
                dropped: Arc::clone(&self.dropped),
            }))),
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.next() {
            Some(Step::Pending) => Poll::Pending,
            Some(Step::Fail) => Poll::Ready(Some(Err(std::io::Error::other("the line is cut")))),
            Some(_) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data"))))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Service<Request<()>> for Player {
    type Response = Response<Script>;
    type Error = std::io::Error;
    type Future = Script;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Script {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut script = Script::new(&self.steps);
        script.dropped = Arc::clone(&self.dropped);
        script
    }
}

impl Player {
    fn new(steps: &[Step]) -> Self {
        Player { steps: steps.to_vec(), ..Player::default() }
    }

    fn client(&self) -> Client<Player> {
        ClientLayer::new().layer(self.clone())
    }

    fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Polls once.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Task::from_waker(Waker::noop()))
}
