//! Tests the error of a failed call.

use std::error::Error as _;

use super::Step::*;
use super::*;

fn failed(request: Request<()>, ctx: &Context) -> Error {
    futures::executor::block_on(Player::new(&[Fail]).client().call(request.with_context(ctx))).unwrap_err()
}

#[test]
fn clients_error_is_prefixed_with_the_call() {
    let error = failed(get(), &Context::background());
    assert_eq!(error.to_string(), r#"Get "http://localhost/slow": the line is cut"#);
    assert!(!error.is_canceled() && !error.is_deadline_exceeded() && !error.is_body());
    assert!(error.source().is_none(), "its own text is printed already");
}

#[test]
fn password_in_the_url_is_masked() {
    let done = Context::background().with_timeout(Duration::ZERO);
    for (url, shown) in [
        ("http://user:secret@localhost/a:b@c", "http://user:***@localhost/a:b@c"),
        ("http://user@localhost/?mail=a:b@c", "http://user@localhost/?mail=a:b@c"),
        ("http://:p@localhost", "http://:***@localhost/"),
        ("/path?a=b:c@d", "/path?a=b:c@d"),
        ("localhost:80", "localhost:80"),
    ] {
        let request = Request::builder().method("PATCH").uri(url).body(()).unwrap();
        let error = failed(request, &done);
        assert_eq!(error.to_string(), format!("Patch \"{shown}\": context deadline exceeded"));
        assert!(!format!("{error:?} {error:#}").contains("secret"));
    }
}

#[test]
fn contexts_error_is_the_source() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel_with("the client has gone");
    let error = failed(get(), &ctx);
    let source = error.source().unwrap().downcast_ref::<ripcord::Error>().unwrap();
    assert_eq!(source.cause().unwrap().to_string(), "the client has gone");
    assert!(error.clone().is_canceled());
}

/// A layer may be above another layer, and a client may use contexts itself.
#[test]
fn contexts_error_below_the_client_is_found() {
    let done = Context::background().with_timeout(Duration::ZERO);
    let inner = tower::service_fn(move |_: Request<()>| {
        let error = std::io::Error::other(done.err().unwrap());
        async { Err::<Response<Script>, _>(error) }
    });
    let mut client = ClientLayer::new().layer(inner);
    let error = futures::executor::block_on(client.call(get())).unwrap_err();
    assert!(error.is_deadline_exceeded());

    let mut twice = ClientLayer::new().layer(Player::new(&[Fail]).client());
    let error = futures::executor::block_on(twice.call(get())).unwrap_err();
    assert_eq!(error.to_string(), r#"Get "http://localhost/slow": the line is cut"#, "the call is named once");
}

/// Returns the error of a call whose client fails with `error`.
fn failed_with(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let mut error = Some(error.into());
    let client = tower::service_fn(move |_: Request<()>| {
        let error = error.take().expect("there is one call");
        async { Err::<Response<Script>, _>(error) }
    });
    futures::executor::block_on(ClientLayer::new().layer(client).call(get())).unwrap_err()
}

/// An error that wraps another error, like the errors of real clients.
#[derive(Debug)]
struct Wrapped(std::io::Error);

impl std::fmt::Display for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("error sending request")
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn failed_connection_means_not_sent() {
    use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused};
    for kind in [ConnectionRefused, AddrNotAvailable] {
        for error in [failed_with(std::io::Error::from(kind)), failed_with(Wrapped(std::io::Error::from(kind)))] {
            assert!(error.is_connect() && error.is_not_sent() && !error.is_timeout(), "{error:?}");
        }
    }
}

#[test]
fn broken_connection_may_have_sent_the_request() {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, HostUnreachable, NetworkUnreachable, UnexpectedEof};
    // The last two also end an established connection whose host has vanished.
    for kind in [BrokenPipe, ConnectionReset, UnexpectedEof, HostUnreachable, NetworkUnreachable] {
        let error = failed_with(Wrapped(std::io::Error::from(kind)));
        assert!(!error.is_connect() && !error.is_not_sent() && !error.is_timeout(), "{error:?}");
    }
}

#[test]
fn timeout_of_the_client_is_not_the_deadline_of_a_context() {
    let error = failed_with(Wrapped(std::io::Error::from(std::io::ErrorKind::TimedOut)));
    assert!(error.is_timeout() && !error.is_deadline_exceeded() && !error.is_not_sent());
    assert!(error.status().is_none() && error.headers().is_none());
}

#[test]
fn story_names_each_source_once() {
    let error = failed_with(Wrapped(std::io::Error::other("connection closed")));
    assert_eq!(format!("{error:#}"), r#"Get "http://localhost/slow": error sending request: connection closed"#);
    let error = failed_with(std::io::Error::other(Wrapped(std::io::Error::other("connection closed"))));
    assert_eq!(format!("{error:#}"), r#"Get "http://localhost/slow": error sending request: connection closed"#);
}

#[test]
fn call_of_a_client_that_is_not_ready_is_not_sent() {
    #[derive(Clone)]
    struct Closed;
    impl Service<Request<()>> for Closed {
        type Response = Response<Script>;
        type Error = std::io::Error;
        type Future = std::future::Pending<Result<Response<Script>, std::io::Error>>;

        fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), std::io::Error>> {
            Poll::Ready(Err(std::io::Error::other("the pool is closed")))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            unreachable!("it is never ready")
        }
    }
    let mut client = ClientLayer::new().layer(Closed);
    let Poll::Ready(Err(error)) = client.poll_ready(&mut Task::from_waker(Waker::noop())) else { panic!("it fails") };
    assert!(error.is_not_sent() && !error.is_connect());
}
