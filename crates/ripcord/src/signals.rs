//! A context that Ctrl-C or TERM ends.

use std::error::Error as StdError;
use std::ffi::c_int;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::canceler::CancelHandle;
use crate::context::Context;

/// The signal that ended a context: its cause after [`Context::with_signals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What `kill` and service managers send.
    Terminate,
}

impl Signal {
    fn of(number: c_int) -> Signal {
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
    /// A context that ends when this one does, or when the process is sent SIGINT (Ctrl-C) or SIGTERM; its cause is the
    /// [`Signal`]. Go's `signal.NotifyContext`.
    ///
    /// The first signal ends the context. A second one does what it would do without it, which is to end the process: a
    /// person who presses Ctrl-C twice means it. So does the first one after the context has been dropped.
    ///
    /// # Errors
    ///
    /// When the system refuses the handler or the thread that listens.
    #[doc(alias = "signal.NotifyContext")]
    #[track_caller]
    pub fn with_signals(&self) -> io::Result<Context> {
        let default_again = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Registered first, so that it sees the flag as it was before the signal that sets it.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&default_again))?;
        }
        let signals = Signals::new([SIGINT, SIGTERM])?;
        let listener = Listener { signals: signals.handle(), default_again: Arc::clone(&default_again) };
        let mut started = Ok(());
        let ctx = self.attached(|handle| {
            let thread = std::thread::Builder::new().name("ripcord-signals".to_owned());
            started = thread.spawn(move || listen(signals, &handle, &default_again)).map(drop);
            Box::new(listener)
        });
        started.map(|()| ctx)
    }
}

/// Dropped with the context: the thread ends, and signals are the process's again.
struct Listener {
    signals: Handle,
    default_again: Arc<AtomicBool>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.default_again.store(true, Ordering::SeqCst);
        self.signals.close();
    }
}

fn listen(mut signals: Signals, handle: &CancelHandle, default_again: &AtomicBool) {
    if let Some(number) = signals.forever().next() {
        default_again.store(true, Ordering::SeqCst);
        handle.cancel_with(Signal::of(number));
    }
}
