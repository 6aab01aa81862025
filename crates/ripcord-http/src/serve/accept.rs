//! Accepts connections until the drain.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, atomic::AtomicBool},
    task::Poll,
    time::Duration,
};

use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
use ripcord::{Context, Tasks};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{HttpService, Limits, Serve, explained::Explained, explained::OnRefusal, service::ConnectionService};
use crate::server::connection::{self, StreamExecutor};

/// The pause before the next `accept` if the process is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The time for connections to send the last answers after their requests were canceled. A `Shutdown` gives canceled work one
/// second, and this time is slightly shorter.
const LAST_ANSWERS: Duration = Duration::from_millis(900);

/// Serves until the shutdown.
pub(super) async fn serve<S: HttpService>(serve: Serve<S>) {
    let Serve { listener, mut service, limits, shutdown, on_refusal, on_accept_error, location } = serve;
    prepare(&mut service);
    let work = shutdown.as_ref().map_or_else(Context::background, |shutdown| shutdown.context().clone());
    let stop = shutdown.as_ref().map(|shutdown| shutdown.stop_request().clone());
    let (work, connections) = work.with_name("connection").with_tasks();
    let clock = work.without_cancel();
    let (closing, close) = clock.with_cancel();
    let server = Server {
        builder: builder(&limits),
        service,
        limits,
        on_refusal,
        permits: Arc::new(Semaphore::new((limits.max_connections as usize).min(Semaphore::MAX_PERMITS))),
        dropped: work.shielded(LAST_ANSWERS),
        work: work.clone(),
        stop,
        closing,
        location,
    };

    let listening = shutdown.as_ref().map(|shutdown| shutdown.context().with_name("listener").task_guard_at(location));
    let mut close_listener = pin!(async {
        match &shutdown {
            Some(shutdown) => shutdown.drain_delay_over().await,
            None => std::future::pending().await,
        }
    });
    // The error code of the last `accept`. An error that repeats every second is reported once.
    let mut reported = None;
    loop {
        let next = next(&listener, &server.permits);
        match unless(close_listener.as_mut(), next).await {
            None => break,
            Some(Ok((stream, peer, permit))) => {
                reported = None;
                server.spawn(stream, peer, Some(permit));
            }
            // The client disconnected while its connection was in the queue.
            Some(Err(error)) if is_clients_fault(&error) => {}
            Some(Err(error)) => {
                if let Some(on_accept_error) = &on_accept_error
                    && reported != error.raw_os_error()
                {
                    on_accept_error(&error);
                }
                reported = error.raw_os_error();
                if unless(close_listener.as_mut(), clock.sleep(ACCEPT_PAUSE)).await.is_none() {
                    break;
                }
            }
        }
    }
    server.serve_queue(listener);
    close.cancel();
    drop(listening);
    finished(&connections).await;
}

/// Waits for `future`, or returns `None` if `close` ends first. Then `close` must not be polled again. `close` is polled before
/// `future`, so that many new connections cannot keep the listener open.
async fn unless<T>(mut close: Pin<&mut impl Future<Output = ()>>, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|task| match close.as_mut().poll(task) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(task).map(Some),
    })
    .await
}

/// Waits for a permit, then accepts a connection.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// Waits until every connection is closed.
async fn finished(connections: &Tasks) {
    // The background context never ends.
    let _ = connections.wait(&Context::background()).await;
}

struct Server<S> {
    service: S,
    limits: Limits,
    on_refusal: Option<OnRefusal>,
    builder: auto::Builder<StreamExecutor>,
    /// Every open connection has a permit.
    permits: Arc<Semaphore>,
    /// Every connection is a task of this context.
    work: Context,
    /// The context whose end drops the connections.
    dropped: Context,
    /// The context that ends at the stop request. Then each connection closes when it has no request in flight.
    stop: Option<Context>,
    /// The context that ends when the listener is closed. Replaces `stop` for connections accepted after the stop request.
    closing: Context,
    location: &'static std::panic::Location<'static>,
}

impl<S: HttpService> Server<S> {
    /// Closes the listener. Serves the clients in its queue that have sent data, because they would get a reset otherwise.
    fn serve_queue(&self, listener: TcpListener) {
        // `accept` of a standard listener is reliable about whether the queue is empty. This listener is nonblocking.
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..self.permits.available_permits() {
            let Ok((stream, peer)) = listener.accept() else { return };
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
                && connection::has_unread(&stream).unwrap_or(false)
            {
                self.spawn(stream, peer, None);
            }
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, permit: Option<OwnedSemaphorePermit>) {
        // Prefers latency to fewer packets. If this fails, the socket is closed, and the next read fails.
        let _ = stream.set_nodelay(true);
        let (stream, watch) = connection::watch(stream);
        let until = match &self.stop {
            Some(stop) if !stop.is_done() => stop,
            _ => &self.closing,
        };
        let Limits { head_timeout, idle_timeout, .. } = self.limits;
        let watch = watch.until(until).head_timeout(head_timeout).idle_timeout(idle_timeout);
        let has_answer = Arc::new(AtomicBool::new(false));
        let service = ConnectionService {
            inner: self.service.clone(),
            peer,
            stop: self.stop.clone(),
            has_answer: Arc::clone(&has_answer),
        };
        let service = TowerToHyperService::new(watch.service(service));
        let stream = TokioIo::new(Explained::new(stream, self.on_refusal.clone(), has_answer));
        let serving = watch.serve(self.builder.serve_connection_with_upgrades(stream, service).into_owned());
        let task = self.work.task_guard_at(self.location);
        let dropped = self.dropped.clone();
        tokio::spawn(async move {
            // These are dropped after the connection.
            let (_task, _permit) = (task, permit);
            let serving: Pin<&mut _> = pin!(serving);
            // A connection fails if its client disconnects, which cancels the requests' contexts, or if the client does not speak
            // HTTP, which hyper answers.
            let _ = dropped.run(serving).await;
        });
    }
}

fn builder(limits: &Limits) -> auto::Builder<StreamExecutor> {
    let mut builder = auto::Builder::new(StreamExecutor::new());
    let max_head = limits.max_head.max(8 << 10);
    // Writes header names as `X-Request-Id`, like Go, because they are easier to read.
    // The watch handles a FIN, so hyper must not.
    builder.http1().title_case_headers(true).half_close(true).max_buf_size(max_head as usize);
    // A WebSocket over HTTP/2 begins with an extended CONNECT.
    builder.http2().max_header_list_size(max_head).enable_connect_protocol();
    builder
}

/// Prepares an axum `Router` once. Without this call, the router is prepared for every request.
#[cfg_attr(not(feature = "axum"), expect(clippy::needless_pass_by_ref_mut, reason = "only axum needs it"))]
fn prepare<S: 'static>(service: &mut S) {
    #[cfg(feature = "axum")]
    if let Some(router) = (service as &mut dyn std::any::Any).downcast_mut::<axum::Router>() {
        *router = std::mem::take(router).with_state(());
    }
    #[cfg(not(feature = "axum"))]
    let _ = service;
}

fn is_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
