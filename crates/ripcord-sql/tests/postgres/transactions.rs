//! Transactions.

use std::time::Duration;

use futures::future::join;
use futures::poll;
use ripcord_sql::postgres::tokio_postgres::IsolationLevel;
use ripcord_sql::postgres::tokio_postgres::error::SqlState;

use crate::common::{Fixture, assert_clean, backend, background, least_of_five, within};

pub(crate) async fn commit_stores_and_drop_rolls_back(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    admin.execute("CREATE TABLE stored (id int)").await;
    let before = backend(&pool).await;
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.execute(&ctx, "INSERT INTO stored VALUES (1)", &[]).await.unwrap();
    transaction.commit(&ctx).await.unwrap();
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.execute(&ctx, "INSERT INTO stored VALUES (2)", &[]).await.unwrap();
    drop(transaction);
    assert_clean(&pool).await;
    assert_eq!((admin.count("stored").await, backend(&pool).await), (1, before));
    assert_eq!((pool.stats().canceled, pool.stats().discarded), (0, 0));
}

pub(crate) async fn rollback_is_done_when_it_returns(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.execute(&ctx, "CREATE TABLE never_there (id int)", &[]).await.unwrap();
    transaction.rollback(&ctx).await.unwrap();
    assert!(admin.activity().await.is_empty());
    // A transaction that is over is rolled back already.
    let short = within(1);
    if let Ok(transaction) = pool.transaction(&short).await {
        short.done().await;
        let _ = transaction.rollback(&ctx).await;
    }
    assert_clean(&pool).await;
}

pub(crate) async fn end_of_the_context_rolls_back_between_statements(fixture: &Fixture<'_>) {
    let (pool, admin) = (fixture.pool(), fixture.admin().await);
    admin.execute("CREATE TABLE locked (id int)").await;
    let (ctx, cancel) = background().with_cancel();
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.execute(&ctx, "LOCK TABLE locked", &[]).await.unwrap();
    cancel.cancel_with("the user has left");
    // Nobody uses the transaction, and its lock is free.
    admin.execute("SET lock_timeout = '10s'; LOCK TABLE locked IN ACCESS SHARE MODE").await;
    admin.wait_for_nothing().await;
    let error = transaction.execute(&background(), "INSERT INTO locked VALUES (1)", &[]).await.unwrap_err();
    assert!(error.is_canceled() && error.is_not_sent(), "{error:?}");
    let error = transaction.commit(&background()).await.unwrap_err();
    assert!(error.is_canceled() && !error.is_outcome_unknown());
    assert_eq!(error.operation(), "commit");
    assert_clean(&pool).await;
    assert_eq!(admin.count("locked").await, 0);

    let least = least_of_five(async || {
        let (ctx, cancel) = background().with_cancel();
        let transaction = pool.transaction(&ctx).await.unwrap();
        transaction.query(&ctx, "SELECT 1", &[]).await.unwrap();
        cancel.cancel();
        admin.wait_for_nothing().await
    });
    let least = least.await;
    assert!(least < Duration::from_millis(100), "{least:?}");
}

pub(crate) async fn end_of_a_statements_own_context_leaves_the_transaction(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    admin.execute("CREATE TABLE saved (id int)").await;
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.execute(&ctx, "INSERT INTO saved VALUES (1)", &[]).await.unwrap();
    transaction.batch_execute(&ctx, "SAVEPOINT before").await.unwrap();
    let error = transaction.query(&within(50), "SELECT pg_sleep(60)", &[]).await.unwrap_err();
    assert!(error.is_deadline_exceeded());
    let error = transaction.query(&ctx, "SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
    transaction.batch_execute(&ctx, "ROLLBACK TO before").await.unwrap();
    transaction.commit(&ctx).await.unwrap();
    assert_eq!(admin.count("saved").await, 1);
    assert_clean(&pool).await;
}

pub(crate) async fn commit_after_a_failed_statement_is_an_error(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    admin.execute("CREATE TABLE half (id int)").await;
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.execute(&ctx, "INSERT INTO half VALUES (1)", &[]).await.unwrap();
    transaction.query(&ctx, "SELECT 1 / 0", &[]).await.unwrap_err();
    let error = transaction.commit(&ctx).await.unwrap_err();
    assert_eq!(error.to_string(), "commit: a statement of the transaction has failed, so it was rolled back");
    assert_clean(&pool).await;
    assert_eq!(admin.count("half").await, 0);
}

pub(crate) async fn savepoint_saves_a_transaction(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    admin.execute("CREATE TABLE partly (id int)").await;
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.batch_execute(&ctx, "INSERT INTO partly VALUES (1); SAVEPOINT one").await.unwrap();
    transaction.query(&ctx, "SELECT 1 / 0", &[]).await.unwrap_err();
    transaction.batch_execute(&ctx, "ROLLBACK TO one").await.unwrap();
    transaction.commit(&ctx).await.unwrap();
    assert_eq!(admin.count("partly").await, 1);
}

pub(crate) async fn statement_dropped_half_way_ends_the_transaction(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.query(&ctx, "SELECT pg_sleep($1)", &[&0.0]).await.unwrap();
    let mut statement = Box::pin(transaction.query(&ctx, "SELECT pg_sleep($1)", &[&60.0]));
    assert!(poll!(&mut statement).is_pending());
    admin.wait_for_sleep().await;
    drop(statement);
    admin.wait_for_nothing().await;
    let error = transaction.commit(&ctx).await.unwrap_err();
    assert!(error.to_string().starts_with("commit: the transaction is over: a statement was dropped"), "{error}");
    assert_clean(&pool).await;
    assert_eq!(pool.stats().discarded, 0);
}

pub(crate) async fn deferred_constraint_fails_the_commit(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    admin.execute("CREATE TABLE deferred (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)").await;
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.execute(&ctx, "INSERT INTO deferred VALUES (1), (1)", &[]).await.unwrap();
    let error = transaction.commit(&ctx).await.unwrap_err();
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::UNIQUE_VIOLATION));
    assert!(!error.is_outcome_unknown());
    assert_clean(&pool).await;
}

pub(crate) async fn conflict_is_transient(fixture: &Fixture<'_>) {
    let (admin, ctx) = (fixture.admin().await, background());
    admin.execute("CREATE TABLE accounts (id int, balance int); INSERT INTO accounts VALUES (1, 0), (2, 0)").await;
    let pool = fixture.builder().max_size(2).build().unwrap();
    let (first, second) = join(pool.transaction(&ctx), pool.transaction(&ctx)).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    let sql = "UPDATE accounts SET balance = 1 WHERE id = $1";
    first.execute(&ctx, sql, &[&1]).await.unwrap();
    second.execute(&ctx, sql, &[&2]).await.unwrap();
    let (one, other) = join(first.execute(&ctx, sql, &[&2]), second.execute(&ctx, sql, &[&1])).await;
    let error = one.err().or(other.err()).expect("one of them is the deadlock's victim");
    assert!(error.is_transient() && error.postgres().unwrap().code() == Some(&SqlState::T_R_DEADLOCK_DETECTED));
}

pub(crate) async fn settings_of_the_builder_are_used(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    let transaction =
        pool.build_transaction().isolation_level(IsolationLevel::Serializable).read_only(true).deferrable(true);
    let transaction = transaction.begin(&ctx).await.unwrap();
    let settings = "SELECT concat(current_setting('transaction_isolation'), ' ', current_setting('transaction_read_only'), ' ', \
                    current_setting('transaction_deferrable'))";
    let settings: String = transaction.query_one(&ctx, settings, &[]).await.unwrap().get(0);
    assert_eq!(settings, "serializable on on");
    transaction.commit(&ctx).await.unwrap();
    assert_clean(&pool).await;
}

pub(crate) async fn two_statements_at_once_are_refused(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background().with_timeout(Duration::from_secs(60)));
    let transaction = pool.transaction(&ctx).await.unwrap();
    let (first, second) =
        join(transaction.query(&ctx, "SELECT 1", &[]), transaction.query(&ctx, "SELECT 2", &[])).await;
    first.unwrap();
    let error = second.unwrap_err();
    assert_eq!(error.to_string(), "query: another statement or stream of the transaction is in progress");
    transaction.commit(&ctx).await.unwrap();
}
