//! The documents in SQLite: a copy in memory for each connection.

use ripcord::Context;
use ripcord_sql::{
    Error,
    sqlite::{
        Pool,
        rusqlite::{self, Connection},
    },
};

use super::{Hit, MAX_HITS, MAX_QUERIES, documents};

const CREATE: &str = "CREATE VIRTUAL TABLE documents USING fts5(title, body, tokenize = 'porter')";

const INSERT: &str = "INSERT INTO documents (title, body) VALUES (?1, ?2)";

const FIND: &str = "SELECT title, snippet(documents, 1, '[', ']', '…', 16) FROM documents WHERE documents MATCH ?1 \
                    ORDER BY rank LIMIT ?2";

/// Opens a pool and its first connection, so that errors are detected now.
pub(super) async fn open(ctx: &Context, backend: &'static str) -> Result<Pool, Error> {
    let load = move |connection: &mut Connection| -> rusqlite::Result<()> {
        connection.execute_batch(CREATE)?;
        let mut insert = connection.prepare(INSERT)?;
        documents(backend).try_for_each(|document| insert.execute(document).map(drop))
    };
    let pool = Pool::builder(Connection::open_in_memory).name("documents").max_size(MAX_QUERIES).init(load);
    let pool = pool.build()?;
    pool.run(ctx, |_, _| Ok(())).await?;
    Ok(pool)
}

pub(super) async fn find(pool: &Pool, ctx: &Context, words: &str) -> Result<Vec<Hit>, Error> {
    let hit = |row: &rusqlite::Row<'_>| Ok(Hit { title: row.get(0)?, snippet: row.get(1)? });
    pool.query(ctx, FIND, (match_all(words), MAX_HITS), hit).await
}

/// Returns an FTS5 query that matches all words. Each word is quoted, so that no word is parsed as syntax.
fn match_all(words: &str) -> String {
    let quoted = words.split_whitespace().map(|word| format!("\"{}\"", word.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(" ")
}
