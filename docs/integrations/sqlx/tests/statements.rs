//! Statements in a database in memory.

use std::time::Duration;

use recipe_sqlx::{Error, run};
use ripcord::Context;
use sqlx::{Connection as _, SqlitePool, sqlite::SqlitePoolOptions};

/// Takes half a minute or more, if it is not interrupted.
const SLOW: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50000000) SELECT max(i) FROM n";

/// Opens a database with one connection, and a table that only this connection sees.
async fn pool() -> SqlitePool {
    let options = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = options.connect("sqlite::memory:").await.unwrap();
    sqlx::query("CREATE TEMP TABLE carts (name TEXT)").execute(&pool).await.unwrap();
    pool
}

#[tokio::test]
async fn statement_returns_its_result() {
    let pool = pool().await;
    let ctx = Context::background().with_timeout(Duration::from_secs(60));
    let sum = run::<i64>(&ctx, &pool, async |connection| {
        sqlx::query_scalar("SELECT 1 + 1").fetch_one(&mut **connection).await
    });
    assert_eq!(sum.await.unwrap(), 2);
}

#[tokio::test]
async fn deadline_interrupts_a_statement_and_the_connection_is_used_again() {
    let pool = pool().await;
    let ctx = Context::background().with_timeout(Duration::from_millis(100));
    let count = run::<i64>(&ctx, &pool, async |connection| sqlx::query_scalar(SLOW).fetch_one(&mut **connection).await);
    let Err(Error::Ended(end)) = count.await else { panic!("an end") };
    assert!(end.is_deadline_exceeded());
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM carts").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn interrupted_transaction_is_rolled_back() {
    let pool = pool().await;
    let ctx = Context::background().with_timeout(Duration::from_millis(100));
    let work = async |connection: &mut sqlx::pool::PoolConnection<sqlx::Sqlite>| {
        let mut transaction = connection.begin().await?;
        sqlx::query("INSERT INTO carts VALUES ('books')").execute(&mut *transaction).await?;
        sqlx::query(SLOW).execute(&mut *transaction).await?;
        transaction.commit().await
    };
    assert!(matches!(run(&ctx, &pool, work).await, Err(Error::Ended(_))));
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM carts").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn wait_for_a_connection_ends_with_the_context() {
    let pool = pool().await;
    let _only = pool.acquire().await.unwrap();
    let ctx = Context::background().with_timeout(Duration::from_millis(100));
    let nothing = run(&ctx, &pool, async |_| Ok(())).await;
    assert!(matches!(nothing, Err(Error::Ended(_))));
}
