//! What an operation that writes has done when its context ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ripcord::{Canceler, Context};
use ripcord_sql::sqlite::rusqlite::functions::FunctionFlags;

use crate::common::{SECOND, TestPool};

#[tokio::test]
async fn transaction_commits_and_returns_its_value() {
    let test = TestPool::new();
    let transaction = test.pool.transaction(&Context::background(), |_, transaction| {
        let savepoint = transaction.savepoint()?;
        savepoint.execute("INSERT INTO t VALUES (1), (2)", ())?;
        savepoint.commit()?;
        Ok(transaction.query_row("SELECT sum(i) FROM t", (), |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(transaction.await.expect("nothing ends it"), 3);
    assert_eq!(test.count().await, 2);
}

#[tokio::test]
async fn transaction_whose_closure_fails_is_rolled_back_and_the_error_is_the_source() {
    let test = TestPool::new();
    let transaction = test.pool.transaction(&Context::background(), |_, transaction| -> Result<(), _> {
        transaction.execute("INSERT INTO t VALUES (1)", ())?;
        Err(Box::new(std::fmt::Error))
    });
    let error = transaction.await.expect_err("the closure fails");
    assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<std::fmt::Error>()), "{error:?}");
    assert!(error.context_error().is_none() && error.sqlite().is_none());
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn transaction_whose_context_ends_before_the_commit_is_rolled_back() {
    let test = TestPool::new();
    let (ctx, cancel) = Context::background().with_cancel();
    let transaction = test.pool.transaction(&ctx, move |_, transaction| {
        transaction.execute("INSERT INTO t VALUES (1)", ())?;
        cancel.cancel_with("changed my mind");
        Ok(())
    });
    let error = transaction.await.expect_err("its context ended first");
    assert!(error.is_canceled() && !error.is_outcome_unknown(), "{error:#}");
    assert_eq!(test.count().await, 0);
}

// SQLite asks the progress handler once more when a statement has committed, and then reports it as interrupted.
#[tokio::test]
async fn write_that_ends_with_its_context_has_had_no_effect_wherever_the_context_ends() {
    let (canceler, last) = (Arc::new(std::sync::Mutex::new(None::<Canceler>)), Arc::new(AtomicI64::new(0)));
    let test = TestPool::with(|builder| {
        let (canceler, last) = (Arc::clone(&canceler), Arc::clone(&last));
        builder.init(move |connection| {
            let (canceler, last) = (Arc::clone(&canceler), Arc::clone(&last));
            connection.create_scalar_function("row", 1, FunctionFlags::SQLITE_UTF8, move |arguments| {
                let i: i64 = arguments.get(0)?;
                if i == last.load(Ordering::SeqCst) {
                    drop(canceler.lock().expect("no panic").take());
                }
                Ok(i)
            })?;
            connection.execute_batch("CREATE TABLE t (i INTEGER)")
        })
    });
    let (mut written, mut stopped) = (0, 0);
    // Each row more moves the questions of the progress handler by a few of the 4096 steps between two of them.
    for rows in 300..900 {
        let (ctx, cancel) = Context::background().with_cancel();
        *canceler.lock().expect("no panic") = Some(cancel);
        last.store(rows, Ordering::SeqCst);
        let insert = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows}) INSERT INTO t SELECT row(i) FROM n"
        );
        let result = test.pool.execute(&ctx, &insert, ()).await;
        let count = test.count().await;
        match result {
            Ok(changed) => {
                assert_eq!((changed as i64, count), (rows, rows));
                written += 1;
            }
            Err(error) => {
                assert!(error.is_canceled() && !error.is_outcome_unknown(), "{error:#}");
                assert_eq!(count, 0, "{rows} rows");
                stopped += 1;
            }
        }
        test.pool.execute(&Context::background(), "DELETE FROM t", ()).await.expect("nothing ends it");
    }
    assert!(written > 0 && stopped > 0, "{written} written, {stopped} stopped");
}

#[tokio::test]
async fn statement_that_is_stopped_in_a_transaction_leaves_nothing_of_it() {
    let mut test = TestPool::new();
    let (ctx, cancel) = Context::background().with_cancel();
    let transaction = tokio::spawn(test.pool.transaction(&ctx, |_, transaction| {
        transaction.execute("INSERT INTO t VALUES (1)", ())?;
        let endless =
            "WITH RECURSIVE n(i) AS (SELECT started() UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT i FROM n";
        let stopped = transaction.execute(endless, ()).expect_err("it is stopped");
        // A stopped write ends the transaction, as SQLite documents: this statement is alone.
        assert!(transaction.is_autocommit(), "{stopped}");
        Err::<(), _>(stopped.into())
    }));
    test.started().await;
    cancel.cancel();
    assert!(transaction.await.expect("no panic").expect_err("it is stopped").is_canceled());
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn deadline_in_the_future_ends_nothing() {
    let test = TestPool::new();
    let ctx = Context::background().with_timeout(60 * SECOND);
    assert_eq!(test.pool.execute(&ctx, "INSERT INTO t VALUES (1), (2), (3)", ()).await.expect("there is time"), 3);
    assert_eq!(test.count().await, 3);
}
