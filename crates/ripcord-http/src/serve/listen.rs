//! A listener with a long queue.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};

/// Maximum number of clients in the accept queue: the default limit of Linux. The standard library and tokio use 128. If the queue
/// is full, a client gets no answer and retries after a second.
const BACKLOG: u32 = 4096;

/// Creates a TCP listener on the first of `addresses` that is available, such as `"127.0.0.1:8080"`. Pass the listener to
/// [`serve`](crate::serve()).
///
/// At most 4,096 clients can wait in the queue of the listener until they are accepted, or fewer if the system has a lower limit.
///
/// # Errors
///
/// Returns an error if a host name cannot be resolved. If no address is available, returns the error of the last address.
///
/// # Panics
///
/// Awaiting the future outside of a tokio runtime panics.
pub async fn listen(addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut last = None;
    for address in lookup_host(addresses).await? {
        match listen_on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no address")))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Allows a restart while old connections are still closing. On Windows, this option allows more than a restart.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, time::Duration};

    use super::*;

    // 500 is more than the standard library's 128 and less than the default limit of Linux.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn backlog_holds_five_hundred_clients() {
        let listener = listen("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(30));
        let clients: Result<Vec<_>, _> = (0..500).map(connect).collect();
        assert_eq!(clients.expect("nobody is left unanswered").len(), 500);
    }

    #[tokio::test]
    async fn taken_address_is_an_error() {
        let taken = listen("localhost:0").await.expect("a free port");
        let address = taken.local_addr().expect("it is bound");
        assert_eq!(listen(address).await.expect_err("it is taken").kind(), io::ErrorKind::AddrInUse);
    }
}
