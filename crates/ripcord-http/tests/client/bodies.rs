//! Tests reading a body that ends with a context.

use ripcord_http::client::ResponseBody;

use super::Step::*;
use super::*;

/// Returns the body of an immediate response.
fn body(ctx: &Context, steps: &[Step]) -> (Player, Pin<Box<ResponseBody<Script>>>) {
    let steps: Vec<_> = [Ready].iter().chain(steps).copied().collect();
    let player = Player::new(&steps);
    let response = futures::executor::block_on(player.client().call(get().with_context(ctx))).unwrap();
    // The drop of the call's future has set this flag.
    player.dropped.store(false, Ordering::Relaxed);
    (player, Box::pin(response.into_body()))
}

/// Polls the body. Returns the result in a form that a test can compare.
fn next(body: &mut Pin<Box<ResponseBody<Script>>>) -> Poll<Option<Result<(), Error>>> {
    let frame = body.as_mut().poll_frame(&mut Task::from_waker(Waker::noop()));
    frame.map(|frame| frame.map(|frame| frame.map(|_| ())))
}

#[test]
fn deadline_ends_the_body_with_an_error_and_drops_the_clients() {
    let (root, time) = manual();
    let ctx = root.with_timeout(5 * MILLISECOND);
    let (player, mut body) = body(&ctx, &[Ready, Pending, Pending]);
    assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(())))));
    assert!(next(&mut body).is_pending());
    time.advance(5 * MILLISECOND);
    let Poll::Ready(Some(Err(error))) = next(&mut body) else { panic!("the context has ended") };
    assert!(player.is_dropped(), "although the body is still held");
    assert!(error.is_deadline_exceeded() && error.is_body());
    assert_eq!(error.to_string(), "context deadline exceeded", "as Go's");
    let story = format!("{error:#}");
    assert!(story.starts_with(r#"Get "http://localhost/slow": reading the body: context deadline"#), "{story}");

    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(matches!(next(&mut body), Poll::Ready(None)), "an error is the last");
}

#[test]
fn cancel_wakes_the_reader() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (_player, mut body) = body(&ctx, &[Pending; 8]);
    let error = futures::executor::block_on(async {
        let read = std::future::poll_fn(|task| body.as_mut().poll_frame(task));
        let canceled = async { cancel.cancel() };
        futures::future::join(read, canceled).await.0.unwrap().unwrap_err()
    });
    assert!(error.is_canceled());
}

#[test]
fn endless_body_ends_with_the_context() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (_player, mut body) = body(&ctx, &[Endless]);
    for _ in 0..100 {
        assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(())))));
    }
    cancel.cancel();
    assert!(matches!(next(&mut body), Poll::Ready(Some(Err(error))) if error.is_canceled()));
}

#[test]
fn body_that_was_read_has_no_error_after_the_context_ends() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (_player, mut body) = body(&ctx, &[Ready]);
    assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(())))));
    cancel.cancel();
    assert!(matches!(next(&mut body), Poll::Ready(None)));
}

#[test]
fn clients_error_ends_the_body() {
    let (ctx, _cancel) = Context::background().with_cancel();
    let (player, mut body) = body(&ctx, &[Fail, Ready]);
    let Poll::Ready(Some(Err(error))) = next(&mut body) else { panic!("the step says so") };
    assert_eq!(error.to_string(), "the line is cut");
    assert!(error.context_error().is_none() && error.is_body());
    assert!(player.is_dropped());
    assert!(matches!(next(&mut body), Poll::Ready(None)));
}

#[test]
fn dropping_the_body_drops_the_clients_body() {
    let (ctx, _cancel) = Context::background().with_cancel();
    let (player, mut body) = body(&ctx, &[Pending]);
    assert!(next(&mut body).is_pending());
    drop(body);
    assert!(player.is_dropped());
}

#[test]
fn idle_timeout_restarts_with_each_chunk_under_the_hard_deadline() {
    let (root, time) = manual();
    let ctx = root.with_timeout(10 * MILLISECOND);
    let player = Player::new(&[Ready, Pending, Ready, Pending, Ready, Pending, Ready, Pending, Pending]);
    let mut client = ClientLayer::new().idle_timeout(3 * MILLISECOND).layer(player);
    let line = line!() - 1;
    let response = futures::executor::block_on(client.call(get().with_context(&ctx))).unwrap();
    let mut body = Box::pin(response.into_body());
    for _ in 0..3 {
        assert!(next(&mut body).is_pending());
        time.advance(2 * MILLISECOND);
        assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(())))));
    }
    assert!(next(&mut body).is_pending());
    time.advance(3 * MILLISECOND);
    let Poll::Ready(Some(Err(error))) = next(&mut body) else { panic!("it was idle for too long") };
    assert!(error.is_deadline_exceeded() && !ctx.is_done(), "the caller's context goes on");
    let story = format!("{error:#}");
    assert!(story.contains(&format!("idle for 3ms: timeout set at {}:{line}:", file!())), "{story}");
}

#[test]
fn hard_deadline_ends_a_body_that_makes_progress() {
    let (root, time) = manual();
    let ctx = root.with_timeout(5 * MILLISECOND);
    let player = Player::new(&[Ready, Pending, Ready, Pending, Ready, Pending]);
    let mut client = ClientLayer::new().idle_timeout(3 * MILLISECOND).layer(player);
    let response = futures::executor::block_on(client.call(get().with_context(&ctx))).unwrap();
    let mut body = Box::pin(response.into_body());
    for _ in 0..2 {
        assert!(next(&mut body).is_pending());
        time.advance(2 * MILLISECOND);
        assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(())))));
    }
    time.advance(MILLISECOND);
    let Poll::Ready(Some(Err(error))) = next(&mut body) else { panic!("the deadline has passed") };
    assert!(format!("{error:#}").contains("timeout of 5ms set at"), "{error:#}");
}
