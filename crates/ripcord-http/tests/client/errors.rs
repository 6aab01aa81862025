//! How a failed call reads.

use std::error::Error as _;

use super::Step::*;
use super::*;

fn failed(request: Request<()>, ctx: &Context) -> Error {
    futures::executor::block_on(Player::new(&[Fail]).client().call(request.with_context(ctx))).unwrap_err()
}

#[test]
fn an_error_of_the_client_names_the_call() {
    let error = failed(get(), &Context::background());
    assert_eq!(error.to_string(), r#"Get "http://localhost/slow": the line is cut"#);
    assert!(!error.is_canceled() && !error.is_deadline_exceeded() && !error.is_body());
    assert!(error.source().is_none(), "it was shown as itself");
}

#[test]
fn a_password_is_not_shown() {
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
fn the_contexts_error_is_the_source() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel_with("the client has gone");
    let error = failed(get(), &ctx);
    let source = error.source().unwrap().downcast_ref::<ripcord::Error>().unwrap();
    assert_eq!(source.cause().unwrap().to_string(), "the client has gone");
    assert!(error.clone().is_canceled());
}

/// As when one layer is put above another, or a client's own stack knows contexts.
#[test]
fn a_contexts_error_below_is_found() {
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
    assert_eq!(error.to_string(), r#"Get "http://localhost/slow": the line is cut"#, "said once");
}
