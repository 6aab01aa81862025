//! One connection of a client.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// The last answer to [`ask`](Connection::ask). Its length never changes, because dates and IDs have a fixed length.
    answer: Vec<u8>,
}

impl Connection {
    /// Connects and makes two requests. The first shows the length of the answers.
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection { stream, answer: Vec::new() };
        connection.stream.write_all(REQUEST).await?;
        connection.answer = connection.receive().await?;
        connection.ask().await?;
        Ok(connection)
    }

    /// Requests `/` and waits for the answer.
    pub(super) async fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(REQUEST).await?;
        self.stream.read_exact(&mut self.answer).await?;
        expect_whole(&self.answer)
    }

    /// Requests `path` and returns the body of the answer.
    pub(super) async fn get(&mut self, path: &str) -> io::Result<String> {
        self.send(path).await?;
        let answer = self.receive().await?;
        let text = String::from_utf8_lossy(&answer);
        Ok(text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
    }

    /// Requests `path` without waiting for the answer.
    pub(super) async fn send(&mut self, path: &str) -> io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await
    }

    /// Waits for an answer of any length.
    pub(super) async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut answer = Vec::with_capacity(256);
        while length(&answer).is_none_or(|length| answer.len() < length) {
            if self.stream.read_buf(&mut answer).await? == 0 {
                return Err(wrong("the server closed the connection", &answer));
            }
        }
        expect_whole(&answer)?;
        Ok(answer)
    }
}

/// Fails unless this is a complete 200, because a server that fails quickly must not win.
fn expect_whole(answer: &[u8]) -> io::Result<()> {
    if answer.starts_with(b"HTTP/1.1 200 ") && length(answer) == Some(answer.len()) {
        Ok(())
    } else {
        Err(wrong("unexpected answer", answer))
    }
}

/// Returns the length of the answer, or `None` until its head is complete and has a `Content-Length`.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let text = str::from_utf8(&answer[..head]).ok()?;
    let body = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    Some(head + body)
}

fn wrong(what: &str, answer: &[u8]) -> io::Error {
    error(format!("{what}: {}", String::from_utf8_lossy(answer)))
}
