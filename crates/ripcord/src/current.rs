//! The ambient context, for code that cannot take a context as an argument. It is set for one future or one closure.

use std::cell::RefCell;

use crate::context::Context;
use crate::future::Scope;

thread_local! {
    static CURRENT: RefCell<Context> = const { RefCell::new(Context::background()) };
}

impl Context {
    /// Returns the ambient context: the context on which [`scope`](Context::scope) or [`sync_scope`](Context::sync_scope)
    /// was called to run this code.
    ///
    /// If such calls are nested, the innermost call counts. Outside of all such calls, this function returns
    /// [`Context::background`]. A spawned task or a new thread does not inherit the ambient context.
    ///
    /// If you can, pass the context as an argument instead: the compiler then checks that every caller passes one. The
    /// ambient context is for loggers, and for callbacks of libraries that do not pass contexts.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// fn log(message: &str) -> String {
    ///     format!("{}: {message}", Context::current().name().unwrap_or("nowhere"))
    /// }
    /// assert_eq!(log("started"), "nowhere: started");
    /// Context::background().with_name("import").sync_scope(|| assert_eq!(log("started"), "import: started"));
    /// ```
    pub fn current() -> Context {
        CURRENT.try_with(|current| current.borrow().clone()).unwrap_or_default()
    }

    /// Runs `future` with this context as the ambient context: while `future` is polled, [`Context::current`] returns
    /// this context.
    ///
    /// The end of the context does not end `future`: use [`run`](Context::run) for that.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future drops `future`. During this drop, `Context::current` does not return this context.
    /// The returned future is as cancel safe as `future`.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// # futures::executor::block_on(async {
    /// let ctx = Context::background().with_name("import");
    /// let name = ctx.scope(async { Context::current().name().map(str::to_owned) }).await;
    /// assert_eq!(name.as_deref(), Some("import"));
    /// # });
    /// ```
    pub fn scope<F: Future>(&self, future: F) -> Scope<F> {
        Scope::new(self.clone(), future)
    }

    /// Calls `run` with this context as the ambient context, and returns the result of `run`. During the call,
    /// [`Context::current`] returns this context.
    ///
    /// ```
    /// use ripcord::Context;
    ///
    /// let ctx = Context::background().with_name("import");
    /// ctx.sync_scope(|| assert_eq!(Context::current().name(), Some("import")));
    /// assert_eq!(Context::current().name(), None);
    /// ```
    pub fn sync_scope<R>(&self, run: impl FnOnce() -> R) -> R {
        let _entered = Entered::new(self.clone());
        run()
    }
}

/// Restores the previous ambient context when dropped, also during a panic.
struct Entered {
    before: Option<Context>,
}

impl Entered {
    fn new(ctx: Context) -> Self {
        Entered { before: replace(ctx) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            // The dropped context may be the last reference. It is dropped while nothing is borrowed.
            drop(replace(before));
        }
    }
}

/// Sets the ambient context and returns the previous one. Returns `None` only while the thread ends.
fn replace(ctx: Context) -> Option<Context> {
    CURRENT.try_with(|current| current.replace(ctx)).ok()
}
