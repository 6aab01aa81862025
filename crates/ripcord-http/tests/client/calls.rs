//! Tests how a call ends.

use std::pin::pin;

use ripcord_http::deadline::Dialect;

use super::Step::*;
use super::*;

#[test]
fn call_under_an_ended_context_is_not_sent() {
    let (root, time) = manual();
    let (canceled, cancel) = root.with_cancel();
    cancel.cancel_with("no longer needed");
    let expired = root.with_timeout(MILLISECOND);
    time.advance(MILLISECOND);

    for (ctx, text) in [(&canceled, "context canceled"), (&expired, "context deadline exceeded")] {
        let player = Player::new(&[Ready]);
        let error = futures::executor::block_on(player.client().call(get().with_context(ctx))).unwrap_err();
        assert_eq!(error.to_string(), format!(r#"Get "http://localhost/slow": {text}"#));
        assert!(error.is_not_sent());
        assert_eq!(player.calls.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn less_time_than_the_dialect_expresses_is_not_sent() {
    let (root, _time) = manual();
    let line = line!() + 1;
    let ctx = root.with_name("import").with_timeout(MILLISECOND - Duration::from_nanos(1));
    for dialect in [Dialect::Plain, Dialect::Connect, Dialect::Envoy] {
        let player = Player::new(&[Ready]);
        let mut client = ClientLayer::new().dialect(dialect).layer(player.clone());
        let error = futures::executor::block_on(client.call(get().with_context(&ctx))).unwrap_err();
        assert!(error.is_deadline_exceeded() && !error.is_canceled());
        assert!(error.is_not_sent() && error.is_timeout());
        assert_eq!(error.to_string(), r#"Get "http://localhost/slow": context deadline exceeded"#);
        let story = format!(
            "Get \"http://localhost/slow\": context deadline exceeded: 999.999µs left is too little to send \
             (timeout of 999.999µs set at {}:{line}:40 in import)",
            file!()
        );
        assert_eq!(format!("{error:#}"), story);
        assert_eq!(player.calls.load(Ordering::Relaxed), 0);
    }
    let player = Player::new(&[Ready]);
    let mut client = ClientLayer::new().dialect(Dialect::GrpcTimeout).layer(player.clone());
    assert!(futures::executor::block_on(client.call(get().with_context(&ctx))).is_ok());
    assert_eq!(player.calls.load(Ordering::Relaxed), 1);
}

#[test]
fn request_header_of_zero_is_an_expired_deadline() {
    let (root, _time) = manual();
    let player = Player::new(&[Ready]);
    let mut request = get().with_context(&root.with_timeout(5 * MILLISECOND));
    request.headers_mut().insert("grpc-timeout", http::HeaderValue::from_static("0S"));
    let error = futures::executor::block_on(player.client().call(request)).unwrap_err();
    assert!(error.is_deadline_exceeded() && error.is_not_sent());
    assert!(
        format!("{error:#}").ends_with("0ns left is too little to send (set by the request's own header)"),
        "{error:#}"
    );
    assert_eq!(player.calls.load(Ordering::Relaxed), 0);
}

#[test]
fn deadline_ends_the_call_and_drops_the_clients_future() {
    let (root, time) = manual();
    let ctx = root.with_timeout_cause(5 * MILLISECOND, "the page waits no longer");
    let player = Player::new(&[Pending; 8]);
    let mut call = pin!(player.client().call(get().with_context(&ctx)));
    time.advance(4 * MILLISECOND);
    assert!(poll(call.as_mut()).is_pending());
    time.advance(MILLISECOND);
    assert!(!player.is_dropped());
    let Poll::Ready(Err(error)) = poll(call.as_mut()) else { panic!("it has ended") };
    assert!(player.is_dropped(), "the client's future is still held");
    assert!(error.is_deadline_exceeded() && error.is_timeout() && !error.is_body());
    assert!(!error.is_not_sent(), "the server may have seen it");
    let story = format!("{error:#}");
    assert!(story.starts_with(r#"Get "http://localhost/slow": context deadline exceeded: the page waits"#), "{story}");
}

#[test]
fn cancel_wakes_and_ends_the_call() {
    let (ctx, cancel) = Context::background().with_cancel();
    let player = Player::new(&[Pending; 8]);
    let mut client = player.client();
    let error = futures::executor::block_on(async {
        let call = client.call(get().with_context(&ctx));
        let canceled = async { cancel.cancel_with("the user left") };
        futures::future::join(call, canceled).await.0.unwrap_err()
    });
    assert!(error.is_canceled() && !error.is_timeout() && !error.is_not_sent());
    assert_eq!(error.context_error().unwrap().cause().unwrap().to_string(), "the user left");
}

#[test]
fn result_that_is_ready_when_the_context_ends_wins() {
    let (ctx, cancel) = Context::background().with_cancel();
    let player = Player::new(&[Pending, Ready]);
    let mut call = pin!(player.client().call(get().with_context(&ctx)));
    assert!(poll(call.as_mut()).is_pending());
    cancel.cancel();
    assert!(matches!(poll(call.as_mut()), Poll::Ready(Ok(_))));
}

#[test]
fn dropping_the_call_drops_the_clients_future() {
    let (ctx, _cancel) = Context::background().with_cancel();
    let player = Player::new(&[Pending]);
    let mut call = Box::pin(player.client().call(get().with_context(&ctx)));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    assert!(player.is_dropped());
}

#[test]
fn request_without_a_context_is_sent_unchanged() {
    let player = Player::new(&[Ready, Ready]);
    let response = futures::executor::block_on(player.client().call(get())).unwrap();
    let mut body = pin!(response.into_body());
    let frame = body.as_mut().poll_frame(&mut Task::from_waker(Waker::noop()));
    assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
}
