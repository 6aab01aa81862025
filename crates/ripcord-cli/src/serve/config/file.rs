//! The file of settings, and its errors.

use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::Flags;

/// Reads and checks a file.
pub(super) fn read(path: &Path) -> Result<Flags, FileError> {
    let fail = |kind| FileError { path: path.to_owned(), kind };
    let text = fs::read_to_string(path).map_err(|error| fail(Kind::Read(error)))?;
    toml::from_str(&text)
        .map_err(|error| fail(Kind::Content { position: Position::from_error(&error, &text), message: line(&error) }))
}

/// The error of a settings file that cannot be read or is invalid. The message is one line.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Read(io::Error),
    Content { position: Option<Position>, message: String },
}

/// A position in the file. Line and column count from 1.
#[derive(Debug, PartialEq, Eq)]
struct Position {
    line: usize,
    column: usize,
    /// The key on that line.
    key: Option<String>,
}

impl Position {
    fn from_error(error: &toml::de::Error, text: &str) -> Option<Position> {
        let before = text.get(..error.span()?.start)?;
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let whole = text[begin..].lines().next().unwrap_or_default();
        let key = whole.split_once('=').map(|(key, _)| key.trim().to_owned());
        Some(Position { line: before.matches('\n').count() + 1, column: before[begin..].chars().count() + 1, key })
    }
}

/// Returns the message without the excerpt, on one line.
fn line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(" ")
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            Kind::Read(error) => write!(f, "cannot read {path}: {error}"),
            Kind::Content { position: None, message } => write!(f, "{path}: {message}"),
            Kind::Content { position: Some(Position { line, column, key }), message } => {
                write!(f, "{path}:{line}:{column}: ")?;
                match key {
                    // The message may already contain the key.
                    Some(key) if !message.contains(&format!("`{key}`")) => write!(f, "{key}: {message}"),
                    _ => f.write_str(message),
                }
            }
        }
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The message already contains the source.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let error = toml::from_str::<Flags>(text).expect_err("the file is invalid");
        let kind = Kind::Content { position: Position::from_error(&error, text), message: line(&error) };
        FileError { path: "ripcord.toml".into(), kind }.to_string()
    }

    #[test]
    fn invalid_setting_is_a_one_line_error_with_its_position() {
        let cases = [
            ("listen = 1", "ripcord.toml:1:10: listen: invalid type: integer `1`, expected an address as text"),
            (
                "\ngrace = \"soon\"",
                "ripcord.toml:2:9: grace: expected a duration from 0ns to 24h, such as 500ms or 5s, got \"soon\"",
            ),
            ("timeout = \"0s\"", "ripcord.toml:1:11: timeout: expected a duration from 1ms to 24h"),
            ("timeout = \"25h\"", "ripcord.toml:1:11: timeout: expected a duration from 1ms to 24h"),
            ("timeuot = \"5s\"", "ripcord.toml:1:1: unknown field `timeuot`, expected one of `listen`"),
            (
                "limiter_rate = nan",
                "ripcord.toml:1:16: limiter_rate: expected a number above 0 and at most 1000000, got NaN",
            ),
            ("limiter_rate = 0", "ripcord.toml:1:16: limiter_rate: expected a number above 0"),
            ("retry_attempts = -1", "ripcord.toml:1:18: retry_attempts: expected a whole number from 1 to 10, got -1"),
            ("cache_capacity = 1.5", "ripcord.toml:1:18: cache_capacity: invalid type: floating point `1.5`"),
            ("backends = [\"ftp://there\"]", "ripcord.toml:1:13: backends: expected an http:// URL"),
            ("trusted_peers = [\"10.0.0.0/33\"]", "ripcord.toml:1:18: trusted_peers: expected an address or a network"),
            (
                "half_close = \"maybe\"",
                "ripcord.toml:1:14: half_close: unknown variant `maybe`, expected `cancel` or `allow`",
            ),
            ("grace = \"1s\"\ngrace = \"2s\"", "ripcord.toml:2:1: grace: duplicate key"),
            ("grace", "ripcord.toml:1:6: "),
        ];
        for (text, expected) in cases {
            let message = message(text);
            assert!(message.starts_with(expected) && !message.contains('\n'), "{text:?}: {message}");
        }
    }

    #[test]
    fn file_with_every_setting_is_accepted() {
        let flags: Flags = toml::from_str(
            r#"
            listen = "[::1]:0"
            grace = "0s"
            timeout = "1m 30s"
            max_timeout = "2m"
            drain_delay = "5s"
            keep_alive = "90s"
            head_timeout = "10s"
            max_connections = 100
            max_head = 16384
            no_inspector = true
            trusted_peers = ["127.0.0.1", "10.0.0.0/8"]
            half_close = "allow"
            backends = ["http://127.0.0.1:9000/search"]
            database_url = "postgres://ripcord@localhost/ripcord"
            attempt_timeout = "1s"
            retry_attempts = 4
            hedge_after = "20ms"
            breaker_failures = 3
            breaker_open_for = "1s"
            limiter_rate = 2.5
            limiter_burst = 1
            cache_ttl = "1ms"
            cache_capacity = 1000000
            log_format = "json"
            "#,
        )
        .expect("every value is within its bounds");
        assert_eq!(flags.trusted_peers.map(|peers| peers.len()), Some(2));
        assert_eq!(flags.limiter_rate.map(|rate| rate.0), Some(2.5));
    }
}
