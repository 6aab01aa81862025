//! Auto traits are API. Removing one breaks users, so each auto trait is asserted here.

use std::fmt::{Debug, Display};
use std::future::{Future, IntoFuture, Pending};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use ripcord::{
    AfterFunc, BlockingIo, BoxFuture, CancelHandle, Canceler, Cause, Clock, Context, Done, DoneOwned, DrainEnded,
    Draining, Error, ErrorKind, Group, GroupBuilder, GroupError, GroupHandle, IdleTimeout, Join, ManualTime,
    MovableDeadline, Origin, PhaseOutcome, PhaseReport, Report, Run, RunShutdown, RunWithGrace, Scope, Shutdown,
    ShutdownBuilder, Sleep, TaskError, TaskGuard, TaskInfo, TaskPanic, Tasks, Value, WaitForTasks, WaitForTimers,
    WithContext,
};
use static_assertions::{assert_impl_all, assert_not_impl_any, assert_obj_safe};

// ===== contexts, handles and errors =====

assert_impl_all!(Context: Send, Sync, Unpin, Clone, Debug, Display);
assert_impl_all!(Canceler: Send, Sync, Unpin, Debug);
assert_not_impl_any!(Canceler: Clone);
assert_impl_all!(CancelHandle: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(AfterFunc: Send, Sync, Unpin, Debug);
assert_not_impl_any!(AfterFunc: Clone);
assert_impl_all!(MovableDeadline: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(IdleTimeout: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(Cause: Send, Sync, Unpin, Clone, Debug, Display);
// `From<T: Into<Box<dyn Error>>>` and `Error` cannot both be implemented.
assert_not_impl_any!(Cause: std::error::Error);
assert_impl_all!(Cause: std::ops::Deref<Target = dyn std::error::Error + Send + Sync>);
assert_impl_all!(Cause: From<&'static str>, From<String>, From<std::io::Error>, From<Error>);
assert_impl_all!(Error: Send, Sync, Unpin, Clone, Debug, Display, std::error::Error);
assert_impl_all!(ErrorKind: Send, Sync, Unpin, Clone, Copy, PartialEq, Eq, Debug);
assert_impl_all!(Origin: Send, Sync, Unpin, Clone, Debug, Display);
assert_impl_all!(std::io::Error: From<Error>);

assert_impl_all!(Clock: Send, Sync, Unpin, Clone, Debug, Default);
assert_impl_all!(ManualTime: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(WaitForTimers: Send, Sync, Unpin, Debug, Future<Output = ()>);

assert_impl_all!(Group: Send, Sync, Unpin, Debug);
assert_impl_all!(Group<std::cell::Cell<u8>>: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe);
assert_impl_all!(GroupHandle<std::cell::Cell<u8>>: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Clone, Debug);
assert_impl_all!(GroupBuilder: Send, Sync, Unpin, Debug);
assert_impl_all!(Join: Send, Sync, Copy, Eq, std::hash::Hash, Default, Debug);
assert_impl_all!(GroupError: Send, Sync, Unpin, Debug, Display, std::error::Error);
assert_impl_all!(BoxFuture: Send, Unpin);
assert_obj_safe!(Value);

assert_impl_all!(Shutdown: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(ShutdownBuilder: Send, Unpin, Debug);
assert_impl_all!(Report: Send, Sync, Unpin, Clone, Debug, Display);
assert_impl_all!(PhaseReport: Send, Sync, Unpin, Clone, Debug, Display);
assert_impl_all!(PhaseOutcome: Send, Sync, Unpin, Clone, Debug, Display);
assert_impl_all!(DrainEnded: Send, Sync, Unpin, Clone, Debug, Display, std::error::Error);
assert_impl_all!(Tasks: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Clone, Debug);
assert_impl_all!(TaskInfo: Send, Sync, Unpin, Clone, Debug, Display);
assert_impl_all!(TaskGuard: Send, Sync, Unpin, UnwindSafe, Debug);
assert_impl_all!(TaskError: Send, Sync, Unpin, Clone, Debug, Display, std::error::Error);
assert_impl_all!(TaskPanic: Send, Sync, Unpin, Clone, Debug, Display, std::error::Error);
assert_impl_all!(WaitForTasks: Future<Output = Result<(), Error>>, Send, Sync, Unpin, Debug);
#[cfg(feature = "tokio")]
assert_impl_all!(ripcord::Task<u8>: Future<Output = Result<u8, TaskError>>, Send, Sync, Unpin, Debug);

assert_impl_all!(BlockingIo<std::net::TcpStream>: std::io::Read, std::io::Write, Send, Sync, Unpin, Debug);
#[cfg(feature = "tokio")]
assert_impl_all!(ripcord::Io<&[u8]>: tokio::io::AsyncRead, tokio::io::AsyncBufRead, Send, Sync, Unpin, Debug);
#[cfg(feature = "tokio")]
assert_impl_all!(ripcord::Io<Vec<u8>>: tokio::io::AsyncWrite);

#[cfg(feature = "sync")]
mod sync {
    use std::cell::Cell;

    use ripcord::sync::{Mutex, MutexGuard, Permit, Semaphore, mpsc, oneshot};

    use super::*;

    assert_impl_all!(Semaphore: Send, Sync, Unpin, Clone, Debug);
    assert_impl_all!(Permit: Send, Sync, Unpin, Debug);
    // A value that is not Sync becomes Sync in a mutex. A guard may be held across an await of a spawned task.
    assert_impl_all!(Mutex<Cell<u8>>: Send, Sync, Default, From<Cell<u8>>);
    assert_impl_all!(MutexGuard<'static, u8>: Send, Sync, Debug, Display, std::ops::DerefMut<Target = u8>);
    assert_not_impl_any!(MutexGuard<'static, Cell<u8>>: Sync);
    assert_impl_all!(mpsc::Sender<Cell<u8>>: Send, Sync, Unpin, Clone, Debug);
    assert_impl_all!(mpsc::Receiver<Cell<u8>>: Send, Sync, Unpin, Debug);
    assert_impl_all!(mpsc::SendError<Cell<u8>>: Send, Debug, Display, std::error::Error);
    assert_impl_all!(oneshot::Sender<Cell<u8>>: Send, Sync, Unpin, Debug);
    assert_impl_all!(oneshot::Receiver<Cell<u8>>: Send, Sync, Unpin, Debug);
    assert_not_impl_any!(oneshot::Sender<u8>: Clone);
}

#[cfg(feature = "signals")]
assert_impl_all!(ripcord::Signal: Send, Sync, Unpin, Debug, Display, std::error::Error);

// ===== futures =====

assert_impl_all!(Done<'static>: Future<Output = Error>, Send, Sync, Unpin, Debug);
assert_impl_all!(DoneOwned: Future<Output = Error>, Send, Sync, Unpin, Debug);

assert_impl_all!(Draining: Future<Output = ()>, Send, Sync, Unpin, Debug);
assert_impl_all!(RunShutdown: Future<Output = Report>, Send, Sync, Unpin, Debug);

/// A future that is Send and Sync, and Unpin.
type Easy = Pending<u8>;
/// A future that is neither Send nor Sync.
type Local = Pending<Rc<u8>>;
/// A future that is not Unpin.
struct Fixed(std::marker::PhantomPinned);
impl Future for Fixed {
    type Output = u8;
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<u8> {
        std::task::Poll::Pending
    }
}

assert_impl_all!(Run<'static, Easy>: Future<Output = Result<u8, Error>>, Send, Sync);
assert_impl_all!(WithContext<Easy>: Future<Output = Result<u8, Error>>, Send, Sync);
assert_impl_all!(RunWithGrace<Easy>: Future<Output = Result<u8, Error>>, Send, Sync, Unpin);
assert_impl_all!(Scope<Easy>: Future<Output = u8>, Send, Sync);
assert_impl_all!(WithContext<Fixed>: Future<Output = Result<u8, Error>>, Send, Sync);

assert_impl_all!(Run<'static, Local>: Future<Output = Result<Rc<u8>, Error>>);
assert_impl_all!(WithContext<Local>: Future<Output = Result<Rc<u8>, Error>>);
assert_impl_all!(RunWithGrace<Local>: Future<Output = Result<Rc<u8>, Error>>);
assert_impl_all!(Scope<Local>: Future<Output = Rc<u8>>);
assert_not_impl_any!(Run<'static, LocalState>: Send, Sync);
assert_not_impl_any!(WithContext<LocalState>: Send, Sync);
assert_not_impl_any!(RunWithGrace<LocalState>: Send, Sync);
assert_not_impl_any!(Scope<LocalState>: Send, Sync);

/// A future whose state is neither Send nor Sync.
struct LocalState(#[expect(dead_code, reason = "its type is what matters")] Rc<u8>);
impl Future for LocalState {
    type Output = ();
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::task::Poll::Pending
    }
}

fn assert_send<T: Send>(value: T) -> T {
    value
}
fn assert_static<T: 'static>(value: T) -> T {
    value
}
fn assert_future<T>(future: impl IntoFuture<Output = T> + Send) {
    drop(future);
}

/// Checks the futures that methods return, whatever their types are.
#[test]
fn futures_of_methods_are_send_and_owned_futures_are_static() {
    use ripcord::FutureExt;
    let ctx = Context::background();
    assert_future::<Error>(ctx.done());
    assert_future::<Error>(assert_static(ctx.done_owned()));
    assert_future::<Result<u8, Error>>(ctx.run(async { 7 }));
    assert_future::<Result<u8, Error>>(assert_static(async { 7 }.with_context(&ctx)));
    assert_future::<Result<(), Error>>(ctx.sleep(std::time::Duration::ZERO));
    assert_future::<u8>(assert_static(ctx.scope(async { 7 })));
    let shutdown = Shutdown::builder().build();
    assert_future::<()>(assert_static(shutdown.context().draining()));
    assert_future::<()>(assert_static(shutdown.drain_delay_over()));
    assert_future::<Report>(assert_static(shutdown.run()));
    // An async function that holds a context and a canceler across an await can be spawned.
    let task = async {
        let (ctx, cancel) = Context::background().with_cancel();
        ctx.run(std::future::ready(())).await?;
        cancel.cancel();
        ctx.check()
    };
    drop(assert_static(assert_send(task)));
    // A future that is not Send can be run on its own thread.
    let local = Rc::new(7);
    let seven = futures::executor::block_on(ctx.run(async { *local }));
    assert_eq!(seven.expect("in time"), 7);
    fn _sleep_is_named(sleep: Sleep) -> Sleep {
        sleep
    }
}

/// Returns whether a type implements a trait, as a constant. An assertion of `static_assertions` would fail the whole file.
macro_rules! has {
    ($type:ty: $bound:path) => {{
        #[allow(dead_code, reason = "used when the bound does not hold")]
        trait Otherwise {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        struct Of<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "used when the bound holds")]
        impl<T: ?Sized + $bound> Of<T> {
            const HAS: bool = true;
        }
        <Of<$type>>::HAS
    }};
}

/// No lock of this crate is held while foreign code runs, so a panic leaves no invariant broken. The types are unwind safe, so
/// that they can be moved into `catch_unwind` without a wrapper, like a `CancellationToken`.
#[test]
fn everything_is_unwind_safe() {
    macro_rules! unwind_safe {
        ($($type:ty),* $(,)?) => {
            [$((stringify!($type), has!($type: UnwindSafe) && has!($type: RefUnwindSafe))),*]
        };
    }
    let types = unwind_safe!(
        Context,
        Canceler,
        CancelHandle,
        AfterFunc,
        Error,
        Cause,
        ErrorKind,
        Origin,
        Clock,
        ManualTime,
        WaitForTimers,
        Done<'static>,
        DoneOwned,
        Sleep,
        Run<'static, Easy>,
        WithContext<Easy>,
        Scope<Easy>,
        Group,
        GroupBuilder,
        GroupError,
        GroupHandle,
        Join,
        RunWithGrace<Easy>,
        TaskError,
        TaskGuard,
        TaskInfo,
        TaskPanic,
        Tasks,
        WaitForTasks,
    );
    let missing: Vec<_> = types.iter().filter(|(_, safe)| !safe).map(|(name, _)| *name).collect();
    assert!(missing.is_empty(), "not UnwindSafe and RefUnwindSafe: {missing:?}");
    assert!(!has!(&mut u8: UnwindSafe) && has!(u8: UnwindSafe), "the macro tells them apart");
}

#[test]
fn handles_fit_in_registers() {
    // One word, so that a context is passed in a register.
    assert_eq!(size_of::<Context>(), size_of::<usize>());
    assert!(size_of::<Canceler>() <= 2 * size_of::<usize>());
}
