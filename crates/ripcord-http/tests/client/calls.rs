//! How a call ends.

use std::pin::pin;

use ripcord_http::deadline::Dialect;

use super::Step::*;
use super::*;

#[test]
fn a_call_under_an_ended_context_is_not_made() {
    let (root, time) = manual();
    let (canceled, cancel) = root.with_cancel();
    cancel.cancel_with("no longer needed");
    let expired = root.with_timeout(MILLISECOND);
    time.advance(MILLISECOND);

    for (ctx, text) in [(&canceled, "context canceled"), (&expired, "context deadline exceeded")] {
        let player = Player::new(&[Ready]);
        let error = futures::executor::block_on(player.client().call(get().with_context(ctx))).unwrap_err();
        assert_eq!(error.to_string(), format!(r#"Get "http://localhost/slow": {text}"#));
        assert_eq!(player.calls.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn less_than_the_dialect_can_say_is_nothing() {
    let (root, _time) = manual();
    let ctx = root.with_timeout(MILLISECOND - Duration::from_nanos(1));
    for dialect in [Dialect::Plain, Dialect::Connect, Dialect::Envoy] {
        let player = Player::new(&[Ready]);
        let mut client = ClientLayer::new().dialect(dialect).layer(player.clone());
        let error = futures::executor::block_on(client.call(get().with_context(&ctx))).unwrap_err();
        assert!(error.is_deadline_exceeded() && !error.is_canceled());
        assert!(format!("{error:#}").contains("too little time left"), "{error:#}");
        assert_eq!(player.calls.load(Ordering::Relaxed), 0);
    }
    let player = Player::new(&[Ready]);
    let mut client = ClientLayer::new().dialect(Dialect::GrpcTimeout).layer(player.clone());
    assert!(futures::executor::block_on(client.call(get().with_context(&ctx))).is_ok());
    assert_eq!(player.calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_header_of_zero_is_a_deadline_that_has_passed() {
    let (root, _time) = manual();
    let player = Player::new(&[Ready]);
    let mut request = get().with_context(&root.with_timeout(5 * MILLISECOND));
    request.headers_mut().insert("grpc-timeout", http::HeaderValue::from_static("0S"));
    let error = futures::executor::block_on(player.client().call(request)).unwrap_err();
    assert!(error.is_deadline_exceeded());
    assert_eq!(player.calls.load(Ordering::Relaxed), 0);
}

#[test]
fn a_call_ends_at_the_deadline_and_lets_go_at_once() {
    let (root, time) = manual();
    let ctx = root.with_timeout_cause(5 * MILLISECOND, "the page waits no longer");
    let player = Player::new(&[Pending; 8]);
    let mut call = pin!(player.client().call(get().with_context(&ctx)));
    time.advance(4 * MILLISECOND);
    assert!(poll(call.as_mut()).is_pending());
    time.advance(MILLISECOND);
    assert!(!player.is_dropped());
    let Poll::Ready(Err(error)) = poll(call.as_mut()) else { panic!("it has ended") };
    assert!(player.is_dropped(), "although the future is still held");
    assert!(error.is_deadline_exceeded() && !error.is_body());
    let story = format!("{error:#}");
    assert!(story.starts_with(r#"Get "http://localhost/slow": context deadline exceeded: the page waits"#), "{story}");
}

#[test]
fn a_cancel_wakes_the_call() {
    let (ctx, cancel) = Context::background().with_cancel();
    let player = Player::new(&[Pending; 8]);
    let mut client = player.client();
    let error = futures::executor::block_on(async {
        let call = client.call(get().with_context(&ctx));
        let canceled = async { cancel.cancel_with("the user left") };
        futures::future::join(call, canceled).await.0.unwrap_err()
    });
    assert!(error.is_canceled());
    assert_eq!(error.context_error().unwrap().cause().unwrap().to_string(), "the user left");
}

#[test]
fn a_result_that_is_ready_at_the_end_wins() {
    let (ctx, cancel) = Context::background().with_cancel();
    let player = Player::new(&[Pending, Ready]);
    let mut call = pin!(player.client().call(get().with_context(&ctx)));
    assert!(poll(call.as_mut()).is_pending());
    cancel.cancel();
    assert!(matches!(poll(call.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn dropping_the_call_drops_the_clients() {
    let (ctx, _cancel) = Context::background().with_cancel();
    let player = Player::new(&[Pending]);
    let mut call = Box::pin(player.client().call(get().with_context(&ctx)));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    assert!(player.is_dropped());
}

#[test]
fn a_request_without_a_context_passes_as_it_is() {
    let player = Player::new(&[Ready, Ready]);
    let response = futures::executor::block_on(player.client().call(get())).unwrap();
    let mut body = pin!(response.into_body());
    let frame = body.as_mut().poll_frame(&mut Task::from_waker(Waker::noop()));
    assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
}
