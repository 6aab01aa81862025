//! The client against a service on the loopback interface. The tests wait in real time, so they use short times.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use client_tokio::{Client, Error, Times};
use tokio::{io::AsyncReadExt, net::TcpListener};

/// An answer of the service. `None` never comes.
type Answer = Option<(u16, &'static str)>;

const PRICE: Answer = Some((200, "1999\n"));
const FAILURE: Answer = Some((500, ""));

/// Starts a service that gives these answers, one for each request. Returns its URL.
async fn service(answers: &'static [Answer]) -> String {
    let answers = Arc::new(Mutex::new(answers.iter().copied()));
    let answer = || async move {
        let next = answers.lock().unwrap().next().expect("an unexpected request");
        match next {
            Some((status, body)) => (StatusCode::from_u16(status).unwrap(), body),
            None => pending().await,
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/prices/GO", get(answer));
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

/// Creates a client with short times.
fn client(url: &str) -> Client {
    let times =
        Times { attempt: Duration::from_millis(200), call: Duration::from_secs(5), open: Duration::from_secs(1) };
    Client::with_times(url, times)
}

#[tokio::test]
async fn price_is_returned() {
    let client = client(&service(&[PRICE]).await);
    assert_eq!(client.price("GO").await.unwrap(), 1999);
}

#[tokio::test]
async fn slow_attempt_is_repeated() {
    let client = client(&service(&[None, PRICE]).await);
    assert_eq!(client.price("GO").await.unwrap(), 1999);
}

#[tokio::test]
async fn unknown_symbol_is_not_repeated() {
    let client = client(&service(&[Some((404, ""))]).await);
    assert!(matches!(client.price("GO").await, Err(Error::NotFound)));
}

#[tokio::test]
async fn deadline_of_the_caller_ends_the_call() {
    let client = client(&service(&[None]).await);
    // The error is tokio's, not the client's.
    assert!(tokio::time::timeout(Duration::from_millis(50), client.price("GO")).await.is_err());
}

#[tokio::test]
async fn cancel_of_the_caller_ends_the_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&format!("http://{}", listener.local_addr().unwrap()));
    let call = tokio::spawn(async move { client.price("GO").await });
    let (mut connection, _) = listener.accept().await.unwrap();
    call.abort();
    // Nothing says who has canceled the call.
    assert!(call.await.unwrap_err().is_cancelled());
    let end = connection.read_to_end(&mut Vec::new()).await;
    end.expect("the client closes the connection of the call");
}

#[tokio::test]
async fn breaker_opens_after_five_failures_and_closes_after_a_success() {
    let client = client(&service(&[FAILURE, FAILURE, FAILURE, FAILURE, FAILURE, PRICE]).await);
    assert!(matches!(client.price("GO").await, Err(Error::Failed(_))));
    assert!(matches!(client.price("GO").await, Err(Error::Unavailable))); // after two attempts
    assert!(matches!(client.price("GO").await, Err(Error::Unavailable))); // without an attempt
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(client.price("GO").await.unwrap(), 1999);
}
