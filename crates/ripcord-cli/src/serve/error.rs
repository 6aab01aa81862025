//! Why the service could not start.

use std::{fmt, io};

use ripcord_policy::ConfigError;

use super::FileError;

/// Why the service could not start. One line each.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file of settings cannot be read, or is not understood.
    File(FileError),
    /// A setting is out of bounds beside the others.
    Setting(ConfigError),
    /// The address is not to be had: in use, not ours, or not resolved.
    Listen {
        /// What was given.
        listen: String,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime, a socket, the signal handlers or a backend could not be set up.
    Start(io::Error),
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Error::File(error)
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Error::Setting(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(error) => error.fmt(f),
            Error::Setting(error) => error.fmt(f),
            Error::Listen { listen, source } => write!(f, "cannot listen on {listen}: {source}"),
            Error::Start(source) => write!(f, "cannot start: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Part of the line already, so not a source of its own.
        None
    }
}
