//! Input that SQLite, rusqlite or the pool refuses.

use std::error::Error as _;

use ripcord::Context;
use ripcord_sql::sqlite::{Pool, rusqlite};

use crate::common::{File, TestPool, in_use};

#[tokio::test]
async fn statement_that_sqlite_refuses_is_an_error_with_the_driver_inside() {
    let test = TestPool::new();
    let ctx = Context::background();
    for (sql, expected) in [
        ("SELEC 1", "near \"SELEC\": syntax error"),
        ("SELECT * FROM nowhere", "no such table: nowhere"),
        ("", "bad parameter or other API misuse"),
        ("SELECT 1; SELECT 2", "Multiple statements provided"),
        ("SELECT ?1", "Wrong number of parameters passed to query. Got 0, needed 1"),
        ("SELECT '\0'", "unrecognized token"),
        ("SELECT 'a'", "Invalid column type Text at index: 0"),
    ] {
        let error = test.pool.query(&ctx, sql, (), |row| row.get::<_, i64>(0)).await.expect_err(sql);
        assert!(error.to_string().contains(expected), "{sql:?}: {error}");
        assert!(error.sqlite().is_some() && error.context_error().is_none() && !error.is_transient(), "{sql:?}");
        assert!(error.source().is_some_and(|source| source.is::<rusqlite::Error>()), "{sql:?}");
    }
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn statement_with_rows_is_refused_by_execute() {
    let test = TestPool::new();
    let error = test.pool.execute(&Context::background(), "SELECT 1", ()).await.expect_err("it has rows");
    assert!(error.to_string().contains("Execute returned results"), "{error}");
}

#[tokio::test]
async fn constraint_that_fails_is_an_error_even_if_the_context_has_ended() {
    let test = TestPool::with(|builder| {
        builder.init(|connection| connection.execute_batch("CREATE TABLE t (i INTEGER UNIQUE)"))
    });
    let (ctx, cancel) = Context::background().with_cancel();
    let insert = test.pool.run(&ctx, move |_, connection| {
        cancel.cancel();
        Ok(connection.execute("INSERT INTO t VALUES (1), (1)", ())?)
    });
    let error = insert.await.expect_err("the values are not unique");
    assert!(error.context_error().is_none() && error.to_string().contains("UNIQUE constraint failed"), "{error:#}");
}

#[tokio::test]
async fn file_that_cannot_be_opened_is_an_error_that_says_so() {
    let pool = Pool::builder(|| rusqlite::Connection::open("/nowhere/at/all.db")).build().expect("a size above 0");
    let error =
        pool.query(&Context::background(), "SELECT 1", (), |row| row.get::<_, i64>(0)).await.expect_err("no file");
    assert!(error.to_string().starts_with("query: cannot connect: unable to open database file"), "{error}");
    assert!(error.is_not_sent() && pool.stats().size == 0);
}

#[tokio::test]
async fn init_that_fails_is_an_error_and_its_connection_is_closed() {
    let file = File::new();
    let pool = Pool::builder(move || file.open())
        .init(|connection| connection.execute_batch("CREATE TABLE t (i); BEGI"))
        .build()
        .expect("a size above 0");
    for _ in 0..2 {
        let error = pool.execute(&Context::background(), "INSERT INTO t VALUES (1)", ()).await.expect_err("init fails");
        assert!(error.to_string().starts_with("execute: cannot connect: "), "{error}");
        assert_eq!((pool.stats().idle, pool.stats().size), (0, 0));
    }
}

#[tokio::test]
async fn transaction_that_init_leaves_open_is_rolled_back() {
    let init = |connection: &mut rusqlite::Connection| {
        connection.execute_batch("CREATE TABLE t (i); BEGIN; INSERT INTO t VALUES (1)")
    };
    let pool =
        Pool::builder(rusqlite::Connection::open_in_memory).init(init).max_size(1).build().expect("a size above 0");
    assert_eq!(crate::common::count(&pool).await, 0);
}

#[test]
fn operation_outside_of_a_runtime_is_an_error() {
    let test = TestPool::new();
    let result = futures::executor::block_on(test.pool.execute(&Context::background(), "INSERT INTO t VALUES (1)", ()));
    let error = result.expect_err("there is no runtime");
    assert_eq!(error.to_string(), "execute: called outside of a tokio runtime");
    assert_eq!(in_use(&test.pool), 0);
}

#[test]
fn operation_of_a_runtime_that_shuts_down_gives_the_connection_back() {
    let test = TestPool::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut insert = Box::pin(test.pool.execute(&Context::background(), "INSERT INTO t VALUES (1)", ()));
        assert!(futures::poll!(&mut insert).is_pending());
    });
    drop(runtime);
    assert_eq!(in_use(&test.pool), 0);
    let other = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert!(other.block_on(test.count()) <= 1, "the pool serves another runtime");
}

#[tokio::test]
async fn pool_without_connections_is_refused_and_a_huge_one_works() {
    let builder = || Pool::builder(rusqlite::Connection::open_in_memory);
    let error = builder().max_size(0).build().expect_err("0 connections");
    assert_eq!(error.to_string(), "build: the maximum size is 0");
    let pool = builder().max_size(usize::MAX).build().expect("a size above 0");
    let one = pool.query_one(&Context::background(), "SELECT 1", (), |row| row.get::<_, i64>(0)).await;
    assert_eq!(one.expect("nothing ends it"), 1);
}

#[test]
fn pool_and_its_operations_can_be_shared_and_sent() {
    fn is_shared<T: Send + Sync + 'static>(_: &T) {}
    fn is_sent<T: Send + 'static>(_: &T) {}
    let test = TestPool::new();
    is_shared(&test.pool);
    is_sent(&test.pool.execute(&Context::background(), "SELECT 1", ()));
}
