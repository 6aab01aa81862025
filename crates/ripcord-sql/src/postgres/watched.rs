//! Reads the state of the transaction from the server's messages, because tokio-postgres does not report it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// The state of the transaction in the last `ReadyForQuery` that was read, like libpq's `PQtransactionStatus`.
#[derive(Debug, Default)]
pub(super) struct Status(AtomicU8);

impl Status {
    /// Returns whether no transaction is open.
    pub(super) fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) == b'I'
    }
}

/// A stream from the server, which records the state of the transaction in the messages.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    scanner: Scanner,
    status: Arc<Status>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, status: Arc<Status>) -> Self {
        Watched { stream, scanner: Scanner::default(), status }
    }

    /// Stops watching: what follows is a TLS session.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

/// Finds the messages in a stream: a byte for the type, and a length in four bytes that counts itself.
#[derive(Debug, Default)]
struct Scanner {
    has_started: bool,
    header: [u8; 5],
    /// Number of bytes of the header that have been read.
    length: usize,
    /// Number of bytes of the message that have not been read.
    rest: usize,
}

impl Scanner {
    /// Returns the state of the last `ReadyForQuery` among these bytes.
    fn scan(&mut self, mut bytes: &[u8]) -> Option<u8> {
        let mut state = None;
        if !self.has_started && !bytes.is_empty() {
            self.has_started = true;
            // The answer to a request for TLS is this byte alone. No server begins with a notice or a parameter.
            if let b'N' | b'S' = bytes[0] {
                bytes = &bytes[1..];
            }
        }
        while !bytes.is_empty() {
            if self.rest > 0 {
                let length = self.rest.min(bytes.len());
                if self.header[0] == b'Z' {
                    state = Some(bytes[0]);
                }
                self.rest -= length;
                bytes = &bytes[length..];
                continue;
            }
            let length = (self.header.len() - self.length).min(bytes.len());
            self.header[self.length..self.length + length].copy_from_slice(&bytes[..length]);
            self.length += length;
            bytes = &bytes[length..];
            if self.length == self.header.len() {
                let [_, size @ ..] = self.header;
                self.rest = (u32::from_be_bytes(size) as usize).saturating_sub(4);
                self.length = 0;
            }
        }
        state
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(task, buffer);
        if let Some(state) = this.scanner.scan(&buffer.filled()[before..]) {
            this.status.0.store(state, Ordering::Release);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(task, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(task)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Watched<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

#[cfg(test)]
mod tests {
    use super::Scanner;

    const READY: &[u8] = b"Z\0\0\0\x05";

    fn stream() -> Vec<u8> {
        let mut bytes = b"R\0\0\0\x08\0\0\0\0".to_vec();
        bytes.extend([READY, b"I"].concat());
        // A row that contains what looks like the message.
        bytes.extend(b"D\0\0\0\x0a".iter().chain(READY).chain(b"E"));
        bytes.extend(b"1\0\0\0\x04");
        bytes.extend([READY, b"T"].concat());
        bytes
    }

    #[test]
    fn state_is_found_however_the_bytes_are_cut() {
        let bytes = stream();
        for size in 1..=bytes.len() {
            let mut scanner = Scanner::default();
            let states: Vec<_> = bytes.chunks(size).filter_map(|chunk| scanner.scan(chunk)).collect();
            assert_eq!(states.last(), Some(&b'T'), "in pieces of {size}");
            assert!(!states.contains(&b'E'), "in pieces of {size}");
        }
    }

    #[test]
    fn refusal_of_tls_is_no_message() {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.scan(b"N"), None);
        assert_eq!(scanner.scan(&stream()), Some(b'T'));
    }

    #[test]
    fn impossible_length_does_not_panic() {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.scan(b"R\0\0\0\0Z\0\0\0\x05I"), Some(b'I'));
    }
}
