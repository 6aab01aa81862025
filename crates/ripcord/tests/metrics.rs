//! The metrics of the feature `metrics`, as an exporter sees them.
#![cfg(feature = "metrics")]

use std::pin::{Pin, pin};
use std::task::{self, Poll, Waker};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use ripcord::{Clock, Context, ManualTime};

const SECOND: Duration = Duration::from_secs(1);

/// Returns the samples that `run` records, except for samples whose value is 0.
fn recorded(run: impl FnOnce(Context, ManualTime)) -> Vec<String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let (clock, time) = Clock::manual();
    metrics::with_local_recorder(&recorder, || run(Context::background().with_clock(clock), time));
    let text = handle.render();
    let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#') && !line.contains("quantile"));
    let mut samples: Vec<_> = samples.filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect();
    samples.sort();
    samples
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut task::Context::from_waker(Waker::noop()))
}

#[test]
fn end_is_counted_once_with_its_kind_and_the_nearest_name() {
    let samples = recorded(|root, time| {
        let server = root.with_name("server");
        let (ctx, cancel) = server.with_name("import").with_cancel();
        let below: Vec<_> = (0..3).map(|_| ctx.with_cancel()).collect();
        cancel.cancel();
        cancel.cancel();
        assert!(below.iter().all(|(ctx, _)| ctx.is_done()));

        let (ctx, dropped) = server.with_cancel();
        drop(dropped);
        assert!(ctx.is_done());

        let late = server.with_name(String::from("query")).with_timeout(SECOND);
        let below = late.with_name("below");
        let unseen = server.with_timeout(SECOND);
        time.advance(SECOND);
        assert!(below.is_done() && late.is_done());
        drop(unseen);
    });
    let expected = [
        r#"ripcord_contexts_ended_total{kind="canceled",name="import"} 1"#,
        r#"ripcord_contexts_ended_total{kind="deadline_exceeded",name="query"} 1"#,
        r#"ripcord_contexts_ended_total{kind="dropped",name="server"} 1"#,
    ];
    assert_eq!(samples, expected);
}

#[test]
fn end_of_a_sleep_is_not_counted() {
    let samples = recorded(|root, time| {
        let mut sleep = pin!(root.sleep(SECOND));
        assert!(poll(sleep.as_mut()).is_pending());
        time.advance(SECOND);
        assert!(poll(sleep).is_ready());
        let mut late = pin!(root.sleep(SECOND));
        time.advance(SECOND);
        assert!(poll(late.as_mut()).is_ready());
        let (ctx, cancel) = root.with_cancel();
        let mut cut = pin!(ctx.sleep(SECOND));
        assert!(poll(cut.as_mut()).is_pending());
        time.advance(SECOND);
        cancel.cancel();
        assert!(poll(cut).is_ready());
        assert!(Context::background().wait_timeout(Duration::ZERO).is_none());
        assert!(Context::background().sleep_blocking(Duration::ZERO).is_ok());
    });
    assert_eq!(samples, [r#"ripcord_contexts_ended_total{kind="canceled",name=""} 1"#]);
}

#[cfg(feature = "tokio-util")]
#[test]
fn end_of_a_token_after_its_context_is_not_counted() {
    let samples = recorded(|root, time| {
        let token = root.with_timeout(SECOND).cancellation_token();
        time.advance(SECOND);
        assert!(token.is_cancelled());
    });
    assert_eq!(samples, Vec::<String>::new());
}

#[test]
fn deadline_that_passed_before_a_cancel_above_is_counted_as_a_deadline() {
    let samples = recorded(|root, time| {
        let (ctx, cancel) = root.with_name("outer").with_cancel();
        let inner = ctx.with_name("inner").with_timeout(SECOND);
        let waits = inner.after_func(|| {});
        time.advance(SECOND);
        cancel.cancel();
        assert!(inner.err().is_some_and(|error| error.is_deadline_exceeded()));
        drop(waits);
    });
    let expected = [
        r#"ripcord_contexts_ended_total{kind="canceled",name="outer"} 1"#,
        r#"ripcord_contexts_ended_total{kind="deadline_exceeded",name="inner"} 1"#,
    ];
    assert_eq!(samples, expected);
}

#[test]
fn call_records_the_time_left_and_the_overrun() {
    let samples = recorded(|root, time| {
        let (ctx, query) = root.with_timeout(4 * SECOND).start_span("query");
        time.advance(7 * SECOND);
        drop((ctx, query));
        drop(root.start_span("without a deadline"));
    });
    let expected = [
        r#"ripcord_call_overrun_seconds_count{call="query"} 1"#,
        r#"ripcord_call_overrun_seconds_sum{call="query"} 3"#,
        r#"ripcord_call_time_left_seconds_count{call="query"} 1"#,
        r#"ripcord_call_time_left_seconds_sum{call="query"} 4"#,
        r#"ripcord_contexts_ended_total{kind="deadline_exceeded",name=""} 1"#,
    ];
    assert_eq!(samples, expected);
}

#[test]
fn task_is_counted_until_it_is_gone_and_records_its_overrun() {
    let samples = recorded(|root, time| {
        let (ctx, cancel) = root.with_name("compact").with_cancel();
        let late = ctx.task_guard();
        let running = root.with_name("index").task_guard();
        cancel.cancel();
        time.advance(2 * SECOND);
        drop(late);
        std::mem::forget(running);
    });
    let expected = [
        r#"ripcord_contexts_ended_total{kind="canceled",name="compact"} 1"#,
        r#"ripcord_task_overrun_seconds_count{task="compact"} 1"#,
        r#"ripcord_task_overrun_seconds_sum{task="compact"} 2"#,
        r#"ripcord_tasks{task="index"} 1"#,
    ];
    assert_eq!(samples, expected);
}

#[test]
fn task_that_outlives_its_idle_timeout_records_its_overrun() {
    let samples = recorded(|root, time| {
        let (ctx, idle) = root.with_name("stream").with_idle_timeout(SECOND);
        let late = ctx.task_guard();
        time.advance(SECOND / 2);
        assert!(idle.reset());
        time.advance(5 * SECOND / 2);
        drop(late);
    });
    let expected = [
        r#"ripcord_contexts_ended_total{kind="deadline_exceeded",name="stream"} 1"#,
        r#"ripcord_task_overrun_seconds_count{task="stream"} 1"#,
        r#"ripcord_task_overrun_seconds_sum{task="stream"} 1.5"#,
    ];
    assert_eq!(samples, expected);
}

#[test]
fn recorder_may_use_the_context_whose_end_it_counts() {
    struct Nosy(Context);
    impl metrics::Recorder for Nosy {
        fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
            assert!(self.0.is_done() && self.0.with_cancel().0.is_done());
            panic!("a recorder's panic is contained")
        }
        fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
            metrics::Gauge::noop()
        }
        fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
            metrics::Histogram::noop()
        }
    }
    let (ctx, cancel) = Context::background().with_cancel();
    metrics::with_local_recorder(&Nosy(ctx.clone()), || cancel.cancel());
    assert!(ctx.is_done());
}

#[test]
fn described_metrics_have_help_texts() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        ripcord::describe_metrics();
        let (ctx, cancel) = Context::background().with_cancel();
        cancel.cancel();
        assert!(ctx.is_done());
    });
    let help = "# HELP ripcord_contexts_ended_total Contexts that ended, by kind of end and by name.";
    assert!(handle.render().contains(help), "{}", handle.render());
}

#[test]
fn idle_timeout_is_counted_as_a_deadline_and_its_overrun_starts_where_it_ran_out() {
    let samples = recorded(|root, time| {
        let (ctx, idle) = root.with_name("stream").with_timeout(60 * SECOND).with_idle_timeout(SECOND);
        let (ctx, span) = ctx.start_span("read");
        time.advance(3 * SECOND);
        drop((ctx, span, idle));
    });
    let expected = [
        r#"ripcord_call_overrun_seconds_count{call="read"} 1"#,
        r#"ripcord_call_overrun_seconds_sum{call="read"} 2"#,
        r#"ripcord_call_time_left_seconds_count{call="read"} 1"#,
        r#"ripcord_call_time_left_seconds_sum{call="read"} 60"#,
        r#"ripcord_contexts_ended_total{kind="deadline_exceeded",name="stream"} 1"#,
    ];
    assert_eq!(samples, expected);
}
