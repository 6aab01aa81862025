//! The ambient context: opt-in, around a future or a closure, for code that cannot be handed one.

use std::cell::RefCell;

use super::Context;
use crate::future::Scope;

thread_local! {
    static CURRENT: RefCell<Context> = const { RefCell::new(Context::background()) };
}

impl Context {
    /// The context of the innermost [`scope`](Context::scope) or [`sync_scope`](Context::sync_scope) that this code runs in;
    /// [`Context::background`] outside of one.
    ///
    /// Passing a context as an argument is better: it shows in the signature and cannot be forgotten. This is for loggers,
    /// and for callbacks of libraries that know no contexts. Spawned tasks and threads do not inherit it.
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

    /// A future in which [`Context::current`] is this context, at each poll.
    ///
    /// It does not end the future: that is [`run`](Context::run). Dropping it drops the future, outside of the scope.
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

    /// Calls a function in which [`Context::current`] is this context.
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

/// Puts the context that was current back when dropped, also by a panic.
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
            // What it gives back may be the last of its context: dropped here, when nothing is borrowed.
            drop(replace(before));
        }
    }
}

/// `None` only while the thread is being torn down.
fn replace(ctx: Context) -> Option<Context> {
    CURRENT.try_with(|current| current.replace(ctx)).ok()
}
