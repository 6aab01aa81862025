//! The documents in Postgres. The service creates one table for all backends.

use ripcord::Context;
use ripcord_sql::{Error, postgres::Pool};

use super::{Hit, MAX_HITS, documents};

/// Makes services that start at the same time take turns. Otherwise `IF NOT EXISTS` fails if two services create the table.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('ripcord_documents'))";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS ripcord_documents \
                      (backend text, title text, body text, PRIMARY KEY (backend, title))";

const INSERT: &str = "INSERT INTO ripcord_documents VALUES ($1, $2, $3) \
                      ON CONFLICT (backend, title) DO UPDATE SET body = excluded.body";

const FIND: &str = "SELECT title, ts_headline('english', body, query, 'StartSel=[, StopSel=], MaxWords=16, MinWords=8') \
                    FROM ripcord_documents, \
                    to_tsvector('english', title || ' ' || body) AS words, plainto_tsquery('english', $2) AS query \
                    WHERE backend = $1 AND words @@ query ORDER BY ts_rank(words, query) DESC, title LIMIT $3";

/// Stores the documents of `backend`. Replaces the text of documents that already exist.
pub(super) async fn store(pool: &Pool, ctx: &Context, backend: &str) -> Result<(), Error> {
    let transaction = pool.transaction(ctx).await?;
    transaction.query(ctx, LOCK, &[]).await?;
    transaction.execute(ctx, CREATE, &[]).await?;
    for (title, body) in documents(backend) {
        transaction.execute(ctx, INSERT, &[&backend, &title, &body]).await?;
    }
    transaction.commit(ctx).await
}

pub(super) async fn find(pool: &Pool, ctx: &Context, backend: &str, words: &str) -> Result<Vec<Hit>, Error> {
    // Text in Postgres cannot contain NUL.
    let words = words.replace('\0', " ");
    let rows = pool.query(ctx, FIND, &[&backend, &words, &i64::from(MAX_HITS)]).await?;
    Ok(rows.iter().map(|row| Hit { title: row.get(0), snippet: row.get(1) }).collect())
}
