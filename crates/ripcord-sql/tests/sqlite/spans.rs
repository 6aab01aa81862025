//! What the inspector shows of an operation.

use ripcord::{Context, Span};

use crate::common::{ENDLESS, TestPool};

/// Returns the names of the spans below the root, with their lines.
fn below(root: &Span) -> Vec<(String, u32)> {
    let snapshots = root.snapshots();
    snapshots.iter().skip(1).map(|span| (span.name().to_owned(), span.location().line())).collect()
}

#[tokio::test]
async fn each_operation_is_a_span_with_the_line_of_its_caller() {
    let test = TestPool::with(|builder| builder.name("shop.db"));
    let (ctx, root) = Context::background().start_span("request");
    let line = line!();
    test.pool.query(&ctx, "SELECT i FROM t", (), |row| row.get::<_, i64>(0)).await.expect("nothing ends it");
    test.pool.execute(&ctx, "insert into t values (1)", ()).await.expect("nothing ends it");
    test.pool.transaction(&ctx, |_, _| Ok(())).await.expect("nothing ends it");
    let run = test.pool.run(&ctx, |ctx, _| {
        drop(ctx.start_span("inside"));
        Ok(())
    });
    run.await.expect("nothing ends it");
    let expected =
        [("SELECT shop.db", 1), ("INSERT shop.db", 2), ("transaction shop.db", 3), ("run shop.db", 4), ("inside", 5)];
    let expected: Vec<_> = expected.map(|(name, offset)| (name.to_owned(), line + offset)).to_vec();
    assert_eq!(below(&root.end()), expected);
}

#[tokio::test]
async fn running_query_is_in_the_tree_and_in_the_list_of_tasks() {
    let mut test = TestPool::new();
    let (ctx, tasks) = Context::background().with_name("GET /report").with_tasks();
    let (ctx, root) = ctx.start_span("request");
    let line = line!() + 1;
    let query = tokio::spawn(test.pool.query(&ctx, ENDLESS, (), |row| row.get::<_, i64>(0)));
    test.started().await;
    let spans = root.span().snapshots();
    assert_eq!((spans[1].name(), spans[1].is_ended()), ("WITH sqlite", false));
    let listed = tasks.list();
    assert_eq!((listed.len(), listed[0].name(), listed[0].location().line()), (1, Some("GET /report"), line));

    // A dropped call is a canceled one.
    query.abort();
    assert!(query.await.is_err());
    tasks.wait(&Context::background()).await.expect("nothing ends the wait");
    let spans = root.span().snapshots();
    assert!(spans[1].is_ended() && spans[1].err().is_some_and(ripcord::Error::is_canceled), "{spans:?}");
}
