//! What the inspector shows of statements.

use crate::common::{Fixture, background};

pub(crate) async fn statements_are_spans_of_the_callers_line(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    let (ctx, request) = background().start_span("request");
    pool.query(&ctx, "select 1", &[]).await.unwrap();
    let line = line!() - 1;
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.execute(&ctx, "CREATE TEMP TABLE traced (id int) ON COMMIT DROP", &[]).await.unwrap();
    let mut rows = transaction.query_stream(&ctx, "SELECT 1 FROM traced", &[]).await.unwrap();
    assert!(rows.next().await.is_none());
    transaction.commit(&ctx).await.unwrap();
    let tree = request.end();
    let names: Vec<_> = tree.snapshots().iter().map(|span| (span.depth(), span.name().to_owned())).collect();
    let expected = [
        (0, "request"),
        (1, "SELECT postgres"),
        (1, "transaction postgres"),
        (2, "CREATE postgres"),
        (2, "SELECT postgres"),
    ];
    assert_eq!(names, expected.map(|(depth, name)| (depth, name.to_owned())));
    let statement = &tree.snapshots()[1];
    assert_eq!((statement.location().file(), statement.location().line()), (file!(), line));
    assert!(tree.snapshots().iter().all(|span| span.is_ended()));
}
