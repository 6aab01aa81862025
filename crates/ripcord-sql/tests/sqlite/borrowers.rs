//! What the next call on a connection finds.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ripcord::{Context, Value};
use ripcord_sql::sqlite::rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use ripcord_sql::sqlite::{Pool, rusqlite::Connection};

use crate::common::{ENDLESS, File, PATIENCE, TestPool, hold, in_use};

/// Returns whether a statement of some thousand steps runs to its end.
async fn is_undisturbed(pool: &Pool) -> bool {
    let counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000) SELECT count(*) FROM n";
    let counted = pool.query(&Context::background(), counting, (), |row| row.get::<_, i64>(0)).await;
    counted.is_ok_and(|counted| counted == [10_000])
}

#[tokio::test]
async fn transaction_left_open_is_rolled_back() {
    let test = TestPool::new();
    let open = test.pool.run(&Context::background(), |_, connection| {
        Ok(connection.execute_batch("BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (2)")?)
    });
    open.await.expect("nothing ends it");
    let is_autocommit = test.pool.run(&Context::background(), |_, connection| Ok(connection.is_autocommit()));
    assert!(is_autocommit.await.expect("nothing ends it"));
    assert_eq!(test.count().await, 0);
    assert_eq!(test.pool.stats().idle, 1, "the same connection");
}

#[tokio::test]
async fn transaction_left_open_by_a_panic_is_rolled_back_and_the_panic_reaches_the_caller() {
    let test = TestPool::new();
    let panicking = tokio::spawn(test.pool.run(&Context::background(), |_, connection| -> Result<(), _> {
        connection.execute_batch("BEGIN; INSERT INTO t VALUES (1)")?;
        panic!("on purpose");
    }));
    let panic = panicking.await.expect_err("it panics").into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    assert_eq!(test.count().await, 0);
    assert!(is_undisturbed(&test.pool).await);
    assert_eq!((test.pool.stats().idle, in_use(&test.pool)), (1, 0));
}

#[tokio::test]
async fn panic_after_the_end_of_the_context_gives_the_connection_back() {
    let test = TestPool::new();
    let (ctx, cancel) = Context::background().with_cancel();
    let panicking = tokio::spawn(test.pool.transaction(&ctx, move |_, transaction| -> Result<(), _> {
        transaction.execute("INSERT INTO t VALUES (1)", ())?;
        cancel.cancel();
        panic!("on purpose");
    }));
    assert!(panicking.await.expect_err("it panics").is_panic());
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn next_call_is_not_stopped_by_the_end_of_the_one_before() {
    let mut test = TestPool::new();
    let (ctx, cancel) = Context::background().with_cancel();
    let query = tokio::spawn(test.pool.query(&ctx, ENDLESS, (), |row| row.get::<_, i64>(0)));
    test.started().await;
    cancel.cancel();
    query.await.expect("no panic").expect_err("it is stopped");
    assert!(is_undisturbed(&test.pool).await);
}

#[tokio::test]
async fn cancel_after_the_call_stops_nothing() {
    let test = TestPool::new();
    let (ctx, cancel) = Context::background().with_cancel();
    test.pool.execute(&ctx, "INSERT INTO t VALUES (1)", ()).await.expect("nothing ends it");
    cancel.cancel();
    assert!(is_undisturbed(&test.pool).await);
}

#[tokio::test]
async fn handlers_that_a_closure_sets_are_gone() {
    let test = TestPool::new();
    let set = test.pool.run(&Context::background(), |_, connection| {
        connection.progress_handler(1, Some(|| true))?;
        connection.busy_timeout(Duration::ZERO)?;
        Ok(())
    });
    set.await.expect("nothing ends it");
    assert!(is_undisturbed(&test.pool).await);
}

#[tokio::test]
async fn connection_in_the_pool_keeps_no_context_alive() {
    struct Held;
    impl Value for Held {}
    struct Handle(#[allow(dead_code, reason = "held")] Arc<Held>);
    impl Value for Handle {}

    let test = TestPool::new();
    let held = Arc::new(Held);
    let watch: Weak<Held> = Arc::downgrade(&held);
    let ctx = Context::background().with_value(Handle(held));
    test.pool.execute(&ctx, "INSERT INTO t VALUES (1)", ()).await.expect("nothing ends it");
    drop(ctx);
    assert!(watch.upgrade().is_none());
}

#[tokio::test]
async fn pool_opens_no_more_connections_than_its_limit_and_reuses_them() {
    let opened = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let open = move || {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Connection::open_in_memory()
    };
    let pool = Pool::builder(open).max_size(2).build().expect("a size above 0");
    let calls = (0..20).map(|i| pool.query(&Context::background(), "SELECT ?1", (i,), |row| row.get::<_, i64>(0)));
    for (i, result) in futures::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(result.expect("nothing ends it"), [i as i64]);
    }
    assert!((1..=2).contains(&opened.load(std::sync::atomic::Ordering::SeqCst)));
    assert_eq!((in_use(&pool), pool.stats().max_size), (0, 2));
}

#[tokio::test]
async fn connection_whose_transaction_cannot_be_rolled_back_is_closed() {
    let test = TestPool::new();
    let stuck = test.pool.run(&Context::background(), |_, connection| {
        connection.execute_batch("BEGIN; INSERT INTO t VALUES (1)")?;
        connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
            AuthAction::Transaction { .. } => Authorization::Deny,
            _ => Authorization::Allow,
        }))?;
        Ok(())
    });
    stuck.await.expect("nothing ends it");
    let stats = test.pool.stats();
    assert_eq!((stats.size, stats.idle, stats.discarded), (0, 0, 1));
    assert_eq!(test.count().await, 0, "the next operation opens a connection");
}

#[tokio::test]
async fn closed_pool_lets_operations_in_progress_end_and_refuses_others() {
    let test = TestPool::new();
    let (open, holder) = hold(&test.pool).await;
    let ctx = Context::background();
    let mut waiting = Box::pin(test.pool.execute(&ctx, "INSERT INTO t VALUES (1)", ()));
    assert!(futures::poll!(&mut waiting).is_pending());
    test.pool.close();
    for refused in [waiting.await, test.pool.execute(&ctx, "INSERT INTO t VALUES (1)", ()).await] {
        let error = refused.expect_err("the pool is closed");
        assert_eq!(error.to_string(), "execute: the pool is closed");
        assert!(error.is_not_sent() && error.context_error().is_none());
    }
    open.send(()).expect("the closure waits");
    holder.await.expect("no panic").expect("nothing ends it");
    assert_eq!(test.pool.stats().size, 0, "its connection is closed");
    test.pool.close();
}

#[tokio::test]
async fn close_closes_connections_that_are_not_in_use() {
    let file = File::new();
    let opener = file.clone();
    let pool = Pool::builder(move || opener.open()).build().expect("a size above 0");
    pool.run(&Context::background(), |_, connection| {
        Ok(connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (i INTEGER)")?)
    })
    .await
    .expect("nothing ends it");
    assert!(file.has_write_ahead_log());
    pool.close();
    // The last connection removes the log when it is closed, which happens in the background.
    let until = std::time::Instant::now() + PATIENCE;
    while file.has_write_ahead_log() {
        assert!(std::time::Instant::now() < until, "the connection is not closed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_row_and_at_most_one_row_are_told_from_others() {
    let test = TestPool::new();
    let (pool, ctx) = (&test.pool, Context::background());
    let one = |sql: &'static str| pool.query_one(&ctx, sql, (), |row| row.get::<_, i64>(0));
    let opt = |sql: &'static str| pool.query_opt(&ctx, sql, (), |row| row.get::<_, i64>(0));
    let (none, single, several) = ("SELECT i FROM t", "SELECT 7", "SELECT 7 UNION SELECT 8");
    assert_eq!(one(single).await.expect("one row"), 7);
    assert_eq!(one(none).await.expect_err("no row").to_string(), "query_one: Query returned no rows");
    assert_eq!(one(several).await.expect_err("two rows").to_string(), "query_one: Query returned more than one row");
    assert_eq!(opt(single).await.expect("one row"), Some(7));
    assert_eq!(opt(none).await.expect("no row"), None);
    assert_eq!(opt(several).await.expect_err("two rows").to_string(), "query_opt: Query returned more than one row");
}
