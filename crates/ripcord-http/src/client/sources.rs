//! Searches the error of the wrapped client and its sources.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// Returns whether the connection to the server failed.
pub(super) fn is_connect(error: &(dyn StdError + 'static)) -> bool {
    is_connect_of_reqwest(error).unwrap_or_else(|| io_kind(error).is_some_and(only_occurs_while_connecting))
}

/// Returns whether a timeout of the wrapped client ended the call.
pub(super) fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    is_timeout_of_reqwest(error) || io_kind(error) == Some(io::ErrorKind::TimedOut)
}

/// Returns `None` if the client is not reqwest.
#[cfg(feature = "reqwest")]
fn is_connect_of_reqwest(error: &(dyn StdError + 'static)) -> Option<bool> {
    find::<::reqwest::Error>(error).map(::reqwest::Error::is_connect)
}

#[cfg(not(feature = "reqwest"))]
fn is_connect_of_reqwest(_: &(dyn StdError + 'static)) -> Option<bool> {
    None
}

#[cfg(feature = "reqwest")]
fn is_timeout_of_reqwest(error: &(dyn StdError + 'static)) -> bool {
    find::<::reqwest::Error>(error).is_some_and(::reqwest::Error::is_timeout)
}

#[cfg(not(feature = "reqwest"))]
fn is_timeout_of_reqwest(_: &(dyn StdError + 'static)) -> bool {
    false
}

/// Returns the kind of the innermost [`io::Error`] among an error and its sources. An outer `io::Error` may only be a wrapper.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    std::iter::successors(Some(error), below).filter_map(|error| error.downcast_ref()).map(io::Error::kind).last()
}

/// `HostUnreachable` and `NetworkUnreachable` do not count: they also end an established connection whose host has vanished.
fn only_occurs_while_connecting(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionRefused | io::ErrorKind::AddrNotAvailable)
}

/// Writes an error and its sources. Leaves out a source whose text the level above already contains.
pub(super) fn write(error: &(dyn StdError + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut written = format!("{error:#}");
    f.write_str(&written)?;
    let sources = std::iter::successors(error.source(), |&error| error.source());
    for source in sources {
        let text = format!("{source:#}");
        if !written.contains(&text) {
            write!(f, ": {text}")?;
            written = text;
        }
    }
    Ok(())
}

/// Returns the first error of this type among an error and its sources.
pub(super) fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), below).find_map(|error| error.downcast_ref())
}

/// Returns the next error below. `source` of an [`io::Error`] skips the wrapped error.
fn below<'a>(error: &&'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let error: &'a (dyn StdError + 'static) = *error;
    match error.downcast_ref::<io::Error>() {
        Some(wrapper) => wrapper.get_ref().map(|inner| inner as _),
        None => error.source(),
    }
}
