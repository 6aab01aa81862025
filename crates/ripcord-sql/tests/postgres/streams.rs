//! Rows as they arrive.

use std::time::Duration;

use futures::StreamExt as _;
use ripcord_sql::postgres::tokio_postgres::error::SqlState;

use crate::common::{Fixture, assert_clean, backend, background, least_of_five, within};

const ENDLESS: &str = "SELECT repeat('x', 1000), generate_series(1, 100000000)";

pub(crate) async fn rows_arrive_one_by_one(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    let before = backend(&pool).await;
    let mut rows = pool.query_stream(&ctx, "SELECT generate_series(1, $1)", &[&1000]).await.unwrap();
    let mut sum = 0;
    while let Some(row) = rows.next().await {
        sum += row.unwrap().get::<_, i32>(0);
    }
    assert_eq!(sum, 500_500);
    assert!(rows.next().await.is_none());
    // The connection is back although the stream is still there.
    assert_clean(&pool).await;
    assert_eq!((backend(&pool).await, pool.stats().canceled), (before, 0));
}

pub(crate) async fn stream_dropped_early_is_canceled(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    let before = backend(&pool).await;
    let mut rows = pool.query_stream(&ctx, ENDLESS, &[]).await.unwrap();
    rows.next().await.unwrap().unwrap();
    drop(rows);
    admin.wait_for_nothing().await;
    assert_clean(&pool).await;
    assert_eq!((backend(&pool).await, pool.stats().discarded), (before, 0));
}

pub(crate) async fn stream_that_nobody_polls_ends_with_its_context(fixture: &Fixture<'_>) {
    let (pool, admin) = (fixture.pool(), fixture.admin().await);
    let before = backend(&pool).await;
    let least = least_of_five(async || {
        let (ctx, cancel) = background().with_cancel();
        let mut rows = pool.query_stream(&ctx, ENDLESS, &[]).await.unwrap();
        rows.next().await.unwrap().unwrap();
        cancel.cancel();
        let took = admin.wait_for_nothing().await;
        assert_clean(&pool).await;
        assert!(rows.next().await.unwrap().unwrap_err().is_canceled());
        assert!(rows.next().await.is_none());
        took
    });
    let least = least.await;
    assert!(least < Duration::from_millis(100), "{least:?}");
    assert_eq!((backend(&pool).await, pool.stats().discarded), (before, 0));
}

pub(crate) async fn stream_reports_the_end(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    let ctx = within(300);
    // Rows of this size are sent at once.
    let sql = "SELECT repeat('x', 10000), pg_sleep(n) FROM unnest(ARRAY[0, 0, 60]) AS n";
    let rows = pool.query_stream(&ctx, sql, &[]).await.unwrap();
    let line = line!() - 1;
    let rows: Vec<_> = rows.collect().await;
    let error = rows.last().unwrap().as_ref().unwrap_err();
    assert!(error.is_deadline_exceeded() && error.location().line() == line);
    assert_eq!(error.to_string(), "query_stream: context deadline exceeded");
    assert_clean(&pool).await;
}

pub(crate) async fn error_in_the_middle_of_a_stream_is_the_servers(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    let rows =
        pool.query_stream(&ctx, "SELECT 1000 / (1000 - n) FROM generate_series(1, 2000) AS n", &[]).await.unwrap();
    let rows: Vec<_> = rows.collect().await;
    assert_eq!(rows.len(), 1000);
    let error = rows.last().unwrap().as_ref().unwrap_err();
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::DIVISION_BY_ZERO));
    assert_clean(&pool).await;
}

pub(crate) async fn transaction_goes_on_after_a_dropped_stream(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    let transaction = pool.transaction(&ctx).await.unwrap();
    let mut rows = transaction.query_stream(&ctx, "SELECT generate_series(1, 100000)", &[]).await.unwrap();
    rows.next().await.unwrap().unwrap();
    let error = transaction.query(&ctx, "SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "query: another statement or stream of the transaction is in progress");
    drop(rows);
    assert_eq!(transaction.query_one(&ctx, "SELECT 7", &[]).await.unwrap().get::<_, i32>(0), 7);
    let rows = transaction.query_stream(&ctx, "SELECT generate_series(1, 10)", &[]).await.unwrap();
    assert_eq!(rows.count().await, 10);
    transaction.commit(&ctx).await.unwrap();
    assert_clean(&pool).await;
}

pub(crate) async fn savepoint_saves_a_transaction_with_a_dropped_stream(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    let transaction = pool.transaction(&ctx).await.unwrap();
    let mut rows = transaction.query_stream(&ctx, "SELECT generate_series(1, 100000)", &[]).await.unwrap();
    rows.next().await.unwrap().unwrap();
    drop(rows);
    transaction.batch_execute(&ctx, "SAVEPOINT one").await.unwrap();
    transaction.query(&ctx, "SELECT 1 / 0", &[]).await.unwrap_err();
    transaction.batch_execute(&ctx, "ROLLBACK TO one").await.unwrap();
    // The next statement after the dropped data fails.
    let mut data = transaction.copy_out(&ctx, "COPY (SELECT generate_series(1, 100000)) TO STDOUT").await.unwrap();
    data.next().await.unwrap().unwrap();
    drop(data);
    transaction.query(&ctx, "SELECT 1 / 0", &[]).await.unwrap_err();
    transaction.batch_execute(&ctx, "ROLLBACK TO one").await.unwrap();
    transaction.commit(&ctx).await.unwrap();
    assert_clean(&pool).await;
    assert_eq!((pool.stats().canceled, pool.stats().discarded), (0, 0));
}

pub(crate) async fn statement_that_is_not_sent_leaves_a_dropped_stream_to_the_end(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.query(&ctx, "SELECT $1::int", &[&1]).await.unwrap();
    let mut rows = transaction.query_stream(&ctx, ENDLESS, &[]).await.unwrap();
    rows.next().await.unwrap().unwrap();
    drop(rows);
    for _ in 0..2 {
        assert!(transaction.query(&within(0), "SELECT 1", &[]).await.unwrap_err().is_not_sent());
        let error = transaction.query(&ctx, "SELECT $1::int", &[&"text"]).await.unwrap_err();
        assert!(error.to_string().contains("error serializing parameter 0"), "{error}");
    }
    // The end of the transaction cancels the statement of the stream.
    drop(transaction);
    admin.wait_for_nothing().await;
    assert_clean(&pool).await;
    assert_eq!((pool.stats().canceled, pool.stats().discarded), (1, 0));
}
