//! Full-text search in SQLite, or in Postgres. A query in progress ends with its context.

mod postgres;
mod sqlite;

use std::time::Duration;

use ripcord::Context;
use ripcord_sql::Error;
use serde::{Deserialize, Serialize};

/// Maximum number of concurrent queries of one backend in SQLite. Further searches wait until a query or their own context ends.
const MAX_QUERIES: usize = 2;

/// Time limit for opening the documents of one backend.
const OPENING: Duration = Duration::from_secs(10);

/// Maximum number of hits of one search.
const MAX_HITS: u32 = 10;

/// A document that matches the words of a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The title of the document.
    pub title: String,
    /// The part of the document's text that contains the words. The words are in square brackets.
    pub snippet: String,
}

/// The documents of one backend.
#[derive(Clone, Debug)]
pub(super) enum Store {
    /// A database in memory.
    Sqlite(ripcord_sql::sqlite::Pool),
    /// A table that the backends share.
    Postgres { pool: ripcord_sql::postgres::Pool, backend: &'static str },
}

impl Store {
    /// Opens the documents of `backend` in SQLite, or in the database of `postgres`.
    pub(super) async fn open(
        ctx: &Context,
        postgres: Option<&ripcord_sql::postgres::Pool>,
        backend: &'static str,
    ) -> Result<Store, Error> {
        let ctx = &ctx.with_timeout_cause(OPENING, "the time to open the database");
        let Some(pool) = postgres else { return Ok(Store::Sqlite(sqlite::open(ctx, backend).await?)) };
        postgres::store(pool, ctx, backend).await?;
        Ok(Store::Postgres { pool: pool.clone(), backend })
    }

    /// Returns the documents that contain all of `words`, best first.
    pub(super) async fn search(&self, ctx: &Context, words: &str) -> Result<Vec<Hit>, Error> {
        match self {
            Store::Sqlite(pool) => sqlite::find(pool, ctx, words).await,
            Store::Postgres { pool, backend } => postgres::find(pool, ctx, backend, words).await,
        }
    }
}

/// Returns the titles and texts of the documents of `backend`.
fn documents(backend: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("../documents.tsv").lines().filter_map(move |line| {
        let mut fields = line.split('\t');
        let (owner, title, text) = (fields.next()?, fields.next()?, fields.next()?);
        (owner == backend).then_some((title, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_backend_finds_the_word_context() {
        let ctx = Context::background();
        for backend in ["fast", "slow", "flaky"] {
            let store = Store::open(&ctx, None, backend).await.expect("SQLite");
            let hits = store.search(&ctx, "context").await.expect("it answers");
            assert!(!hits.is_empty() && hits.len() <= MAX_HITS as usize, "{backend}: {hits:?}");
            assert!(hits.iter().any(|hit| hit.snippet.contains('[')), "{backend}: {hits:?}");
        }
    }

    #[tokio::test]
    async fn words_with_query_syntax_are_searched_for_literally() {
        let ctx = Context::background();
        let store = Store::open(&ctx, None, "slow").await.expect("SQLite");
        for words in
            ["\"", "a\"b", "NOT", "context OR", "title:context", "*", "(", "ctx -deadline", "'; DROP TABLE documents"]
        {
            store.search(&ctx, words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }

    #[tokio::test]
    async fn document_without_one_of_the_words_is_not_found() {
        let ctx = Context::background();
        let store = Store::open(&ctx, None, "slow").await.expect("SQLite");
        assert!(!store.search(&ctx, "deadline").await.expect("it answers").is_empty());
        assert!(store.search(&ctx, "deadline xyzzy").await.expect("it answers").is_empty());
    }
}
