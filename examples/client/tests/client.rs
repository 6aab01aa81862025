//! The client against a service on the loopback interface. A manual clock replaces all waits.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use client_ripcord::{Client, Error};
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::Retry;
use tokio::{net::TcpListener, sync::mpsc};

/// An answer of the service. `None` never comes.
type Answer = Option<(u16, &'static str)>;

const PRICE: Answer = Some((200, "1999\n"));
const FAILURE: Answer = Some((500, ""));

/// A client, and the service that it calls.
struct Test {
    client: Client,
    /// Receives a message for each request.
    requests: mpsc::UnboundedReceiver<()>,
    ctx: Context,
    time: ManualTime,
}

impl Test {
    /// Starts a service that gives these answers, one for each request.
    async fn new(answers: &'static [Answer]) -> Test {
        let answers = Arc::new(Mutex::new(answers.iter().copied()));
        let (arrived, requests) = mpsc::unbounded_channel();
        let answer = || async move {
            let next = answers.lock().unwrap().next().expect("an unexpected request");
            arrived.send(()).unwrap();
            match next {
                Some((status, body)) => (StatusCode::from_u16(status).unwrap(), body),
                None => pending().await,
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/prices/GO", get(answer));
        tokio::spawn(async { axum::serve(listener, router).await });

        let (clock, time) = Clock::manual();
        let ctx = Context::background().with_clock(clock.clone());
        Test { client: Client::with_clock(&url, clock), requests, ctx, time }
    }

    /// Calls the client from inside a retry, so that the client makes only one attempt. Without the box, the nested futures overflow
    /// the stack of a debug build.
    async fn attempt(&self) -> Result<u64, Error> {
        let once = Retry::builder().max_attempts(1).build().unwrap();
        let price = once.run(&self.ctx, |ctx| Box::pin(async move { self.client.price(&ctx, "GO").await })).await;
        price.map_err(|error| error.into_last().unwrap())
    }
}

#[tokio::test]
async fn price_is_returned() {
    let test = Test::new(&[PRICE]).await;
    assert_eq!(test.client.price(&test.ctx, "GO").await.unwrap(), 1999);
}

#[tokio::test]
async fn slow_attempt_is_repeated() {
    let Test { client, mut requests, ctx, time } = Test::new(&[None, PRICE]).await;
    let waits = async {
        requests.recv().await;
        time.advance(Duration::from_millis(500)); // the limit of the attempt
        time.wait_for_timers(2).await; // the limit of the call, and the wait before the next attempt
        time.advance(Duration::from_millis(100));
    };
    let (price, ()) = tokio::join!(client.price(&ctx, "GO"), waits);
    assert_eq!(price.unwrap(), 1999);
}

#[tokio::test]
async fn unknown_symbol_is_not_repeated() {
    let test = Test::new(&[Some((404, ""))]).await;
    assert!(matches!(test.client.price(&test.ctx, "GO").await, Err(Error::NotFound)));
}

#[tokio::test]
async fn deadline_of_the_caller_ends_the_call() {
    let Test { client, mut requests, ctx, time } = Test::new(&[None]).await;
    let (ctx, line) = (ctx.with_timeout(Duration::from_millis(50)), line!());
    let waits = async {
        requests.recv().await;
        time.advance(Duration::from_millis(50));
    };
    let (price, ()) = tokio::join!(client.price(&ctx, "GO"), waits);
    let Err(Error::Timeout(error)) = price else { panic!("{price:?}") };
    let end = error.context_error().unwrap();
    assert_eq!(end.origin().location().line(), line); // the error says who has set the deadline
}

#[tokio::test]
async fn cancel_of_the_caller_ends_the_call() {
    let Test { client, mut requests, ctx, .. } = Test::new(&[None]).await;
    let (ctx, cancel) = ctx.with_cancel();
    let canceling = async {
        requests.recv().await;
        cancel.cancel_with("the user has closed the window");
    };
    let (price, ()) = tokio::join!(client.price(&ctx, "GO"), canceling);
    let Err(Error::Canceled(error)) = price else { panic!("{price:?}") };
    assert!(format!("{error:#}").contains("the user has closed the window"));
}

#[tokio::test]
async fn breaker_opens_after_five_failures_and_closes_after_a_success() {
    let test = Test::new(&[FAILURE, FAILURE, FAILURE, FAILURE, FAILURE, PRICE]).await;
    for _ in 0..5 {
        assert!(matches!(test.attempt().await, Err(Error::Failed(_))));
    }
    assert!(matches!(test.attempt().await, Err(Error::Unavailable(_)))); // without an attempt
    test.time.advance(Duration::from_secs(30));
    assert_eq!(test.client.price(&test.ctx, "GO").await.unwrap(), 1999);
}

#[tokio::test]
async fn half_open_breaker_admits_one_call() {
    let mut test = Test::new(&[FAILURE, FAILURE, FAILURE, FAILURE, FAILURE, None]).await;
    for _ in 0..5 {
        assert!(matches!(test.attempt().await, Err(Error::Failed(_))));
        test.requests.recv().await;
    }
    test.time.advance(Duration::from_secs(30));
    let first = test.attempt(); // never ends
    tokio::select! {
        biased;
        price = first => panic!("{price:?}"),
        // The second call is refused, while the first one tests the service.
        price = test.attempt() => assert!(matches!(price, Err(Error::Unavailable(_)))),
    }
}
