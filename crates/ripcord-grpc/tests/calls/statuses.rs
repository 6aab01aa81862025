//! Tests malformed answers, which must not break a client.

use std::convert::Infallible;

use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use ripcord_grpc::ClientLayer;
use tonic::Code;
use tonic::body::Body;

use crate::common::{client, echo};

/// Returns the status of a call that is answered with these headers and trailers.
async fn status_of(head: &[(&'static str, &str)], trailers: Option<&[(&'static str, &str)]>) -> tonic::Status {
    let headers = |headers: &[(&'static str, &str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header's value"));
        }
        map
    };
    let (head, trailers) = (headers(head), trailers.map(headers));
    let server = tower::service_fn(move |_: Request<Body>| {
        let trailers = trailers.clone().map(|trailers| Ok::<_, Infallible>(Frame::<bytes::Bytes>::trailers(trailers)));
        let mut response = Response::new(Body::new(StreamBody::new(futures::stream::iter(trailers))));
        *response.headers_mut() = head.clone();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    client(ClientLayer::new(), server).unary(echo("a")).await.expect_err("there is no message")
}

#[tokio::test]
async fn details_that_are_not_base64_are_left_out() {
    for details in ["!", "a", "AB=", "AB==,AB==", "AR"] {
        let answer = [("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-status-details-bin", details)];
        for status in [status_of(&answer, None).await, status_of(&answer[..1], Some(&answer[1..])).await] {
            assert_eq!((status.code(), status.details()), (Code::NotFound, &b""[..]), "{details}");
        }
    }
    let answer = [("grpc-status", "5"), ("grpc-status-details-bin", "AP8H")];
    assert_eq!(status_of(&answer, None).await.details(), [0, 255, 7]);
    let answer = [("grpc-status", "5"), ("grpc-status-details-bin", "AA==")];
    assert_eq!(status_of(&answer, None).await.details(), [0]);
}

#[tokio::test]
async fn answers_without_a_status_fail_and_do_not_hang() {
    assert_eq!(status_of(&[("content-type", "application/grpc")], None).await.code(), Code::Unknown);
    assert_eq!(status_of(&[], Some(&[("x-other", "1")])).await.code(), Code::Unknown);
    assert_eq!(status_of(&[], Some(&[("grpc-status", "99")])).await.code(), Code::Unknown);
    assert_eq!(status_of(&[], Some(&[("grpc-status", "+4")])).await.code(), Code::Unknown);
}
