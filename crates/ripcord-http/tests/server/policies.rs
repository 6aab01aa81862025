//! Tests errors of policies and groups that a handler returns with `?`.

use std::{future::ready, io, time::Duration};

use axum::{Router, response::Response, routing::any};
use futures::future::BoxFuture;
use ripcord::{Cause, Context, Group};
use ripcord_http::client::{self, ClientLayer, RequestExt};
use ripcord_http::server::{ContextLayer, Ctx, Ended, RequestOutcome};
use ripcord_policy::limiter::backend::{Backend, BucketId, Claimed, Refunded};
use ripcord_policy::{
    Bulkhead, Cache, CircuitBreaker, ConfigError, Error, Quota, Rate, RateLimiter, Retry, SharedError, Stack,
    WorkerPool,
};
use tokio::sync::mpsc::unbounded_channel;
use tower::{Layer, ServiceExt};

use crate::common::{SECOND, request, send, server, text};

type Handled = BoxFuture<'static, Result<(), Ended>>;

/// The data about a request that a client and the server's log get.
#[derive(Debug, PartialEq)]
struct Seen {
    answered: u16,
    logged: u16,
    outcome: RequestOutcome,
    retry_after: Option<String>,
    grpc: String,
}

/// Sends an HTTP request and a gRPC request to a handler with a timeout of ten seconds.
async fn seen(handler: fn(Context) -> Handled) -> Seen {
    let (tell, mut told) = unbounded_channel();
    let layer = ContextLayer::new(&server()).timeout(10 * SECOND).on_end(move |request| {
        tell.send((request.status.as_u16(), request.outcome.clone())).expect("the test listens");
    });
    let app = Router::new().route("/", any(move |Ctx(ctx): Ctx| handler(ctx))).layer(layer);
    let header = |response: &Response, name| Some(response.headers().get(name)?.to_str().unwrap().to_owned());

    let response = send(&app, request("/")).await;
    let (answered, retry_after) = (response.status().as_u16(), header(&response, "retry-after"));
    let body = text(response).await;
    assert!(!body.contains("secret"), "{body}");
    let (logged, outcome) = told.recv().await.expect("it is over");

    let mut grpc = request("/");
    grpc.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let response = send(&app, grpc).await;
    assert_eq!(header(&response, "retry-after"), retry_after);
    Seen { answered, logged, outcome, retry_after, grpc: header(&response, "grpc-status").expect("a code") }
}

fn answered(status: u16, retry_after: Option<&str>, grpc: &str) -> Seen {
    let retry_after = retry_after.map(str::to_owned);
    Seen { answered: status, logged: status, outcome: RequestOutcome::Answered, retry_after, grpc: grpc.to_owned() }
}

fn secret() -> io::Error {
    io::Error::other("secret")
}

#[tokio::test(start_paused = true)]
async fn open_breaker_answers_503_and_when_to_come_back() {
    let handler = |ctx: Context| -> Handled {
        Box::pin(async move {
            let breaker = CircuitBreaker::builder("secret")
                .consecutive_failures(1)
                .open_for(Duration::from_millis(2500))
                .clock(ctx.clock())
                .build()
                .unwrap();
            breaker.run(&ctx, |_| async { Err::<(), _>(secret()) }).await.unwrap_err();
            Ok(breaker.run(&ctx, |_| async { Ok::<_, io::Error>(()) }).await?)
        })
    };
    assert_eq!(seen(handler).await, answered(503, Some("3"), "14"));
}

#[tokio::test(start_paused = true)]
async fn breaker_that_stays_open_forever_names_no_time_to_come_back() {
    let handler = |ctx: Context| -> Handled {
        Box::pin(async move {
            let breaker = CircuitBreaker::builder("secret").open_for(Duration::MAX).clock(ctx.clock()).build().unwrap();
            breaker.force_open();
            Ok(breaker.run(&ctx, |_| async { Ok::<_, io::Error>(()) }).await?)
        })
    };
    assert_eq!(seen(handler).await, answered(503, None, "14"));
}

#[tokio::test(start_paused = true)]
async fn full_bulkhead_below_a_retry_answers_503() {
    let handler = |ctx: Context| -> Handled {
        Box::pin(async move {
            let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
            let _held = bulkhead.try_acquire().unwrap();
            let retry = Retry::builder().max_attempts(2).build().unwrap();
            let stack: Stack<(), io::Error> = Stack::builder().retry(retry).bulkhead(bulkhead.clone()).build().unwrap();
            Ok(stack.run(&ctx, |_| async { Ok(()) }).await?)
        })
    };
    assert_eq!(seen(handler).await, answered(503, None, "14"));
}

#[tokio::test(start_paused = true)]
async fn open_breaker_that_a_retry_cannot_wait_for_answers_503() {
    let handler = |ctx: Context| -> Handled {
        Box::pin(async move {
            let breaker = CircuitBreaker::builder("users").consecutive_failures(1).open_for(60 * SECOND);
            let stack: Stack<(), io::Error> = Stack::builder()
                .clock(ctx.clock())
                .retry(Retry::builder().max_attempts(3))
                .breaker(breaker)
                .build()
                .unwrap();
            Ok(stack.run(&ctx, |_| async { Err(secret()) }).await?)
        })
    };
    assert_eq!(seen(handler).await, answered(503, Some("60"), "14"));
}

#[tokio::test(start_paused = true)]
async fn limiter_that_refuses_answers_429() {
    let handler = |ctx: Context| -> Handled {
        Box::pin(async move {
            let limiter = RateLimiter::new(Rate::per_second(1.0), 1).unwrap();
            limiter.wait_n(&ctx, 2).await?;
            Ok(())
        })
    };
    assert_eq!(seen(handler).await, answered(429, None, "8"));
}

/// A backend of a limiter that is unavailable for a minute.
#[derive(Debug)]
struct Unavailable;

impl Backend for Unavailable {
    fn claim<'a>(&'a self, _: BucketId<'a>, _: u32, _: Option<Duration>, _: Refunded) -> BoxFuture<'a, Claimed> {
        Box::pin(ready(Claimed::Unavailable { retry_after: 60 * SECOND }))
    }

    fn set_rate(&self, _: Rate) -> BoxFuture<'_, Result<(), ConfigError>> {
        Box::pin(ready(Ok(())))
    }

    fn set_burst(&self, _: u32) -> BoxFuture<'_, Result<(), ConfigError>> {
        Box::pin(ready(Ok(())))
    }

    fn quota<'a>(&'a self, bucket: BucketId<'a>) -> BoxFuture<'a, Quota> {
        Box::pin(ready(bucket.quota))
    }

    fn tokens<'a>(&'a self, _: BucketId<'a>) -> BoxFuture<'a, f64> {
        Box::pin(ready(0.0))
    }
}

#[tokio::test(start_paused = true)]
async fn unavailable_backend_of_a_limiter_answers_503_and_when_to_come_back() {
    let alone = |ctx: Context| -> Handled {
        Box::pin(async move {
            let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).backend(Unavailable).build().unwrap();
            limiter.wait(&ctx).await?;
            Ok(())
        })
    };
    assert_eq!(seen(alone).await, answered(503, Some("60"), "14"));
    let below_a_retry = |ctx: Context| -> Handled {
        Box::pin(async move {
            let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).backend(Unavailable);
            let stack: Stack<(), io::Error> =
                Stack::builder().retry(Retry::builder().max_attempts(3)).limiter(limiter).build().unwrap();
            Ok(stack.run(&ctx, |_| async { Ok(()) }).await?)
        })
    };
    assert_eq!(seen(below_a_retry).await, answered(503, Some("60"), "14"));
}

#[tokio::test(start_paused = true)]
async fn deadline_too_near_for_a_policy_answers_504() {
    let handler = |ctx: Context| -> Handled {
        Box::pin(async move {
            let limiter =
                RateLimiter::builder().rate(Rate::per_second(0.01)).burst(1).clock(ctx.clock()).build().unwrap();
            assert!(limiter.allow());
            limiter.wait(&ctx).await?;
            Ok(())
        })
    };
    let seen = seen(handler).await;
    assert_eq!(seen, Seen { outcome: RequestOutcome::DeadlineExceeded, ..answered(504, None, "4") });
}

#[tokio::test(start_paused = true)]
async fn attempt_timeout_answers_504_and_is_not_the_requests_deadline() {
    let handler = |ctx: Context| -> Handled {
        Box::pin(async move {
            let stack: Stack<(), io::Error> = Stack::builder().attempt_timeout(SECOND).build().unwrap();
            Ok(stack.run(&ctx, |_| std::future::pending()).await?)
        })
    };
    assert_eq!(seen(handler).await, answered(504, None, "14"));
}

#[tokio::test(start_paused = true)]
async fn end_of_the_request_seen_by_a_policy_is_answered_as_the_end() {
    let handler = |ctx: Context| -> Handled {
        Box::pin(async move {
            let retry = Retry::builder().max_attempts(2).build().unwrap();
            let slow = |ctx: Context| async move { ctx.sleep(60 * SECOND).await.map_err(io::Error::from) };
            Ok(retry.run(&ctx, slow).await?)
        })
    };
    let seen = seen(handler).await;
    assert_eq!(seen, Seen { outcome: RequestOutcome::DeadlineExceeded, ..answered(504, None, "4") });
}

#[tokio::test(start_paused = true)]
async fn error_of_the_call_answers_500() {
    let handler = |ctx: Context| -> Handled {
        Box::pin(async move {
            let retry = Retry::constant(Duration::ZERO).max_attempts(2).build().unwrap();
            Ok(retry.run(&ctx, |_| async { Err(secret()) }).await?)
        })
    };
    assert_eq!(seen(handler).await, answered(500, None, "13"));
}

/// Returns a group with one task. The task fails with the error of `fail`.
fn group<E: Into<ripcord::Cause>>(ctx: &Context, fail: impl FnOnce(&Context) -> E) -> Group {
    let (group, ctx) = Group::new(ctx);
    let error = fail(&ctx).into();
    group.go(async move { Err(error) });
    group
}

#[tokio::test(start_paused = true)]
async fn group_is_answered_as_its_tasks_error() {
    fn refused() -> ripcord_policy::Refused {
        RateLimiter::new(Rate::ZERO, 1).unwrap().reserve_n(2).unwrap_err().into()
    }
    fn end(ctx: &Context) -> ripcord::Error {
        ctx.with_timeout(Duration::ZERO).err().unwrap()
    }
    type Handler = fn(Context) -> Handled;
    let cases: [(Handler, Seen); 4] = [
        (
            |ctx| Box::pin(async move { Ok(group(&ctx, |_| Ended::from(refused())).wait().await?) }),
            answered(429, None, "8"),
        ),
        (|ctx| Box::pin(async move { Ok(group(&ctx, |_| refused()).wait().await?) }), answered(429, None, "8")),
        (
            |ctx| Box::pin(async move { Ok(group(&ctx, end).wait().await?) }),
            Seen { outcome: RequestOutcome::DeadlineExceeded, ..answered(504, None, "4") },
        ),
        (|ctx| Box::pin(async move { Ok(group(&ctx, |_| secret()).wait().await?) }), answered(500, None, "13")),
    ];
    for (handler, expected) in cases {
        assert_eq!(seen(handler).await, expected);
    }
}

/// Makes a call to a server that fails with this error.
async fn call(ctx: &Context, error: io::ErrorKind) -> Result<(), client::Error> {
    let failing = tower::service_fn(move |_: http::Request<String>| {
        ready(Err::<http::Response<String>, _>(io::Error::from(error)))
    });
    let request = http::Request::get("http://secret/").body(String::new()).unwrap().with_context(ctx);
    ClientLayer::new().layer(failing).oneshot(request).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn failed_call_to_another_server_answers_502_or_504() {
    fn short(ctx: &Context, micros: u64) -> Context {
        ctx.with_timeout(Duration::from_micros(micros))
    }
    type Handler = fn(Context) -> Handled;
    let handlers: [(Handler, Seen); 6] = [
        (
            |ctx| Box::pin(async move { Ok(call(&ctx, io::ErrorKind::ConnectionRefused).await?) }),
            answered(502, None, "14"),
        ),
        (|ctx| Box::pin(async move { Ok(call(&ctx, io::ErrorKind::TimedOut).await?) }), answered(504, None, "14")),
        (
            |ctx| Box::pin(async move { Ok(call(&short(&ctx, 999), io::ErrorKind::Other).await?) }),
            Seen { outcome: RequestOutcome::DeadlineExceeded, ..answered(504, None, "4") },
        ),
        (
            |ctx| Box::pin(async move { Ok(call(&short(&ctx, 0), io::ErrorKind::Other).await?) }),
            Seen { outcome: RequestOutcome::DeadlineExceeded, ..answered(504, None, "4") },
        ),
        (
            |ctx| {
                Box::pin(async move {
                    let (group, ctx) = Group::new(&ctx);
                    group.go(async move { call(&ctx, io::ErrorKind::ConnectionRefused).await });
                    Ok(group.wait().await?)
                })
            },
            answered(502, None, "14"),
        ),
        (
            |ctx| {
                Box::pin(async move {
                    let retry = Retry::constant(Duration::ZERO).max_attempts(2).build().unwrap();
                    Ok(retry.run(&ctx, |ctx| async move { call(&ctx, io::ErrorKind::ConnectionRefused).await }).await?)
                })
            },
            answered(502, None, "14"),
        ),
    ];
    for (handler, expected) in handlers {
        assert_eq!(seen(handler).await, expected);
    }
}

/// Loads a value through a cache. The load fails with the error of `fail`.
async fn load<E: Into<Cause>>(ctx: &Context, fail: impl FnOnce(&Context) -> E) -> Result<(), Error<SharedError>> {
    let cache: Cache<u32, ()> = Cache::builder().capacity(1).build(ctx).unwrap();
    let error = fail(ctx).into();
    cache.get_or_load(ctx, 1, |_| async move { Err::<(), Cause>(error) }).await
}

#[tokio::test(start_paused = true)]
async fn failed_load_or_job_is_answered_as_its_error() {
    fn refused() -> ripcord_policy::Refused {
        RateLimiter::new(Rate::ZERO, 1).unwrap().reserve_n(2).unwrap_err().into()
    }
    fn end(ctx: &Context) -> ripcord::Error {
        ctx.with_timeout(Duration::ZERO).err().unwrap()
    }
    async fn refused_connection(ctx: &Context) -> client::Error {
        call(ctx, io::ErrorKind::ConnectionRefused).await.unwrap_err()
    }
    type Handler = fn(Context) -> Handled;
    let cases: [(Handler, Seen); 8] = [
        (
            |ctx| {
                Box::pin(async move {
                    let error = refused_connection(&ctx).await;
                    Ok(load(&ctx, |_| error).await?)
                })
            },
            answered(502, None, "14"),
        ),
        (
            |ctx| {
                Box::pin(async move {
                    let error = call(&ctx, io::ErrorKind::TimedOut).await.unwrap_err();
                    Ok(load(&ctx, |_| error).await?)
                })
            },
            answered(504, None, "14"),
        ),
        (
            |ctx| {
                Box::pin(async move {
                    let retry = Retry::constant(Duration::ZERO).max_attempts(2).build().unwrap();
                    let failed =
                        retry.run(&ctx, |ctx| async move { Err::<(), _>(refused_connection(&ctx).await) }).await;
                    Ok(load(&ctx, |_| failed.unwrap_err()).await?)
                })
            },
            answered(502, None, "14"),
        ),
        (
            |ctx| {
                Box::pin(async move {
                    let failed = group(&ctx, |_| Ended::from(refused())).wait().await;
                    Ok(load(&ctx, |_| failed.unwrap_err()).await?)
                })
            },
            answered(429, None, "8"),
        ),
        (|ctx| Box::pin(async move { Ok(load(&ctx, |_| refused()).await?) }), answered(429, None, "8")),
        (
            |ctx| Box::pin(async move { Ok(load(&ctx, end).await?) }),
            Seen { outcome: RequestOutcome::DeadlineExceeded, ..answered(504, None, "4") },
        ),
        (|ctx| Box::pin(async move { Ok(load(&ctx, |_| secret()).await?) }), answered(500, None, "13")),
        (
            |ctx| {
                Box::pin(async move {
                    let pool = WorkerPool::builder().workers(1).build(&ctx).unwrap();
                    let job = |ctx| async move { Err::<(), _>(refused_connection(&ctx).await) };
                    Ok(pool.run(&ctx, job).await?)
                })
            },
            answered(502, None, "14"),
        ),
    ];
    for (number, (handler, expected)) in cases.into_iter().enumerate() {
        assert_eq!(seen(handler).await, expected, "case {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn task_is_answered_by_the_end_of_its_context_or_its_panic() {
    let panics: fn(Context) -> Handled =
        |ctx| Box::pin(async move { Ok(ctx.spawn_blocking(|_| panic!("secret")).await?) });
    assert_eq!(seen(panics).await, answered(500, None, "13"));
    let late: fn(Context) -> Handled =
        |ctx| Box::pin(async move { Ok(ctx.with_timeout(Duration::ZERO).spawn_blocking(|_| ()).await?) });
    assert_eq!(seen(late).await, Seen { outcome: RequestOutcome::DeadlineExceeded, ..answered(504, None, "4") });
}

#[tokio::test(start_paused = true)]
async fn log_says_which_policy_refused_the_call() {
    let (tell, mut told) = unbounded_channel();
    let layer = ContextLayer::new(&server()).timeout(SECOND).on_end(move |request| {
        tell.send((request.failure.is_some(), format!("{request:#}"))).expect("the test listens");
    });
    let waits = |Ctx(ctx): Ctx| async move {
        let limiter = RateLimiter::new(Rate::per(1, 60 * SECOND), 1).unwrap();
        assert!(limiter.allow());
        limiter.wait(&ctx).await?;
        Ok::<_, Ended>(())
    };
    let is_full = |Ctx(ctx): Ctx| async move {
        let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
        let _held = bulkhead.try_acquire().unwrap();
        Ok::<_, Ended>(bulkhead.run(&ctx, |_| ready(Ok::<_, io::Error>(()))).await?)
    };
    let sleeps = |Ctx(ctx): Ctx| async move { Ok::<_, Ended>(ctx.sleep(2 * SECOND).await?) };
    let app = Router::new().route("/wait", any(waits)).route("/full", any(is_full)).route("/sleep", any(sleeps));
    let app = app.layer(layer);
    for (path, has_failure, begin, part) in [
        ("/wait", true, "504 after 0ns: context deadline exceeded: deadline too near: needs ", "; limiter built at "),
        ("/full", true, "503 after 0ns: answered: all 1 permits are in use (bulkhead built at ", "policies.rs"),
        ("/sleep", false, "504 after 1s: context deadline exceeded", "timeout of 1s set at "),
    ] {
        text(send(&app, request(path)).await).await;
        let (is_failure, line) = told.recv().await.expect("it is over");
        assert!(is_failure == has_failure && line.starts_with(begin) && line.contains(part), "{line}");
    }
}

#[tokio::test]
async fn answer_tells_a_log_what_failed() {
    let retry = Retry::constant(Duration::ZERO).max_attempts(2).build().unwrap();
    let error = retry.run(&Context::background(), |_| async { Err::<(), _>(secret()) }).await.unwrap_err();
    let ended = Ended::from(error);
    assert_eq!(format!("{ended}"), "all 2 attempts failed");
    assert_eq!(format!("{ended:#}"), "all 2 attempts failed, last error: secret");
    assert_eq!(std::error::Error::source(&ended).unwrap().to_string(), "secret");
    assert!(ended.context_error().is_none());
}
