//! Statements without the end of a context.

use ripcord_sql::postgres::tokio_postgres::error::SqlState;

use crate::common::{Fixture, assert_clean, backend, background};

pub(crate) async fn query_returns_rows_and_execute_counts(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    pool.batch_execute(&ctx, "CREATE TABLE counted (id int); INSERT INTO counted VALUES (1), (2)").await.unwrap();
    assert_eq!(pool.execute(&ctx, "INSERT INTO counted SELECT generate_series(3, $1)", &[&5]).await.unwrap(), 3);
    let rows = pool.query(&ctx, "SELECT id FROM counted WHERE id > $1 ORDER BY id", &[&2]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [3, 4, 5]);
    assert_clean(&pool).await;
}

pub(crate) async fn query_one_and_query_opt_count_rows(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    let sql = "SELECT generate_series(1, $1)";
    assert_eq!(pool.query_one(&ctx, sql, &[&1]).await.unwrap().get::<_, i32>(0), 1);
    assert!(pool.query_opt(&ctx, sql, &[&0]).await.unwrap().is_none());
    let error = pool.query_one(&ctx, sql, &[&0]).await.unwrap_err();
    assert_eq!(error.to_string(), "query_one: the statement has returned no row");
    let error = pool.query_opt(&ctx, sql, &[&2]).await.unwrap_err();
    assert_eq!(error.to_string(), "query_opt: the statement has returned more than one row");
    assert_clean(&pool).await;
}

pub(crate) async fn refused_statement_keeps_the_sqlstate_and_the_line(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    let error = pool.query(&background(), "SELECT 1 FROM missing", &[]).await.unwrap_err();
    let line = line!() - 1;
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::UNDEFINED_TABLE));
    assert_eq!(error.to_string(), "query: ERROR: relation \"missing\" does not exist");
    assert!(format!("{error:#}").contains(&format!("query (called at {}:{line}:", file!())));
    assert!(!error.is_transient() && !error.is_outcome_unknown() && !error.is_not_sent());
    assert!(error.context_error().is_none());
    assert_clean(&pool).await;
}

pub(crate) async fn wrong_parameters_leave_the_connection_usable(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    let before = backend(&pool).await;
    pool.query(&background(), "SELECT $1::int", &[]).await.unwrap_err();
    let error = pool.query(&background(), "SELECT $1::int", &[&"text"]).await.unwrap_err();
    assert!(!error.is_outcome_unknown() && error.postgres().is_some());
    assert_clean(&pool).await;
    assert_eq!(backend(&pool).await, before);
}

pub(crate) async fn transaction_begun_by_a_statement_is_refused(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    for sql in ["BEGIN", "/* x */ start transaction"] {
        let error = pool.execute(&background(), sql, &[]).await.unwrap_err();
        assert!(error.to_string().ends_with("which was rolled back: use `transaction`"), "{error}");
        assert_clean(&pool).await;
    }
}

pub(crate) async fn transaction_left_open_by_a_batch_is_rolled_back(fixture: &Fixture<'_>) {
    let (pool, admin) = (fixture.pool(), fixture.admin().await);
    admin.execute("CREATE TABLE left_open (id int)").await;
    pool.batch_execute(&background(), "BEGIN; INSERT INTO left_open VALUES (1)").await.unwrap_err();
    assert_clean(&pool).await;
    assert_eq!(admin.count("left_open").await, 0);
}

pub(crate) async fn batch_that_fails_in_its_transaction_leaves_a_clean_connection(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    let before = backend(&pool).await;
    let error = pool.batch_execute(&background(), "BEGIN; SELECT 1 / 0").await.unwrap_err();
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::DIVISION_BY_ZERO));
    assert_clean(&pool).await;
    assert_eq!((backend(&pool).await, pool.stats().discarded), (before, 0));
}

pub(crate) async fn statement_whose_table_has_changed_is_prepared_again(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    admin.execute("CREATE TABLE changed (id int)").await;
    let sql = "SELECT * FROM changed";
    pool.query(&ctx, sql, &[]).await.unwrap();
    admin.execute("ALTER TABLE changed ADD COLUMN name text").await;
    let error = pool.query(&ctx, sql, &[]).await.unwrap_err();
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    pool.query(&ctx, sql, &[]).await.unwrap();
    // A session that was reset has none of its statements.
    pool.batch_execute(&ctx, "DEALLOCATE ALL").await.unwrap();
    pool.query(&ctx, sql, &[]).await.unwrap_err();
    pool.query(&ctx, sql, &[]).await.unwrap();
}

pub(crate) async fn many_texts_do_not_fill_the_server(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    for number in 0..600 {
        pool.query(&ctx, &format!("SELECT {number}"), &[]).await.unwrap();
    }
    let kept: i64 = pool.query_one(&ctx, "SELECT count(*) FROM pg_prepared_statements", &[]).await.unwrap().get(0);
    assert!(kept <= 256, "{kept}");
}
