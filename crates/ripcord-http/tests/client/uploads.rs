//! Tests uploads with an idle timeout.

use std::task::ready;

use ripcord_http::client::ProgressLayer;

use super::Step::*;
use super::*;

/// A client that takes one chunk of the request's body at each poll, and answers at the end of the body.
#[derive(Clone)]
struct Uploader;

struct Upload<B>(Pin<Box<B>>);

impl<B: Body<Error = std::io::Error>> Service<Request<B>> for Uploader {
    type Response = Response<Script>;
    type Error = std::io::Error;
    type Future = Upload<B>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Upload<B> {
        Upload(Box::pin(request.into_body()))
    }
}

impl<B: Body<Error = std::io::Error>> Future for Upload<B> {
    type Output = Result<Response<Script>, std::io::Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        match ready!(self.0.as_mut().poll_frame(task)).transpose()? {
            Some(_) => Poll::Pending,
            None => Poll::Ready(Ok(Response::new(Script::default()))),
        }
    }
}

fn upload(ctx: &Context, steps: &[Step]) -> Request<Script> {
    Request::post("http://localhost/files").body(Script::new(steps)).unwrap().with_context(ctx)
}

#[test]
fn each_chunk_of_an_upload_restarts_the_idle_timeout() {
    let (ctx, time) = manual();
    let mut client = ClientLayer::new().idle_timeout(3 * MILLISECOND).layer(ProgressLayer::new().layer(Uploader));
    let line = line!() - 1;
    let mut call = Box::pin(client.call(upload(&ctx, &[Ready, Ready, Ready, Pending, Pending])));
    for _ in 0..3 {
        assert!(poll(call.as_mut()).is_pending());
        time.advance(2 * MILLISECOND);
    }
    assert!(poll(call.as_mut()).is_pending(), "no chunk");
    time.advance(MILLISECOND);
    let Poll::Ready(Err(error)) = poll(call.as_mut()) else { panic!("it was idle for too long") };
    assert!(error.is_deadline_exceeded() && !ctx.is_done(), "the caller's context goes on");
    let story = format!("{error:#}");
    assert!(story.contains(&format!("idle for 3ms: timeout set at {}:{line}:", file!())), "{story}");
}

#[test]
fn upload_that_makes_progress_is_answered() {
    let (ctx, time) = manual();
    let mut client = ClientLayer::new().idle_timeout(3 * MILLISECOND).layer(ProgressLayer::new().layer(Uploader));
    let mut call = Box::pin(client.call(upload(&ctx, &[Ready, Ready, Ready])));
    for _ in 0..3 {
        assert!(poll(call.as_mut()).is_pending());
        time.advance(2 * MILLISECOND);
    }
    assert!(matches!(poll(call.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn upload_without_a_progress_layer_has_to_end_within_the_idle_timeout() {
    let (ctx, time) = manual();
    let mut client = ClientLayer::new().idle_timeout(3 * MILLISECOND).layer(Uploader);
    let mut call = Box::pin(client.call(upload(&ctx, &[Ready, Ready, Pending, Pending])));
    for _ in 0..2 {
        assert!(poll(call.as_mut()).is_pending());
        time.advance(MILLISECOND);
    }
    assert!(poll(call.as_mut()).is_pending());
    time.advance(MILLISECOND);
    assert!(matches!(poll(call.as_mut()), Poll::Ready(Err(error)) if error.is_deadline_exceeded()));
}

#[test]
fn upload_of_a_call_without_an_idle_timeout_is_no_progress_of_its_caller() {
    let (root, time) = manual();
    let (ctx, _) = root.with_idle_timeout(3 * MILLISECOND);
    let mut client = ClientLayer::new().layer(ProgressLayer::new().layer(Uploader));
    let mut call = Box::pin(client.call(upload(&ctx, &[Ready, Ready, Ready, Pending])));
    for _ in 0..3 {
        assert!(poll(call.as_mut()).is_pending());
        time.advance(MILLISECOND);
    }
    assert!(matches!(poll(call.as_mut()), Poll::Ready(Err(error)) if error.is_deadline_exceeded()));
}
