//! Tests context values in metadata.

use ripcord::{Context, Value};
use ripcord_grpc::tonic::RequestExt as _;
use ripcord_grpc::{ClientLayer, Code, InvalidMetadata, Metadata, ServerLayer};
use ripcord_http::TrustPolicy;
use tower::Layer as _;

use crate::common::{UNARY, client, echo, http_layer, manual, request, send, with_header};

#[derive(Debug, PartialEq)]
struct Tenant(String);

impl Value for Tenant {}

impl Metadata for Tenant {
    const KEY: &str = "x-tenant";

    fn decode(value: &[u8]) -> Result<Self, InvalidMetadata> {
        match str::from_utf8(value) {
            Ok("panic") => panic!("a bug"),
            Ok(name) if name.len() <= 8 => Ok(Tenant(name.to_owned())),
            _ => Err(InvalidMetadata::new("expected at most 8 bytes")),
        }
    }

    fn encode(&self) -> Vec<u8> {
        self.0.clone().into()
    }
}

#[derive(Debug, PartialEq)]
struct Token(Vec<u8>);

impl Value for Token {}

impl Metadata for Token {
    const KEY: &str = "x-token-bin";

    fn decode(value: &[u8]) -> Result<Self, InvalidMetadata> {
        Ok(Token(value.to_owned()))
    }

    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }
}

/// Returns the values of a call with these headers.
async fn received(trust: TrustPolicy, headers: &[(&'static str, &str)]) -> (Option<String>, Option<Vec<u8>>) {
    let (server, _time) = manual();
    let layer = ServerLayer::new(http_layer(&server).trust(trust)).metadata::<Tenant>().metadata::<Token>();
    let (tell, told) = std::sync::mpsc::channel();
    let handler = move |ctx: Context| {
        let values =
            (ctx.value::<Tenant>().map(|tenant| tenant.0.clone()), ctx.value::<Token>().map(|token| token.0.clone()));
        tell.send(values).expect("the test listens");
        std::future::ready(Ok(()))
    };
    let request = headers.iter().fold(request(UNARY), |request, (name, value)| with_header(request, name, value));
    assert_eq!(send(&layer, handler, request).await.code(), Code::Ok);
    told.recv().expect("it was called")
}

#[tokio::test]
async fn metadata_of_trusted_clients_becomes_values() {
    let headers = [("x-tenant", "acme"), ("x-token-bin", "AP8")];
    let values = (Some("acme".to_owned()), Some(vec![0, 255]));
    assert_eq!(received(TrustPolicy::trusted(), &headers).await, values);
    assert_eq!(received(TrustPolicy::trusted(), &[("x-token-bin", "AP8=")]).await.1, Some(vec![0, 255]), "padded");
    assert_eq!(received(TrustPolicy::untrusted(), &headers).await, (None, None));
}

#[tokio::test]
async fn invalid_or_repeated_metadata_becomes_no_value() {
    for headers in [
        &[("x-tenant", "far too long"), ("x-token-bin", "!")][..],
        &[("x-tenant", "panic")],
        &[("x-tenant", "a"), ("x-tenant", "b"), ("x-token-bin", "AP8"), ("x-token-bin", "AP8")],
        &[],
    ] {
        assert_eq!(received(TrustPolicy::trusted(), headers).await, (None, None), "{headers:?}");
    }
}

#[tokio::test]
async fn values_are_sent_only_by_a_client_with_their_metadata_key() {
    let (ctx, _time) = manual();
    let ctx = ctx.with_value(Tenant("acme".to_owned())).with_value(Token(vec![7; 100]));
    let layers = [(ClientLayer::new(), false), (ClientLayer::new().metadata::<Tenant>().metadata::<Token>(), true)];
    for (layer, is_sent) in layers {
        let (server, _time) = manual();
        let server = ServerLayer::new(http_layer(&server)).metadata::<Tenant>().metadata::<Token>();
        let (tell, told) = std::sync::mpsc::channel();
        let service = server.layer(tower::service_fn(move |request: http::Request<_>| {
            let ctx = request.extensions().get::<Context>().expect("the layer inserted one");
            tell.send((ctx.value::<Tenant>().is_some(), ctx.value::<Token>().is_some())).expect("the test listens");
            let response = tonic::Status::not_found("").into_http::<tonic::body::Body>();
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        }));
        let request = tonic::Request::new(echo("a")).with_context(&ctx);
        client(layer, service).unary(request).await.expect_err("not found");
        assert_eq!(told.recv(), Ok((is_sent, is_sent)));
    }
}

#[tokio::test]
async fn value_invalid_for_its_key_is_not_sent() {
    let ctx = Context::background().with_value(Tenant("a\nb".to_owned()));
    let server = tower::service_fn(|request: http::Request<tonic::body::Body>| {
        assert!(!request.headers().contains_key(Tenant::KEY));
        let response = tonic::Status::not_found("").into_http::<tonic::body::Body>();
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let request = tonic::Request::new(echo("a")).with_context(&ctx);
    client(ClientLayer::new().metadata::<Tenant>(), server).unary(request).await.expect_err("not found");
}

#[test]
#[should_panic(expected = "\"grpc-x\" is no key for metadata")]
fn reserved_key_is_refused() {
    struct Reserved;
    impl Value for Reserved {}
    impl Metadata for Reserved {
        const KEY: &str = "grpc-x";

        fn decode(_: &[u8]) -> Result<Self, InvalidMetadata> {
            Ok(Reserved)
        }

        fn encode(&self) -> Vec<u8> {
            Vec::new()
        }
    }
    let _ = ClientLayer::new().metadata::<Reserved>();
}
