//! The reason why the service did not start.

use std::{fmt, io};

use ripcord_http::inspector::BuildError;
use ripcord_policy::ConfigError;

use super::FileError;

/// The reason why the service did not start. Each error prints one line.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The settings file cannot be read or is invalid.
    File(FileError),
    /// A setting contradicts another setting.
    Setting(ConfigError),
    /// A setting of the connection to Redis is invalid, or its thread could not be started.
    Redis(ripcord_redis::Error),
    /// The inspector cannot be built.
    Inspector(BuildError),
    /// The service cannot listen on the address, because it is in use, is not local, or cannot be resolved.
    Listen {
        /// The address in the settings.
        listen: String,
        /// The system's error.
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

impl From<ripcord_redis::Error> for Error {
    fn from(error: ripcord_redis::Error) -> Self {
        Error::Redis(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(error) => error.fmt(f),
            Error::Setting(error) => error.fmt(f),
            Error::Redis(error) => match error.config_error() {
                Some(setting) => write!(f, "redis: {setting}"),
                None => write!(f, "redis: {error}"),
            },
            Error::Inspector(error) => error.fmt(f),
            Error::Listen { listen, source } => write!(f, "cannot listen on {listen}: {source}"),
            Error::Start(source) => write!(f, "cannot start: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The line contains the source already.
        None
    }
}
