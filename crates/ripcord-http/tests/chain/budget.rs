//! Tests the time left in a chain.

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

fn told(service: &Service) -> u64 {
    service.only().header("x-request-timeout-ms").expect("it was told").parse().expect("it is a number")
}

#[tokio::test]
async fn each_hop_has_less_time() {
    let [a, b, c] = [Service::trusting(), Service::trusting(), Service::trusting()];
    let url = chain([&a, &b, &c], Duration::from_nanos(1)).await;
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_timeout(5000 * MILLISECOND);
    time.advance(Duration::from_nanos(1));
    assert_eq!(call(&ctx, &url).await.unwrap(), "the end");
    assert_eq!([told(&a), told(&b), told(&c)], [4999, 4998, 4997], "a nanosecond of work is enough");
    assert_eq!(c.only().left, Some(4997 * MILLISECOND));
}

/// Repeats the test above with the system's clock, because manual clocks stand still.
#[tokio::test]
async fn each_hop_has_less_time_left() {
    let [a, b, c] = [Service::trusting(), Service::trusting(), Service::trusting()].map(|service| {
        let layer = ContextLayer::new(&Context::background()).trust(TrustPolicy::trusted());
        Service { layer, ..service }
    });
    let url = chain([&a, &b, &c], Duration::ZERO).await;
    call(&Context::background().with_timeout(Duration::from_secs(60)), &url).await.unwrap();
    let hops = [60_000, told(&a), told(&b), told(&c)];
    assert!(hops.is_sorted_by(|before, after| before > after), "{hops:?}");
}

#[tokio::test]
async fn clock_set_to_another_time_changes_nothing() {
    let day = Duration::from_secs(24 * 60 * 60);
    let a = Service::new(TrustPolicy::untrusted(), 400 * day);
    let b = Service::trusting();
    let c = Service::new(TrustPolicy::trusted(), 20 * 365 * day);
    let url = chain([&a, &b, &c], 100 * MILLISECOND).await;
    let (clock, _time) = Clock::manual();
    call(&Context::background().with_clock(clock).with_timeout(1000 * MILLISECOND), &url).await.unwrap();
    assert_eq!([told(&a), told(&b), told(&c)], [1000, 900, 800]);
    assert_eq!([a.only().left, c.only().left], [Some(1000 * MILLISECOND), Some(800 * MILLISECOND)]);
}

#[tokio::test]
async fn expired_deadline_is_not_sent() {
    let [a, b, c] = [Service::trusting(), Service::trusting(), Service::trusting()];
    let url = chain([&a, &b, &c], 600 * MILLISECOND).await;
    let (clock, _time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_timeout(1000 * MILLISECOND);
    let error = call(&ctx, &url).await.unwrap_err();
    assert!(error.to_string().contains("504 Gateway Timeout"), "{error}");
    assert_eq!(told(&b), 400);
    assert!(c.seen().is_empty(), "B had nothing left for it");
}

#[tokio::test]
async fn server_limit_shortens_the_deadline_of_all_services_behind_it() {
    let a = Service::new(TrustPolicy::untrusted().with_max_timeout(200 * MILLISECOND), Duration::ZERO);
    let [b, c] = [Service::trusting(), Service::trusting()];
    let url = chain([&a, &b, &c], 10 * MILLISECOND).await;
    let (clock, _time) = Clock::manual();
    call(&Context::background().with_clock(clock).with_timeout(1000 * MILLISECOND), &url).await.unwrap();
    assert_eq!([told(&a), told(&b), told(&c)], [1000, 190, 180]);
}
