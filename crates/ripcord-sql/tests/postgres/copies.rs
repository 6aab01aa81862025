//! COPY.

use std::time::Duration;

use futures::StreamExt as _;
use ripcord_sql::postgres::tokio_postgres::error::SqlState;

use crate::common::{Fixture, assert_clean, backend, background, least_of_five};

pub(crate) async fn copy_in_and_out(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    pool.batch_execute(&ctx, "CREATE TABLE copied (id int, name text)").await.unwrap();
    let mut copy = pool.copy_in(&ctx, "COPY copied FROM STDIN").await.unwrap();
    for number in 0..5000 {
        copy.write(format!("{number}\tname {number}\n")).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 5000);
    let data = pool.copy_out(&ctx, "COPY (SELECT * FROM copied ORDER BY id) TO STDOUT").await.unwrap();
    let data: Vec<_> = data.map(Result::unwrap).collect().await;
    assert_eq!((data.len(), data[4999].as_ref()), (5000, &b"4999\tname 4999\n"[..]));
    assert_clean(&pool).await;
    assert_eq!((pool.stats().canceled, pool.stats().discarded), (0, 0));
}

pub(crate) async fn copy_in_that_is_refused_leaves_a_clean_pool(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    admin.execute("CREATE TABLE forbidden (id int); CREATE ROLE nobody_may LOGIN").await;
    let mut config = fixture.config();
    config.user("nobody_may");
    let restricted = ripcord_sql::postgres::Pool::builder(config).max_size(1).build().unwrap();
    for _ in 0..3 {
        let error = restricted.copy_in(&ctx, "COPY forbidden FROM STDIN").await.unwrap_err();
        assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        assert_clean(&restricted).await;
    }
    let error = pool.copy_in(&ctx, "COPY missing FROM STDIN").await.unwrap_err();
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::UNDEFINED_TABLE));
    // A statement that is no COPY.
    pool.copy_in(&ctx, "SELECT 1").await.unwrap_err();
    assert_clean(&pool).await;
    pool.copy_out(&ctx, "SELECT 1").await.unwrap_err();
    assert_clean(&pool).await;
}

pub(crate) async fn bad_data_is_reported_by_finish(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    admin.execute("CREATE TABLE numbers (id int)").await;
    let before = backend(&pool).await;
    let mut copy = pool.copy_in(&ctx, "COPY numbers FROM STDIN").await.unwrap();
    copy.write("1\nno number\n").await.unwrap();
    let error = copy.finish().await.unwrap_err();
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::INVALID_TEXT_REPRESENTATION));
    assert_clean(&pool).await;
    assert_eq!((admin.count("numbers").await, backend(&pool).await), (0, before));
}

pub(crate) async fn copy_in_dropped_stores_nothing(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    admin.execute("CREATE TABLE dropped (id int)").await;
    let mut copy = pool.copy_in(&ctx, "COPY dropped FROM STDIN").await.unwrap();
    copy.write("1\n2\n").await.unwrap();
    drop(copy);
    admin.wait_for_nothing().await;
    assert_clean(&pool).await;
    assert_eq!(admin.count("dropped").await, 0);
}

pub(crate) async fn copy_in_that_nobody_writes_ends_with_its_context(fixture: &Fixture<'_>) {
    let (pool, admin) = (fixture.pool(), fixture.admin().await);
    admin.execute("CREATE TABLE unwritten (id int)").await;
    let least = least_of_five(async || {
        let (ctx, cancel) = background().with_cancel();
        let mut copy = pool.copy_in(&ctx, "COPY unwritten FROM STDIN").await.unwrap();
        copy.write("1\n").await.unwrap();
        cancel.cancel();
        let took = admin.wait_for_nothing().await;
        assert_clean(&pool).await;
        assert!(copy.write("2\n").await.unwrap_err().is_canceled());
        assert!(copy.finish().await.unwrap_err().is_canceled());
        took
    });
    let least = least.await;
    assert!(least < Duration::from_millis(100), "{least:?}");
    assert_eq!(admin.count("unwritten").await, 0);
}

pub(crate) async fn copy_out_dropped_is_canceled(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    let before = backend(&pool).await;
    let sql = "COPY (SELECT repeat('x', 1000), generate_series(1, 100000000)) TO STDOUT";
    let mut copy = pool.copy_out(&ctx, sql).await.unwrap();
    copy.next().await.unwrap().unwrap();
    drop(copy);
    admin.wait_for_nothing().await;
    assert_clean(&pool).await;
    assert_eq!((backend(&pool).await, pool.stats().discarded), (before, 0));
}

pub(crate) async fn copies_in_a_transaction(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    admin.execute("CREATE TABLE both_ways (id int)").await;
    let transaction = pool.transaction(&ctx).await.unwrap();
    let mut copy = transaction.copy_in(&ctx, "COPY both_ways FROM STDIN").await.unwrap();
    copy.write("1\n2\n").await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 2);
    let data: Vec<_> = transaction.copy_out(&ctx, "COPY both_ways TO STDOUT").await.unwrap().collect().await;
    assert_eq!(data.len(), 2);
    transaction.execute(&ctx, "INSERT INTO both_ways VALUES (3)", &[]).await.unwrap();
    transaction.commit(&ctx).await.unwrap();
    assert_eq!(admin.count("both_ways").await, 3);
    // A COPY that is dropped aborts its transaction.
    let transaction = pool.transaction(&ctx).await.unwrap();
    drop(transaction.copy_in(&ctx, "COPY both_ways FROM STDIN").await.unwrap());
    let error = transaction.commit(&ctx).await.unwrap_err();
    assert_eq!(error.to_string(), "commit: a statement of the transaction has failed, so it was rolled back");
    assert_clean(&pool).await;
}
