//! Runs `examples/soak` with fewer requests.

#[path = "../examples/soak/load.rs"]
mod load;

/// Maximum growth of the process's memory during the last nine tenths of the requests. The value allows some growth of the
/// allocator, but not a leak of 500 bytes per request.
const GROWTH: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_leave_no_context_and_no_memory() {
    let requests = 32_000;
    let report = load::run(requests).await.expect("the run succeeds");
    let load::Seen { answered, timed_out, given_up } = report.seen;
    assert_eq!((answered, timed_out, given_up), (25_600, 3_200, 3_200), "each of 64 clients has 500");

    let stats = report.stats;
    assert_eq!((stats.requests, stats.timed_out, stats.disconnected), (requests, timed_out, given_up));
    assert_eq!((stats.in_flight, stats.held), (0, 0));
    assert_eq!((stats.canceled, stats.panicked, stats.failed), (0, 0, 0));
    let (warm, end) = report.memory.unwrap_or_default();
    assert!(end < warm + GROWTH, "{warm} bytes after a tenth of them, {end} after all, in {:?}", report.took);
}
