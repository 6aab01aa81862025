//! gRPC's status codes.

use std::fmt;

use http::{HeaderValue, StatusCode};

/// A gRPC status code. The [gRPC guide](https://grpc.io/docs/guides/status-codes/) explains the codes.
///
/// ```
/// use http::HeaderValue;
/// use ripcord_grpc::Code;
///
/// assert_eq!(Code::decode(&HeaderValue::from_static("4")), Code::DeadlineExceeded);
/// assert_eq!(Code::DeadlineExceeded.to_string(), "DEADLINE_EXCEEDED");
/// assert_eq!(Code::from_http(http::StatusCode::BAD_GATEWAY), Code::Unavailable);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are gRPC's: https://grpc.io/docs/guides/status-codes/")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// Every code at the index of its number, with its name.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "CANCELLED"),
    (Code::Unknown, "UNKNOWN"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::Aborted, "ABORTED"),
    (Code::OutOfRange, "OUT_OF_RANGE"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::DataLoss, "DATA_LOSS"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
];

impl Code {
    /// Returns the code with this number. Returns [`Unknown`](Code::Unknown) if no code has this number, as gRPC requires.
    pub fn from_number(number: u64) -> Self {
        usize::try_from(number).ok().and_then(|index| CODES.get(index)).map_or(Code::Unknown, |(code, _)| *code)
    }

    /// Returns the number of the code, from 0 to 16.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns the name of the code, such as `DEADLINE_EXCEEDED`.
    pub fn name(self) -> &'static str {
        CODES[usize::from(self.number())].1
    }

    /// Returns the code for the error of a context: [`DeadlineExceeded`](Code::DeadlineExceeded) if the deadline or an idle timeout
    /// of the context passed, and [`Cancelled`](Code::Cancelled) if the context was canceled.
    pub fn from_error(error: &ripcord::Error) -> Self {
        if error.is_deadline_exceeded() { Code::DeadlineExceeded } else { Code::Cancelled }
    }

    /// Returns the code that gRPC defines for the HTTP status of a response without `grpc-status`, such as the response of a proxy.
    ///
    /// | HTTP status | code |
    /// |---|---|
    /// | 400 | [`Internal`](Code::Internal) |
    /// | 401 | [`Unauthenticated`](Code::Unauthenticated) |
    /// | 403 | [`PermissionDenied`](Code::PermissionDenied) |
    /// | 404 | [`Unimplemented`](Code::Unimplemented) |
    /// | 429, 502, 503, 504 | [`Unavailable`](Code::Unavailable) |
    /// | any other status | [`Unknown`](Code::Unknown) |
    pub fn from_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502..=504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// Parses the value of the header `grpc-status`. Returns [`Unknown`](Code::Unknown) for a value that is not the number of a
    /// code.
    pub fn decode(value: &HeaderValue) -> Self {
        match value.as_bytes() {
            [digit @ b'0'..=b'9'] => Code::from_number(u64::from(digit - b'0')),
            [b'1', digit @ b'0'..=b'6'] => Code::from_number(10 + u64::from(digit - b'0')),
            _ => Code::Unknown,
        }
    }

    /// Returns the value for the header `grpc-status`: the [`number`](Code::number) of the code.
    pub fn to_header(self) -> HeaderValue {
        u16::from(self.number()).into()
    }
}

impl fmt::Display for Code {
    /// Prints the code's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_reads_back_as_its_code() {
        for (index, (code, _)) in CODES.iter().enumerate() {
            assert_eq!(usize::from(code.number()), index);
            assert_eq!(Code::decode(&code.to_header()), *code);
        }
    }

    #[test]
    fn values_outside_of_the_grammar_are_unknown() {
        for value in ["", "17", "04", "+4", " 4", "4 ", "-1", "0x4", "999999999999999999999", "OK"] {
            let value = HeaderValue::from_str(value).expect("http allows it");
            assert_eq!(Code::decode(&value), Code::Unknown, "{value:?}");
        }
    }
}
