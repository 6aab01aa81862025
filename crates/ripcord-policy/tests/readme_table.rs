//! The README's table for those who come from Go: what is on the left is found in the documentation, and what is on the
//! right is what this test runs, word for word.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::{Cache, CircuitBreaker, Rate, RateLimiter, Retry, WorkerPool};

/// The cells of each row.
fn rows() -> Vec<[&'static str; 2]> {
    let readme = include_str!("../README.md");
    let rows = readme.lines().skip_while(|line| *line != "| Go | here |").skip(2);
    let rows: Vec<_> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split_once(" | ").expect("a row has two cells"))
        .map(|(go, here)| [go, here])
        .collect();
    assert!(rows.len() > 15, "the table is not where it was");
    rows
}

/// What stands between backticks.
fn code(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(|code| code.replace("\\|", "|"))
}

fn without_spaces(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn what_is_on_the_left_is_found_in_the_documentation() {
    let mut source = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { source += &fs::read_to_string(path).unwrap() }
        }
    }
    for call in rows().iter().flat_map(|[go, _]| code(go)) {
        let end = call.find(['(', '{']).expect("a call or a struct");
        let name = call[..end].rsplit('.').next().unwrap();
        // The search does not mind case.
        let method = format!("fn {}", name.to_lowercase());
        let methods = [format!("pub {method}("), format!("pub {method}<"), format!("pub async {method}(")];
        let alias = format!("doc(alias(\"{name}\"))");
        assert!(source.contains(&alias) || methods.iter().any(|method| source.contains(method)), "{name}");
    }
}

#[test]
fn what_is_on_the_right_is_what_runs_here() {
    let here = without_spaces(include_str!("readme_table.rs"));
    for [_, cell] in rows() {
        for snippet in code(cell) {
            let mut rest = here.as_str();
            for piece in snippet.split("..").map(without_spaces) {
                let at = rest.find(&piece).unwrap_or_else(|| panic!("{snippet} is not run by {}", file!()));
                rest = &rest[at + piece.len()..];
            }
        }
    }
}

#[tokio::test]
async fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
    let ctx = Context::background().with_timeout(Duration::from_secs(60));
    let (n, retries, threshold, burst) = (10, 2, 5, 3);
    let [interval, ttl, reset, d] = [60, 60, 30, 1].map(Duration::from_secs);
    let (rate, x, name) = (100.0, 1.5, "users");

    let cache = Cache::builder().capacity(n).sweep_every(interval).build(&ctx)?;
    let (key, value) = ("key", 7);
    cache.insert_with_ttl(&ctx, key, value, ttl)?;
    assert_eq!(cache.get(&ctx, &key)?, Some(7));
    cache.remove(&ctx, &key)?;
    cache.clear(&ctx)?;
    assert!(cache.is_empty());
    cache.close();

    let n = 2;
    let pool = WorkerPool::builder().workers(n).build(&ctx)?;
    let mut results = pool.results();
    let task = pool.submit(&ctx, |ctx| async move { ctx.check().map(|()| 7) }).await?;
    assert_eq!(task.await?, 7);
    assert!(results.next(&ctx).await?.is_some());
    pool.shutdown(&ctx).await?;

    let limiter = RateLimiter::new(Rate::per_second(rate), burst)?;
    assert!(limiter.allow());
    limiter.wait(&ctx).await?;
    let reservation = limiter.reserve();
    assert_eq!(reservation.tokens(), 1);
    limiter.set_rate(Rate::per_second(rate))?;
    limiter.set_burst(burst)?;

    let retry = Retry::exponential().max_attempts(retries + 1).base(d).max_delay(d).multiplier(x);
    let first = retry.run(&ctx, |ctx, attempt| async move { ctx.check().map(|()| attempt) }).await?;
    assert_eq!(first, 0);

    let breaker = CircuitBreaker::new(name, threshold, reset)?;
    breaker.call(&ctx, |ctx| async { ctx.check() }).await?;
    assert_eq!(breaker.state().to_string(), "CLOSED");
    Ok(())
}
