//! A proxy before a server, which can cut the connections or hold one connection at a chosen command.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};

/// Passes bytes on between clients and a server. Dropping it leaves its threads, which end with the connections.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connections: Vec<TcpStream>,
    is_closed: bool,
    cut: Option<Cut>,
    hold: Option<Hold>,
}

/// The word of the command at which the connections are cut, and what then happens before a client can connect again.
struct Cut {
    word: &'static str,
    then: Box<dyn FnOnce() + Send>,
}

/// The word of the command at which a connection is held, and the end of the hold.
struct Hold {
    word: &'static str,
    end: Receiver<()>,
}

impl Proxy {
    pub(crate) fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    connect(&accepting, client, server);
                }
            }
        });
        Proxy { port, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Cuts all connections when a client next sends `word`, which does not reach the server. Then runs `then`. Until that has
    /// returned, no client can connect.
    pub(crate) fn cut_at(&self, word: &'static str, then: impl FnOnce() + Send + 'static) {
        lock(&self.state).cut = Some(Cut { word, then: Box::new(then) });
    }

    /// Holds the connection on which a client next sends `word`, which does not reach the server. When the result is dropped, the
    /// connection is cut. The other connections are not affected.
    pub(crate) fn hold_at(&self, word: &'static str) -> Sender<()> {
        let (sender, end) = mpsc::channel();
        lock(&self.state).hold = Some(Hold { word, end });
        sender
    }

    /// Returns whether the connections were cut.
    pub(crate) fn is_cut(&self) -> bool {
        let state = lock(&self.state);
        state.cut.is_none() && !state.is_closed
    }
}

/// Passes bytes on between the client and the server.
fn connect(state: &Arc<Mutex<State>>, client: TcpStream, server: TcpStream) {
    let mut open = lock(state);
    if open.is_closed {
        return;
    }
    let copy = |stream: &TcpStream| stream.try_clone().expect("a second handle");
    open.connections.extend([copy(&client), copy(&server)]);
    drop(open);
    let (to_client, to_server, state) = (copy(&client), copy(&server), Arc::clone(state));
    std::thread::spawn(move || pass(client, to_server, |bytes| hold(&state, bytes) || cut(&state, bytes)));
    std::thread::spawn(move || pass(server, to_client, |_| false));
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut is_end: impl FnMut(&[u8]) -> bool) {
    let mut bytes = [0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if is_end(&bytes[..length]) || to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _closed_already = to.shutdown(Shutdown::Both);
    let _closed_already = from.shutdown(Shutdown::Both);
}

/// Cuts the connections, if the bytes contain the word.
fn cut(state: &Mutex<State>, bytes: &[u8]) -> bool {
    let mut open = lock(state);
    let found = open.cut.take_if(|cut| contains(bytes, cut.word));
    let Some(Cut { then, .. }) = found else { return false };
    open.is_closed = true;
    open.connections.drain(..).for_each(|connection| drop(connection.shutdown(Shutdown::Both)));
    drop(open);
    then();
    lock(state).is_closed = false;
    true
}

/// Waits for the end of the hold, if the bytes contain the word.
fn hold(state: &Mutex<State>, bytes: &[u8]) -> bool {
    let found = lock(state).hold.take_if(|hold| contains(bytes, hold.word));
    let Some(Hold { end, .. }) = found else { return false };
    let _ended = end.recv();
    true
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|part| part == word.as_bytes())
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no thread panics under this lock")
}
