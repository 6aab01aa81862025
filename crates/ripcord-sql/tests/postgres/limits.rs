//! The server's own limit of a statement's time.

use std::time::{Duration, Instant};

use ripcord::Context;
use ripcord_sql::postgres::Pool;
use ripcord_sql::postgres::tokio_postgres::error::SqlState;

use crate::common::{Fixture, assert_clean, backend, background, within};

const LIMIT: &str = "SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'";

async fn limit(pool: &Pool, ctx: &Context) -> i32 {
    pool.query_one(ctx, LIMIT, &[]).await.unwrap().get(0)
}

pub(crate) async fn statement_timeout_is_the_time_left(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    assert_eq!(limit(&pool, &background()).await, 0);
    let left = limit(&pool, &within(8000)).await;
    assert!((7000..=8192).contains(&left), "{left}");
    assert!((50_000..=61_440).contains(&limit(&pool, &within(60_000)).await));
    // A shorter limit could end the statement that sets the next one.
    assert_eq!(limit(&pool, &within(100)).await, 1024);
    assert_eq!(limit(&pool, &background()).await, 0);
    // After a cancel, the setting is sent again.
    assert!(pool.query(&within(50), "SELECT pg_sleep(60)", &[]).await.is_err());
    assert_eq!(limit(&pool, &background()).await, 0);
}

pub(crate) async fn statement_timeout_is_local_in_a_transaction(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    let ctx = within(8000);
    let transaction = pool.transaction(&ctx).await.unwrap();
    let left: i32 = transaction.query_one(&ctx, LIMIT, &[]).await.unwrap().get(0);
    assert!((7000..=8192).contains(&left), "{left}");
    let shorter = ctx.with_timeout(Duration::from_secs(2));
    let left: i32 = transaction.query_one(&shorter, LIMIT, &[]).await.unwrap().get(0);
    assert!((1500..=2048).contains(&left), "{left}");
    transaction.commit(&ctx).await.unwrap();
    assert_eq!(limit(&pool, &background()).await, 0);
}

pub(crate) async fn statement_timeout_is_set_again_after_a_rollback_to_a_savepoint(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    let ctx = within(60_000);
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.batch_execute(&ctx, "SAVEPOINT before").await.unwrap();
    let shorter = ctx.with_timeout(Duration::from_secs(8));
    transaction.query_one(&shorter, LIMIT, &[]).await.unwrap();
    transaction.batch_execute(&shorter, "ROLLBACK TO before").await.unwrap();
    let left: i32 = transaction.query_one(&shorter, LIMIT, &[]).await.unwrap().get(0);
    assert!(left <= 8192, "{left}");
    transaction.batch_execute(&shorter, "SET LOCAL statement_timeout = 0").await.unwrap();
    let left: i32 = transaction.query_one(&shorter, LIMIT, &[]).await.unwrap().get(0);
    assert!((1..=8192).contains(&left), "{left}");
}

pub(crate) async fn statement_timeout_never_exceeds_the_sessions_own(fixture: &Fixture<'_>) {
    let mut config = fixture.config();
    config.options("-c statement_timeout=1000");
    let pool = Pool::builder(config).max_size(1).build().unwrap();
    assert_eq!((limit(&pool, &background()).await, limit(&pool, &within(8000)).await), (1000, 1000));
    assert_eq!(limit(&pool, &within(100)).await, 1000);
    let error = pool.query(&within(60_000), "SELECT pg_sleep(60)", &[]).await.unwrap_err();
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::QUERY_CANCELED));
    assert!(error.context_error().is_none());
    let transaction = pool.transaction(&within(8000)).await.unwrap();
    let left: i32 = transaction.query_one(&background(), LIMIT, &[]).await.unwrap().get(0);
    assert_eq!(left, 1000);
}

pub(crate) async fn statement_timeout_can_be_turned_off(fixture: &Fixture<'_>) {
    let pool = fixture.builder().statement_timeout(false).build().unwrap();
    assert_eq!(limit(&pool, &within(8000)).await, 0);
    let transaction = pool.transaction(&within(8000)).await.unwrap();
    assert_eq!(transaction.query_one(&within(8000), LIMIT, &[]).await.unwrap().get::<_, i32>(0), 0);
}

pub(crate) async fn without_cancels_the_connection_is_drained_or_closed(fixture: &Fixture<'_>) {
    // The server ends the statement by its own limit, within the grace.
    let pool = fixture.builder().cancel_on_server(false).build().unwrap();
    let before = backend(&pool).await;
    let error = pool.query(&within(200), "SELECT pg_sleep(60)", &[]).await.unwrap_err();
    assert!(error.is_deadline_exceeded() && !error.is_outcome_unknown());
    assert_eq!((backend(&pool).await, pool.stats().discarded), (before, 0));

    // It goes on, so the connection is closed.
    let grace = Duration::from_millis(50);
    let pool = fixture.builder().cancel_on_server(false).statement_timeout(false).grace(grace).build().unwrap();
    let before = backend(&pool).await;
    let started = Instant::now();
    let error = pool.query(&within(50), "SELECT 1 FROM pg_sleep(2)", &[]).await.unwrap_err();
    assert!(error.is_outcome_unknown() && started.elapsed() < Duration::from_secs(2));
    assert_eq!((pool.stats().discarded, pool.stats().canceled), (1, 0));
    assert_clean(&pool).await;
    assert_ne!(backend(&pool).await, before);
}
