//! The log: lines on stderr, as the chapter's server writes them.

use std::{
    io::{self, Write as _},
    time::SystemTime,
};

use log::{LevelFilter, Log, Metadata, Record};

/// From here on, log lines go to stderr. Until here, as in tests, they go nowhere.
pub(crate) fn install() {
    static LOGGER: Stderr = Stderr;
    // Refused only when there is a logger already, and this is the one place that makes one.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(LevelFilter::Info);
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        // In one piece, so that the lines of requests side by side do not mix.
        let line = format!("{now} {}\n", record.args());
        // `eprintln!` would panic, and a full or closed log is no reason to fail a request.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}
