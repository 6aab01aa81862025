//! Waits for locks that other connections hold.

use std::time::Duration;

use ripcord::{Clock, Context};
use ripcord_sql::sqlite::{Pool, rusqlite::Connection};
use tokio::sync::mpsc;

use crate::common::{File, PATIENCE, SECOND, add_started, count, started};

/// A pool of one connection to a file, whose statements tell that they run, and another connection to that file.
fn pool() -> (Pool, mpsc::UnboundedReceiver<()>, Connection) {
    let file = File::new();
    let other = file.open().expect("a new file");
    other.execute_batch("CREATE TABLE t (i INTEGER)").expect("nobody holds a lock");
    let (start, starts) = mpsc::unbounded_channel();
    let init = move |connection: &mut Connection| {
        // Only the pool's own handler waits.
        connection.busy_timeout(Duration::ZERO)?;
        add_started(connection, start.clone())
    };
    let pool =
        Pool::builder(move || file.open()).max_size(1).grace(PATIENCE).init(init).build().expect("a size above 0");
    (pool, starts, other)
}

#[tokio::test]
async fn wait_for_a_lock_ends_with_the_context() {
    let (pool, mut starts, other) = pool();
    assert_eq!(count(&pool).await, 0, "from now on the connection knows the schema");
    other.execute_batch("BEGIN EXCLUSIVE").expect("nobody holds a lock");
    // The wait takes real time, the context's own clock stands still.
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_timeout(SECOND);
    let insert = tokio::spawn(pool.run(&ctx, |_, connection| {
        connection.query_row("SELECT started()", (), |row| row.get::<_, i64>(0))?;
        Ok(connection.execute("INSERT INTO t VALUES (1)", ())?)
    }));
    started(&mut starts).await;
    time.advance(SECOND);
    let error = insert.await.expect("no panic").expect_err("the lock is held");
    assert!(error.is_deadline_exceeded() && !error.is_outcome_unknown(), "{error:#}");
    other.execute_batch("COMMIT").expect("it holds the lock");
    assert_eq!(count(&pool).await, 0);
}

#[tokio::test]
async fn operation_that_waits_for_a_lock_goes_on_when_the_lock_is_released() {
    let (pool, mut starts, other) = pool();
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").expect("nobody holds a lock");
    let waiting = tokio::spawn(pool.run(&Context::background(), |_, connection| {
        connection.query_row("SELECT started()", (), |row| row.get::<_, i64>(0))?;
        Ok(connection.execute("INSERT INTO t VALUES (2)", ())?)
    }));
    started(&mut starts).await;
    other.execute_batch("COMMIT").expect("it holds the lock");
    assert_eq!(waiting.await.expect("no panic").expect("nothing ends it"), 1);
    assert_eq!(count(&pool).await, 2);
}

#[tokio::test]
async fn lock_that_waiting_cannot_get_is_a_transient_error() {
    let (pool, _, other) = pool();
    let upgrade = pool.run(&Context::background(), move |_, connection| {
        // Both have read, and each would have to wait for the other.
        connection.execute_batch("PRAGMA journal_mode = WAL; BEGIN; SELECT * FROM t")?;
        other.execute("INSERT INTO t VALUES (1)", ())?;
        Ok(connection.execute("INSERT INTO t VALUES (2)", ())?)
    });
    let error = upgrade.await.expect_err("it would have to write to an old snapshot");
    assert!(error.is_transient() && error.context_error().is_none(), "{error:#}");
    assert_eq!(error.to_string(), "run: database is locked");
    assert_eq!(count(&pool).await, 1);
}

#[tokio::test]
async fn transactions_on_several_connections_wait_for_each_other() {
    let file = File::new();
    file.open().expect("a new file").execute_batch("CREATE TABLE t (i INTEGER)").expect("nobody holds a lock");
    let no_wait = |connection: &mut Connection| connection.busy_timeout(Duration::ZERO);
    let pool = Pool::builder(move || file.open()).max_size(4).init(no_wait).build().expect("a size above 0");
    let add = || {
        pool.transaction(&Context::background(), |_, transaction| {
            let count: i64 = transaction.query_row("SELECT count(*) FROM t", (), |row| row.get(0))?;
            transaction.execute("INSERT INTO t VALUES (?1)", (count,))?;
            Ok(())
        })
    };
    for result in futures::future::join_all((0..16).map(|_| add())).await {
        result.expect("nothing ends it");
    }
    let values = pool.query(&Context::background(), "SELECT i FROM t ORDER BY i", (), |row| row.get::<_, i64>(0)).await;
    assert_eq!(values.expect("nothing ends it"), (0..16).collect::<Vec<_>>());
}
