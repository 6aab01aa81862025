//! The output of `ripcord queue`: text for people, or JSON for programs.

use std::{
    io::{self, Write},
    time::Duration,
};

use ripcord_redis::{DeadLetter, JobId, JobState, JobSummary, QueueStats};
use serde_json::{Value, json};

/// Maximum length of a job in a line of text, in characters.
const MAX_JOB: usize = 80;

pub(super) fn jobs(jobs: &[JobSummary], as_json: bool) -> io::Result<()> {
    if as_json {
        let list = jobs.iter().map(|job| {
            json!({
                "id": job.id.to_string(),
                "state": state(job.state),
                "job": parsed(&job.json),
                "failed_attempts": job.failed_attempts,
                "age_seconds": job.age.as_secs_f64(),
                "remaining_seconds": job.remaining.map(|left| left.as_secs_f64()),
                "worker": job.worker,
                "error": job.error,
                "canceled": job.is_canceled,
            })
        });
        return line(&Value::Array(list.collect()).to_string());
    }
    for job in jobs {
        let mut text = format!("{} {:<7} age {}", job.id, state(job.state), time(job.age));
        if let Some(left) = job.remaining {
            text += &format!(", {} left", time(left));
        }
        if job.failed_attempts > 0 {
            text += &format!(", {} failed", job.failed_attempts);
        }
        if let Some(worker) = &job.worker {
            text += &format!(", on {}", one_line(worker));
        }
        if job.is_canceled {
            text += ", canceled";
        }
        text += &format!(": {}", short(&job.json));
        if let Some(error) = &job.error {
            text += &format!(" ({})", one_line(error));
        }
        line(&text)?;
    }
    Ok(())
}

pub(super) fn dead_letters(letters: &[DeadLetter], as_json: bool) -> io::Result<()> {
    if as_json {
        let list = letters.iter().map(|letter| {
            json!({
                "id": letter.id.to_string(),
                "reason": letter.reason.to_string(),
                "error": letter.error,
                "job": parsed(&letter.json),
                "attempts": letter.attempts,
                "age_seconds": letter.age.as_secs_f64(),
            })
        });
        return line(&Value::Array(list.collect()).to_string());
    }
    for letter in letters {
        let DeadLetter { id, reason, attempts, age, .. } = letter;
        let (job, error) = (short(&letter.json), one_line(&letter.error));
        line(&format!("{id} {reason:<10} age {}, {attempts} attempts: {job} ({error})", time(*age)))?;
    }
    Ok(())
}

pub(super) fn stats(stats: &QueueStats, as_json: bool) -> io::Result<()> {
    let figures = [
        ("waiting", stats.waiting),
        ("running", stats.running),
        ("delayed", stats.delayed),
        ("dead", stats.dead),
        ("submitted", stats.submitted),
        ("done", stats.done),
        ("retried", stats.retried),
        ("buried", stats.buried),
        ("resent", stats.resent),
        ("canceled", stats.canceled),
        ("taken_over", stats.taken_over),
        ("lost_leases", stats.lost_leases),
    ];
    if as_json {
        let object = figures.iter().map(|(name, figure)| ((*name).to_owned(), json!(figure)));
        return line(&Value::Object(object.collect()).to_string());
    }
    figures.iter().try_for_each(|(name, figure)| line(&format!("{name:<12} {figure}")))
}

pub(super) fn count(what: &str, count: u64, as_json: bool) -> io::Result<()> {
    match as_json {
        true => line(&json!({ what: count }).to_string()),
        false => line(&format!("{what} {count}")),
    }
}

pub(super) fn canceled(id: JobId, outcome: &str, as_json: bool) -> io::Result<()> {
    match (as_json, outcome) {
        (true, _) => line(&json!({ "id": id.to_string(), "outcome": outcome }).to_string()),
        (false, "removed") => line(&format!("{id} is removed: it was not running")),
        (false, _) => line(&format!("{id} runs, and its context is canceled")),
    }
}

fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

fn state(state: JobState) -> &'static str {
    match state {
        JobState::Running => "running",
        JobState::Delayed => "delayed",
        _ => "waiting",
    }
}

/// Returns the job as JSON, or as a text if it is not JSON.
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.to_owned()))
}

/// Returns the start of a job.
fn short(json: &str) -> String {
    let text = one_line(json);
    match text.char_indices().nth(MAX_JOB) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Escapes control characters.
fn one_line(text: &str) -> String {
    let escape = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Returns whole seconds, or milliseconds below one second.
fn time(duration: Duration) -> String {
    let unit = if duration.as_secs() > 0 { Duration::from_secs(1) } else { Duration::from_millis(1) };
    let rest = u32::try_from(duration.as_nanos() % unit.as_nanos()).unwrap_or_default();
    humantime::format_duration(duration - Duration::from_nanos(rest.into())).to_string()
}
