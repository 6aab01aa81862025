//! The soak of `examples/soak`, scaled down.

#[path = "../examples/soak/load.rs"]
mod load;

/// How much the memory of the process may grow while it serves the other nine tenths: what allocators keep for later, and no
/// more than 500 bytes for each request if it is a leak.
const GROWTH: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_many_requests() {
    let requests = 32_000;
    let report = load::run(requests).await.expect("all goes as it should");
    let load::Seen { answered, timed_out, given_up } = report.seen;
    assert_eq!((answered, timed_out, given_up), (25_600, 3_200, 3_200), "each of 64 clients has 500");

    let stats = report.stats;
    assert_eq!((stats.requests, stats.timed_out, stats.disconnected), (requests, timed_out, given_up));
    assert_eq!((stats.in_flight, stats.held), (0, 0));
    assert_eq!((stats.canceled, stats.panicked, stats.failed), (0, 0, 0));
    let (warm, end) = report.memory.unwrap_or_default();
    assert!(end < warm + GROWTH, "{warm} bytes after a tenth of them, {end} after all, in {:?}", report.took);
}
