//! Compares the client library of today with its ripcord version. Each has an upstream of its own.

use std::{sync::Arc, time::Duration};

use migrations_tests::Upstream;
use ripcord::Context;
use ripcord_policy::Retry;
use tokio_util::sync::CancellationToken;

/// A client of today with its upstream, and the same with ripcord.
async fn clients() -> ((client_tokio::Client, Upstream), (client_ripcord::Client, Upstream)) {
    let upstreams = (Upstream::start().await, Upstream::start().await);
    let today = client_tokio::Client::new(&upstreams.0.url);
    let ported = client_ripcord::Client::new(&upstreams.1.url);
    ((today, upstreams.0), (ported, upstreams.1))
}

/// Asks both clients for a price. Returns the price or the text of the error, which must be equal, and the number of requests.
async fn ask(symbol: &str) -> (Result<u64, String>, [usize; 2]) {
    let (today, ported) = clients().await;
    let background = Context::background();
    let prices = tokio::join!(today.0.price(symbol), ported.0.price(&background, symbol));
    let (today_price, ported_price) =
        (prices.0.map_err(|error| error.to_string()), prices.1.map_err(|error| error.to_string()));
    assert_eq!(today_price, ported_price);
    let path = format!("/prices/{symbol}");
    (today_price, [today.1.requests(&path).len(), ported.1.requests(&path).len()])
}

#[tokio::test]
async fn price_is_returned() {
    assert_eq!(ask("GO").await, (Ok(1999), [1, 1]));
}

#[tokio::test]
async fn unknown_symbol_is_not_asked_for_again() {
    assert_eq!(ask("missing").await, (Err("no such symbol".to_owned()), [1, 1]));
}

#[tokio::test]
async fn failing_service_is_asked_three_times() {
    assert_eq!(ask("broken").await, (Err("the price service has failed".to_owned()), [3, 3]));
}

#[tokio::test]
async fn slow_service_is_asked_three_times() {
    assert_eq!(ask("held").await, (Err("the price service did not answer in time".to_owned()), [3, 3]));
}

/// Gained: the deadline of the caller gives an error of the library, and reaches the service.
#[tokio::test]
async fn deadline_of_the_caller() {
    let (today, ported) = clients().await;
    let limit = Duration::from_millis(200);
    let elapsed = tokio::time::timeout(limit, today.0.price("held")).await.unwrap_err();
    assert_eq!(elapsed.to_string(), "deadline has elapsed");
    assert!(!today.1.requests("/prices/held")[0].headers.contains_key("x-request-timeout-ms"));

    let ctx = Context::background().with_timeout(limit);
    let error = ported.0.price(&ctx, "held").await.unwrap_err();
    assert_eq!(error.to_string(), "the price service did not answer in time");
    assert!(ported.1.requests("/prices/held")[0].headers.contains_key("x-request-timeout-ms"));
}

/// Gained: a canceled call says why.
#[tokio::test]
async fn shutdown_of_the_caller() {
    let (today, ported) = clients().await;
    let token = CancellationToken::new();
    let cancels = async {
        today.1.received("/prices/held", 1).await;
        token.cancel();
    };
    let (price, ()) = tokio::join!(token.run_until_cancelled(today.0.price("held")), cancels);
    assert!(price.is_none());

    let (ctx, cancel) = Context::background().with_cancel();
    let cancels = async {
        ported.1.received("/prices/held", 1).await;
        cancel.cancel_with("shutting down");
    };
    let (price, ()) = tokio::join!(ported.0.price(&ctx, "held"), cancels);
    let Err(client_ripcord::Error::Canceled(error)) = price else { panic!("{price:?}") };
    assert!(format!("{error:#}").contains("shutting down"));
}

/// Gained: the attempts of a caller that retries, and of the library, do not multiply.
#[tokio::test]
async fn retry_of_the_caller() {
    let (today, ported) = clients().await;
    for _ in 0..2 {
        assert!(today.0.price("broken").await.is_err());
    }
    assert_eq!(today.1.requests("/prices/broken").len(), 5); // two times three, but the breaker has opened

    let client = &ported.0;
    let twice = Retry::constant(Duration::ZERO).max_attempts(2).build().unwrap();
    let price = twice.run(&Context::background(), |ctx| async move { client.price(&ctx, "broken").await }).await;
    assert!(price.is_err());
    assert_eq!(ported.1.requests("/prices/broken").len(), 2);
}

/// Gained: a service that may still be down is tested by one call, not by all. The test of the library with ripcord is
/// `half_open_breaker_admits_one_call`.
#[tokio::test]
async fn half_open_breaker_of_today_admits_all_calls() {
    let upstream = Upstream::start().await;
    let times = client_tokio::Times { open: Duration::from_millis(100), ..Default::default() };
    let client = Arc::new(client_tokio::Client::with_times(&upstream.url, times));
    for _ in 0..2 {
        assert!(client.price("broken").await.is_err());
    }
    tokio::time::sleep(Duration::from_millis(200)).await; // failsafe counts in real time
    for _ in 0..10 {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.price("held").await });
    }
    upstream.received("/prices/held", 10).await;
}
