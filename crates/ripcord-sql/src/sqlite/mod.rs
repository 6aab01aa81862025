//! SQLite on threads, interrupted by the context.

use rusqlite::ErrorCode;

/// Returns whether the same statement may succeed in a moment.
pub(crate) fn is_transient(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
