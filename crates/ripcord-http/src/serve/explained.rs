//! Answers to malformed requests.
//!
//! If hyper cannot parse a request, hyper answers with a 400 without a body, and no service sees the request. This stream, between
//! hyper and the socket, adds a body with the reason.
//!
//! # Invariants
//!
//! 1. Reads and writes are passed on unchanged, except for a bare refusal: an answer of hyper without a body and with one of the
//!    [statuses](STATUSES). The service sets a flag before hyper writes the service's answer. The write of the head of an answer
//!    clears the flag. So an answer that begins while the flag is set is not hyper's.
//! 2. The write of a bare refusal is reported as done only after the whole replacement has been written.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Poll, ready},
};

use http::{StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Refusal;

/// Maximum number of bytes kept from a request to find the reason.
const MAX_KEPT: usize = 4096;

/// Maximum number of headers, as in hyper.
const MAX_HEADERS: usize = 100;

/// The statuses of hyper's answers, and the reason if the request does not show a reason.
const STATUSES: [(&str, &str); 3] = [
    ("400 Bad Request", "it does not parse as HTTP/1.1"),
    ("414 URI Too Long", "its path and query are too long"),
    ("431 Request Header Fields Too Large", "its headers are too large, or too many"),
];

/// The start of each answer.
const ANSWER: &[u8] = b"HTTP/1.1 ";

/// A stream that explains bare refusals.
pub(super) struct Explained<S> {
    stream: S,
    /// The first bytes read since the last answer.
    request: Vec<u8>,
    /// The replacement of a bare refusal, and the number of its bytes already written.
    refusal: Option<(Vec<u8>, usize)>,
    on_refusal: Option<OnRefusal>,
    /// Whether the service has returned an answer whose head is not written yet. (Invariant 1.)
    has_answer: Arc<AtomicBool>,
}

pub(super) type OnRefusal = Arc<dyn Fn(&Refusal) + Send + Sync>;

impl<S> Explained<S> {
    /// The service of the connection sets `has_answer` before it returns an answer.
    pub(super) fn new(stream: S, on_refusal: Option<OnRefusal>, has_answer: Arc<AtomicBool>) -> Self {
        Explained { stream, request: Vec::new(), refusal: None, on_refusal, has_answer }
    }

    /// Records that `bytes` were written, at least in part.
    fn written(&self, bytes: &[u8]) {
        if bytes.starts_with(ANSWER) {
            self.has_answer.store(false, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        let room = MAX_KEPT - self.request.len();
        self.request.extend_from_slice(&read[..read.len().min(room)]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut task::Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refusal.is_none() {
            if !this.has_answer.load(Ordering::Relaxed)
                && let Some((refusal, answer)) = refusal(bytes, &this.request)
            {
                this.refusal = Some((answer, 0));
                if let Some(on_refusal) = &this.on_refusal {
                    on_refusal(&refusal);
                }
            }
            this.request.clear();
        }
        let Some((refusal, written)) = &mut this.refusal else {
            let count = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
            this.written(bytes);
            return Poll::Ready(Ok(count));
        };
        while *written < refusal.len() {
            *written += match ready!(Pin::new(&mut this.stream).poll_write(cx, &refusal[*written..]))? {
                0 => return Poll::Ready(Ok(0)),
                more => more,
            };
        }
        this.refusal = None;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // hyper writes a refusal as a single slice.
        match slices {
            [head] => self.poll_write(cx, head),
            _ => {
                self.request.clear();
                let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
                slices.iter().for_each(|slice| self.written(slice));
                Poll::Ready(Ok(count))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Returns the refusal and the replacement of `answer`, if `answer` is a bare refusal of `request`.
fn refusal(answer: &[u8], request: &[u8]) -> Option<(Refusal, Vec<u8>)> {
    let line = answer.strip_prefix(ANSWER)?;
    let (status, otherwise) = STATUSES.into_iter().find(|(status, _)| line.starts_with(status.as_bytes()))?;
    let code = StatusCode::from_bytes(status.as_bytes().get(..3)?).ok()?;
    let head = str::from_utf8(answer).ok()?.strip_suffix("\r\n\r\n")?;
    if !head.lines().any(|line| line.eq_ignore_ascii_case("content-length: 0")) {
        return None;
    }
    let why = match code {
        StatusCode::BAD_REQUEST => reason(request).unwrap_or_else(|| otherwise.to_owned()),
        _ => otherwise.to_owned(),
    };
    let body = format!("Malformed request: {why}");
    let length = body.len();
    let head = "Content-Type: text/plain; charset=utf-8\r\nConnection: close";
    let refusal = format!("HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}");
    Some((Refusal { status: code, reason: why }, refusal.into_bytes()))
}

/// Returns the reason why hyper rejected the request. `None` if this request parses, for example if a later pipelined request
/// was rejected.
fn reason(request: &[u8]) -> Option<String> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    // hyper accepts an empty line before a request, and so does this parser.
    if let Err(error) = parsed.parse(request) {
        let place = match parsed.version {
            None => "in the request line",
            Some(_) => "in the headers",
        };
        return Some(format!("{error} {place}"));
    }
    let error = parsed.path?.parse::<Uri>().err()?;
    Some(format!("the URL in the request line does not parse: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    fn body_of_refusal(request: &str) -> String {
        let (_, refusal) = refusal(BARE, request.as_bytes()).expect("it is a bare refusal");
        let refusal = String::from_utf8(refusal).expect("text");
        let (head, body) = refusal.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        body.to_owned()
    }

    #[test]
    fn bare_400_gets_a_body_with_the_reason() {
        let cases = [
            ("GET / HTTP/9.9\r\n\r\n", "invalid HTTP version in the request line"),
            ("nonsense\r\n\r\n", "invalid token in the request line"),
            ("GET /a b HTTP/1.1\r\n\r\n", "invalid HTTP version in the request line"),
            ("G\u{1}T / HTTP/1.1\r\n\r\n", "invalid token in the request line"),
            ("GET http:// HTTP/1.1\r\n\r\n", "the URL in the request line does not parse: empty string"),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "invalid header name in the headers"),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "it does not parse as HTTP/1.1"),
        ];
        for (request, expected) in cases {
            assert_eq!(body_of_refusal(request), format!("Malformed request: {expected}"), "{request:?}");
        }
    }

    #[test]
    fn other_answers_are_passed_on_unchanged() {
        let ours = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 12\r\n\r\n";
        assert!(refusal(ours, b"").is_none());
        assert!(refusal(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", b"").is_none());
        assert!(refusal(b"", b"").is_none());
    }
}
