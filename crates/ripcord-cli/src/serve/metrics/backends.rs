//! The figures of the policies around each backend.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use ripcord_policy::breaker::State;

use crate::search::{Backend, Search};

/// The figures of the backends.
#[derive(Debug)]
pub(super) struct BackendFigures(pub(super) Search);

/// A figure of a backend with several labels.
type Counters<const N: usize> = fn(&Backend) -> [(&'static str, u64); N];

impl Collector for BackendFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.counters(&mut encoder, "backend_searches", "Searches at a backend, by outcome.", |backend| {
            let stats = backend.stack().stats();
            [
                ("succeeded", stats.calls.succeeded),
                ("failed", stats.calls.failed),
                ("canceled", stats.calls.canceled),
                ("rejected", stats.calls.rejected),
            ]
        })?;
        self.counters(&mut encoder, "backend_cache_reads", "Reads of a backend's cache, by result.", |backend| {
            let stats = backend.cache().stats();
            [("hit", stats.hits), ("miss", stats.misses), ("shared", stats.coalesced)]
        })?;
        self.counters(&mut encoder, "backend_cache_loads", "Loads of a backend's cache, by outcome.", |backend| {
            let stats = backend.cache().stats();
            [("succeeded", stats.calls.succeeded), ("failed", stats.calls.failed), ("canceled", stats.calls.canceled)]
        })?;
        self.counters(
            &mut encoder,
            "backend_refusals",
            "Requests that a policy rejected instead of sending them, by policy.",
            |backend| {
                let (breaker, limiter) = (backend.breaker().stats(), backend.limiter().stats());
                [
                    ("breaker", breaker.calls.rejected),
                    ("limiter", limiter.calls.rejected),
                    ("bulkhead", backend.bulkhead().stats().calls.rejected),
                ]
            },
        )?;
        let help = "Requests sent to a backend.";
        self.counter(&mut encoder, "backend_requests", help, |backend| backend.stack().stats().attempts)?;
        let help = "Requests sent to a backend again after a failure.";
        self.counter(&mut encoder, "backend_retries", help, |backend| {
            backend.stack().retry().map_or(0, |retry| retry.stats().retries)
        })?;
        let help = "Requests sent to a backend because another one was slow.";
        self.counter(&mut encoder, "backend_hedges", help, |backend| {
            backend.stack().hedge().map_or(0, |hedge| hedge.stats().hedges)
        })?;
        let help = "Times that a backend's breaker opened.";
        self.counter(&mut encoder, "backend_breaker_opened", help, |backend| backend.breaker().stats().opened)?;

        let help = "State of a backend's breaker: 0 closed, 1 half-open, 2 open.";
        self.gauge(&mut encoder, "backend_breaker_state", help, |backend| match backend.breaker().state() {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        })?;
        let help = "Requests to a backend in flight.";
        self.gauge(&mut encoder, "backend_requests_in_flight", help, |backend| {
            backend.bulkhead().stats().calls.in_flight() as i64
        })?;
        let help = "Requests to a backend that wait for a token.";
        self.gauge(&mut encoder, "backend_limiter_waiters", help, |backend| backend.limiter().stats().waiters as i64)?;
        let help = "Cached answers of a backend.";
        self.gauge(&mut encoder, "backend_cache_entries", help, |backend| backend.cache().stats().entries as i64)
    }
}

impl BackendFigures {
    fn counters<const N: usize>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        counters: Counters<N>,
    ) -> fmt::Result {
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for backend in self.0.backends() {
            for (label, count) in counters(backend) {
                let labels = [("backend", backend.name()), ("kind", label)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        counter: fn(&Backend) -> u64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, ConstCounter::new(0_u64).metric_type())?;
        for backend in self.0.backends() {
            ConstCounter::new(counter(backend)).encode(family.encode_family(&[("backend", backend.name())])?)?;
        }
        Ok(())
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        gauge: fn(&Backend) -> i64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, ConstGauge::new(0_i64).metric_type())?;
        for backend in self.0.backends() {
            ConstGauge::new(gauge(backend)).encode(family.encode_family(&[("backend", backend.name())])?)?;
        }
        Ok(())
    }
}
