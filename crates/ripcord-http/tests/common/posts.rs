//! A blocking client that posts a megabyte, and reads only after it has sent everything.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const LENGTH: usize = 1 << 20;

/// Posts a megabyte to `/refuses`. Returns the answer.
pub(crate) fn post_all(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "POST /refuses HTTP/1.1\r\nHost: test\r\nContent-Length: {LENGTH}\r\n\r\n")?;
    stream.write_all(&vec![b'x'; LENGTH])?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Posts 300 times to `/refuses`, six posts at a time. `/refuses` answers 413 without reading the body.
pub(crate) async fn assert_no_answer_is_lost(address: SocketAddr) {
    let clients: Vec<_> = (0..6)
        .map(|_| tokio::task::spawn_blocking(move || (0..50).map(|_| post_all(address)).collect::<Vec<_>>()))
        .collect();
    for client in clients {
        for answer in client.await.expect("no panic") {
            let answer = answer.expect("no answer is lost");
            assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("too large"), "{answer}");
            assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
        }
    }
}
