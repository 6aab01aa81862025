//! A module with private types as keys for its values, and accessors for them.
//!
//! `cargo run --example context_values_best_practices`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use ripcord::Context;

use self::request::RequestContext as _;

/// The values of a request.
mod request {
    use std::fmt;

    use ripcord::{Context, Value};

    // Good: private types as keys. Code outside of this module cannot name them, so it can read, set and shadow these
    // values only through the accessors below. In Go this is a convention. Here `impl Value` requires it, because a
    // crate can implement the trait only for its own types.
    struct User(String);
    struct TraceId(String);
    struct RequestLogger(Logger);

    impl Value for User {}
    impl Value for TraceId {}
    impl Value for RequestLogger {}

    /// Good: typed accessors. An extension trait makes them methods of the context.
    pub(crate) trait RequestContext {
        fn user(&self) -> Option<&str>;
        fn trace_id(&self) -> Option<&str>;
        fn logger(&self) -> Option<&Logger>;

        fn with_user(&self, user: impl Into<String>) -> Context;
        fn with_trace_id(&self, trace_id: impl Into<String>) -> Context;
        fn with_logger(&self, logger: Logger) -> Context;
    }

    impl RequestContext for Context {
        fn user(&self) -> Option<&str> {
            self.value::<User>().map(|user| user.0.as_str())
        }

        fn trace_id(&self) -> Option<&str> {
            self.value::<TraceId>().map(|id| id.0.as_str())
        }

        fn logger(&self) -> Option<&Logger> {
            self.value::<RequestLogger>().map(|logger| &logger.0)
        }

        fn with_user(&self, user: impl Into<String>) -> Context {
            self.with_value(User(user.into()))
        }

        fn with_trace_id(&self, trace_id: impl Into<String>) -> Context {
            self.with_value(TraceId(trace_id.into()))
        }

        fn with_logger(&self, logger: Logger) -> Context {
            self.with_value(RequestLogger(logger))
        }
    }

    /// A minimal logger. It writes to stderr, like Go's.
    pub(crate) struct Logger {
        prefix: &'static str,
    }

    impl Logger {
        pub(crate) fn new(prefix: &'static str) -> Self {
            Logger { prefix }
        }

        #[expect(clippy::print_stderr, reason = "it is a logger")]
        pub(crate) fn line(&self, message: impl fmt::Display) {
            eprintln!("{}{message}", self.prefix);
        }
    }
}

fn bad_usage() {
    // Bad: a bare string as a key, which other packages may also use. In Go it compiles, and prints
    // "Bad usage - User: john". Here it does not compile:
    //
    //     let ctx = Context::background().with_value("john");
    //     //                              ---------- ^^^^^^ the trait `Value` is not implemented for `&'static str`
    //
    // A user cannot implement the trait for a string, because both belong to other crates.
    println!("Bad usage - User: a bare string is nobody's key, so it does not compile");
}

fn good_usage() {
    let ctx = Context::background()
        .with_user("john")
        .with_trace_id("trace-123")
        .with_logger(request::Logger::new("[REQUEST] "));

    if let Some(user) = ctx.user() {
        println!("Good usage - User: {user}");
    }

    if let Some(trace_id) = ctx.trace_id() {
        println!("Good usage - TraceID: {trace_id}");
    }

    if let Some(logger) = ctx.logger() {
        logger.line("This is a log message with context");
    }
}

fn main() {
    println!("=== Context Values Best Practices ===");

    bad_usage();
    println!();
    good_usage();
}
