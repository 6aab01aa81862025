//! Contexts that end when the process receives SIGINT (Ctrl-C) or SIGTERM.

use std::error::Error as StdError;
use std::ffi::c_int;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::context::Context;

/// A signal that ended a context or started a shutdown.
///
/// A signal that ends a context from [`Context::with_signals`] is the [cause](Context::cause) of the context's end. A
/// signal that starts a shutdown ([`Shutdown::on_signals`](crate::Shutdown::on_signals)) is the cause of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT, which Ctrl-C sends.
    Interrupt,
    /// SIGTERM, which `kill` and service managers send.
    Terminate,
}

impl Signal {
    fn from_number(number: c_int) -> Signal {
        if number == SIGINT { Signal::Interrupt } else { Signal::Terminate }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Interrupt => "SIGINT received",
            Signal::Terminate => "SIGTERM received",
        })
    }
}

impl StdError for Signal {}

impl Context {
    /// Returns a child context that ends when the process receives SIGINT (Ctrl-C) or SIGTERM. Go's
    /// `signal.NotifyContext`.
    ///
    /// The child also ends when this context ends. If a signal ended the child, the child's [cause](Context::cause) is
    /// the [`Signal`]. If this context ended first, the child has the error of this context.
    ///
    /// The first signal ends the child, and does not end the process. After that, a second signal ends the process, as
    /// it does without this crate. A signal also ends the process after the last clone of the child was dropped.
    /// Neither of these signals ends the process if other code in the process listens for the signal.
    ///
    /// # Errors
    ///
    /// Returns an error if the system cannot install the signal handler, or cannot start the thread that listens for
    /// signals.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let ctx = Context::background().with_signals()?;
    /// assert!(!ctx.is_done()); // until Ctrl-C
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "signal.NotifyContext")]
    #[track_caller]
    pub fn with_signals(&self) -> io::Result<Context> {
        let location = Location::caller();
        let mut started = Ok(());
        let ctx = self.attached(|handle| match Listener::start(move |signal| handle.cancel_at(signal, location)) {
            Ok(listener) => Box::new(listener),
            Err(error) => {
                started = Err(error);
                Box::new(())
            }
        });
        started.map(|()| ctx)
    }
}

const SIGNALS: [c_int; 2] = [SIGINT, SIGTERM];

/// Listens for the first signal. Dropping it ends the thread and restores the default effect of the signals.
pub(crate) struct Listener {
    signals: Handle,
    listening: Arc<Listening>,
}

impl Listener {
    /// Starts a thread that calls `on_signal` at the first signal.
    pub(crate) fn start(on_signal: impl FnOnce(Signal) + Send + 'static) -> io::Result<Listener> {
        let listening = Listening::begin()?;
        let mut signals = Signals::new(SIGNALS)?;
        let listener = Listener { signals: signals.handle(), listening: Arc::clone(&listening) };
        let thread = std::thread::Builder::new().name("ripcord-signals".to_owned());
        thread.spawn(move || {
            if let Some(number) = signals.forever().next() {
                listening.end();
                on_signal(Signal::from_number(number));
            }
        })?;
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listening.end();
        self.signals.close();
    }
}

/// One listener that waits for a signal, until the signal arrives or the listener is dropped.
struct Listening {
    ended: AtomicBool,
}

/// The number of waiting listeners.
static WAITING: Mutex<usize> = Mutex::new(0);
/// Whether no listener waits. If so, the handler gives a signal its default effect.
static NOBODY_WAITS: OnceLock<Arc<AtomicBool>> = OnceLock::new();

impl Listening {
    fn begin() -> io::Result<Arc<Listening>> {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        if NOBODY_WAITS.get().is_none() {
            let flag = Arc::new(AtomicBool::new(false));
            for signal in SIGNALS {
                signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))?;
            }
            // No other thread sets the flag, because the lock is held.
            let _ = NOBODY_WAITS.set(flag);
        }
        *waiting += 1;
        Listening::tell(&waiting);
        Ok(Arc::new(Listening { ended: AtomicBool::new(false) }))
    }

    fn end(&self) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
            *waiting -= 1;
            Listening::tell(&waiting);
        }
    }

    fn tell(waiting: &usize) {
        if let Some(flag) = NOBODY_WAITS.get() {
            flag.store(*waiting == 0, Ordering::SeqCst);
        }
    }
}

impl Drop for Listening {
    /// Decrements the number of waiting listeners, even if the listener's thread could not be started.
    fn drop(&mut self) {
        self.end();
    }
}
