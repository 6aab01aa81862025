//! Tests `CauseLayer` with a peer whose answers the test sends.

use std::convert::Infallible;

use http::Method;
use ripcord_http::RemoteCause;
use ripcord_http::client::{CancelNotice, CauseFuture, CauseLayer, ResponseFuture};
use ripcord_http::trace_context::Traceparent;
use tokio::sync::oneshot;

use super::*;

/// A peer whose answers the test sends.
#[derive(Clone, Default)]
struct Peer(Arc<Mutex<Vec<Received>>>);

struct Received {
    method: Method,
    headers: HeaderMap,
    answer: oneshot::Sender<Script>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Script>, Infallible>> + Send>>;

impl Service<Request<()>> for Peer {
    type Response = Response<Script>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Answer {
        let (answer, answered) = oneshot::channel();
        let (method, headers) = (request.method().clone(), request.headers().clone());
        self.0.lock().unwrap().push(Received { method, headers, answer });
        Box::pin(async { Ok(Response::new(answered.await.expect("the test answers"))) })
    }
}

type Call = ResponseFuture<CauseFuture<Answer>>;

type Notices = Arc<Mutex<Vec<CancelNotice>>>;

/// Starts a call of `ctx` to a new peer. Returns the peer, the notices that the client spawns, and the call.
fn call(ctx: &Context) -> (Peer, Notices, Call) {
    let (peer, notices) = (Peer::default(), Notices::default());
    let spawned = Arc::clone(&notices);
    let layer = CauseLayer::new(move |notice| spawned.lock().unwrap().push(notice));
    let mut client = ClientLayer::new().layer(layer.layer(peer.clone()));
    let call = client.call(get().with_context(ctx));
    (peer, notices, call)
}

impl Peer {
    fn take(&self) -> Received {
        self.0.lock().unwrap().remove(0)
    }
}

fn traced(ctx: &Context) -> Context {
    ctx.with_value(Traceparent::start(true))
}

#[test]
fn canceled_call_is_kept_until_the_server_has_the_cause() {
    let (root, _time) = manual();
    let (ctx, cancel) = traced(&root).with_name("GET /a").with_cancel();
    let (peer, notices, call) = call(&ctx);
    let mut call = Box::pin(call);
    assert!(poll(call.as_mut()).is_pending());
    let get = peer.take();
    cancel.cancel_with("client disconnected");
    assert!(poll(call.as_mut()).is_ready(), "the caller does not wait for the server");

    let mut notice = Box::pin(notices.lock().unwrap().pop().expect("there is one"));
    assert!(poll(notice.as_mut()).is_pending());
    assert!(!get.answer.is_closed(), "the call goes on");
    let options = peer.take();
    assert_eq!(options.method, Method::OPTIONS);
    assert_eq!(options.headers[RemoteCause::CANCEL_HEADER], get.headers["traceparent"]);
    assert_eq!(options.headers[RemoteCause::HEADER], "GET /a: client disconnected");
    options.answer.send(Script::default()).ok().expect("it is awaited");
    assert!(poll(notice.as_mut()).is_ready());
    assert!(get.answer.is_closed());
}

#[test]
fn server_that_does_not_answer_delays_the_cancel_for_a_second() {
    let (root, time) = manual();
    let (ctx, cancel) = traced(&root).with_cancel();
    let (peer, notices, call) = call(&ctx);
    let mut call = Box::pin(call);
    assert!(poll(call.as_mut()).is_pending());
    cancel.cancel();
    assert!(poll(call.as_mut()).is_ready());
    let get = peer.take();
    let mut notice = Box::pin(notices.lock().unwrap().pop().expect("there is one"));
    assert!(poll(notice.as_mut()).is_pending());
    time.advance(1000 * MILLISECOND);
    assert!(poll(notice.as_mut()).is_ready());
    assert!(get.answer.is_closed());
}

#[test]
fn body_dropped_after_a_cancel_sends_the_cause() {
    for (steps, is_canceled, expected) in
        [(&[Step::Ready, Step::Ready][..], true, 1), (&[Step::Ready, Step::Ready], false, 0), (&[Step::Ready], true, 0)]
    {
        let (root, _time) = manual();
        let (ctx, cancel) = traced(&root).with_cancel();
        let (peer, notices, call) = call(&ctx);
        let mut call = Box::pin(call);
        assert!(poll(call.as_mut()).is_pending());
        peer.take().answer.send(Script::new(steps)).ok().expect("it is awaited");
        let Poll::Ready(Ok(response)) = poll(call.as_mut()) else { panic!("it is answered") };
        let mut body = Box::pin(response.into_body());
        assert!(matches!(body.as_mut().poll_frame(&mut Task::from_waker(Waker::noop())), Poll::Ready(Some(Ok(_)))));
        if is_canceled {
            cancel.cancel();
        }
        drop(body);
        assert_eq!(notices.lock().unwrap().len(), expected, "after {} of {} frames", 1, steps.len());
    }
}

#[test]
fn uncanceled_call_or_call_without_traceparent_sends_no_cause() {
    let (root, time) = manual();
    let (untraced, cancel) = root.with_cancel();
    let late = traced(&root).with_timeout(MILLISECOND);
    let calls = [untraced, late, traced(&root)].map(|ctx| call(&ctx));
    let calls = calls.map(|(peer, notices, call)| {
        let mut call = Box::pin(call);
        assert!(poll(call.as_mut()).is_pending());
        (peer, notices, call)
    });
    cancel.cancel();
    time.advance(MILLISECOND);
    for (_peer, notices, mut call) in calls {
        let _ = poll(call.as_mut());
        drop(call);
        assert_eq!(notices.lock().unwrap().len(), 0);
    }
}
