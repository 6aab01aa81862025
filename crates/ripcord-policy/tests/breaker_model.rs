//! The breaker against a state machine that is simple enough to be obviously correct. It keeps every result of its generation and
//! recounts them each time.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use ripcord::Clock;
use ripcord_policy::breaker::{Permit, State, Window};
use ripcord_policy::{CircuitBreaker, Outcome};

const OPEN_FOR: u64 = 20;
const PROBE_TIMEOUT: u64 = 15;
const SLOW: u64 = 7;

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Acquire,
    /// Records a result for the permit with this number modulo their count. The clock decides whether the call is slow.
    Record(usize, Outcome),
    Drop(usize),
    /// Restarts the timeout of the permit with this number: its call has waited in a queue until now.
    Restart(usize),
    ForceOpen,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Success),
        3 => Just(Outcome::Failure),
        1 => Just(Outcome::Neutral),
    ];
    prop_oneof![
        6 => (0u64..12).prop_map(Step::Advance),
        12 => Just(Step::Acquire),
        12 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::Record(which, outcome)),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => any::<usize>().prop_map(Step::Restart),
        1 => Just(Step::ForceOpen),
        2 => Just(Step::Reset),
    ]
}

/// The results that count.
#[derive(Clone, Copy, Debug)]
enum Span {
    Calls(usize),
    /// The results of the last seconds, in steps of a tenth of the window.
    Seconds(u64),
}

impl Span {
    fn window(self) -> Window {
        match self {
            Span::Calls(calls) => Window::Count(calls),
            Span::Seconds(seconds) => Window::Time(Duration::from_secs(seconds)),
        }
    }
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![(1usize..12).prop_map(Span::Calls), (1u64..80).prop_map(Span::Seconds)]
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    window: Span,
    failure_rate: f64,
    minimum: usize,
    in_a_row: usize,
    slow_rate: Option<f64>,
    probes: usize,
    successes: usize,
}

fn rules() -> impl Strategy<Value = Rules> {
    let rate = prop_oneof![0.1f64..1.0, (1u32..=20).prop_map(|twentieths| f64::from(twentieths) / 20.0)];
    (span(), rate, 1usize..12, 1usize..6, prop::option::of(0.2f64..1.0), 1usize..4, 1usize..4).prop_map(
        |(window, failure_rate, minimum, in_a_row, slow_rate, probes, successes)| {
            let minimum = match window {
                Span::Calls(calls) => minimum.min(calls),
                Span::Seconds(_) => minimum,
            };
            Rules { window, failure_rate, minimum, in_a_row, slow_rate, probes, successes }
        },
    )
}

struct Model {
    rules: Rules,
    now: u64,
    state: State,
    generation: u64,
    /// The time of each result of the current generation, whether it failed, and whether it was slow.
    results: Vec<(u64, bool, bool)>,
    /// The time when the breaker opened. `None` if it was forced open.
    opened: Option<u64>,
    /// The times when the probes in flight were sent.
    probes: Vec<(usize, u64)>,
    successes: usize,
}

impl Model {
    fn enter(&mut self, state: State, opened: Option<u64>) {
        (self.state, self.opened, self.successes) = (state, opened, 0);
        self.generation += 1;
        self.results.clear();
        self.probes.clear();
    }

    /// Applies the changes that the passing time causes.
    fn pass_time(&mut self) {
        let hung = self.probes.iter().map(|(_, began)| began + PROBE_TIMEOUT).filter(|until| *until <= self.now).min();
        if let Some(until) = hung {
            self.enter(State::Open, Some(until));
        }
        if self.state == State::Open && self.opened.is_some_and(|opened| self.now >= opened + OPEN_FOR) {
            self.enter(State::HalfOpen, None);
        }
    }

    fn acquire(&mut self, permit: usize) -> bool {
        match self.state {
            State::Closed => true,
            State::HalfOpen if self.probes.len() < self.rules.probes => {
                self.probes.push((permit, self.now));
                true
            }
            State::HalfOpen | State::Open => false,
        }
    }

    fn restart(&mut self, permit: usize) {
        self.probes.iter_mut().filter(|(probe, _)| *probe == permit).for_each(|(_, began)| *began = self.now);
    }

    /// Returns the results that count.
    fn recent(&self) -> Vec<(u64, bool, bool)> {
        let results = &self.results;
        match self.rules.window {
            Span::Calls(calls) => results[results.len().saturating_sub(calls)..].to_vec(),
            Span::Seconds(seconds) => {
                let tenth = |time: u64| time * 10 / seconds;
                results.iter().copied().filter(|(when, ..)| tenth(*when) + 10 > tenth(self.now)).collect()
            }
        }
    }

    fn record(&mut self, permit: usize, generation: u64, outcome: Outcome, slow: bool) {
        if generation != self.generation {
            return;
        }
        self.probes.retain(|(probe, _)| *probe != permit);
        if outcome == Outcome::Neutral {
            return;
        }
        let (failed, slow) = (outcome == Outcome::Failure, slow && self.rules.slow_rate.is_some());
        match self.state {
            State::Closed => {
                self.results.push((self.now, failed, slow));
                let recent = self.recent();
                let share = |of: fn(&(u64, bool, bool)) -> bool| {
                    recent.iter().filter(|result| of(result)).count() as f64 / recent.len() as f64
                };
                let row = self.results.iter().rev().take_while(|(_, failed, _)| *failed).count();
                let enough = recent.len() >= self.rules.minimum;
                let failing = share(|(_, failed, _)| *failed) >= self.rules.failure_rate;
                let slowing = self.rules.slow_rate.is_some_and(|rate| share(|(.., slow)| *slow) >= rate);
                if row >= self.rules.in_a_row || enough && (failing || slowing) {
                    self.enter(State::Open, Some(self.now));
                }
            }
            State::HalfOpen if failed || slow => self.enter(State::Open, Some(self.now)),
            State::HalfOpen => {
                self.successes += 1;
                if self.successes >= self.rules.successes {
                    self.enter(State::Closed, None);
                }
            }
            State::Open => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn breaker_behaves_like_the_model(rules in rules(), steps in vec(step(), 1..200)) {
        let (clock, time) = Clock::manual();
        let mut builder = CircuitBreaker::builder("model")
            .window(rules.window.window())
            .failure_rate(rules.failure_rate)
            .minimum_calls(rules.minimum)
            .consecutive_failures(rules.in_a_row as u32)
            .half_open_calls(rules.probes)
            .half_open_successes(rules.successes as u32)
            .half_open_timeout(Duration::from_secs(PROBE_TIMEOUT))
            .open_for(Duration::from_secs(OPEN_FOR))
            .clock(clock);
        if let Some(rate) = rules.slow_rate {
            builder = builder.slow_call(Duration::from_secs(SLOW), rate);
        }
        let breaker = builder.build().unwrap();
        let mut model = Model {
            rules,
            now: 0,
            state: State::Closed,
            generation: 0,
            results: Vec::new(),
            opened: None,
            probes: Vec::new(),
            successes: 0,
        };
        let mut permits: Vec<(usize, u64, u64, Permit<'_>)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            model.pass_time();
            match step {
                Step::Advance(seconds) => {
                    time.advance(Duration::from_secs(seconds));
                    model.now += seconds;
                }
                Step::Acquire => {
                    let permit = breaker.try_acquire();
                    prop_assert_eq!(permit.is_ok(), model.acquire(number));
                    permits.extend(permit.ok().map(|permit| (number, model.generation, model.now, permit)));
                }
                Step::Record(which, outcome) if !permits.is_empty() => {
                    let (number, generation, began, permit) = permits.swap_remove(which % permits.len());
                    permit.record(outcome);
                    model.record(number, generation, outcome, model.now - began >= SLOW);
                }
                Step::Drop(which) if !permits.is_empty() => {
                    let (number, generation, _, permit) = permits.swap_remove(which % permits.len());
                    drop(permit);
                    model.record(number, generation, Outcome::Neutral, false);
                }
                Step::Restart(which) if !permits.is_empty() => {
                    let which = which % permits.len();
                    let (number, _, began, permit) = &mut permits[which];
                    permit.restart_clock();
                    *began = model.now;
                    model.restart(*number);
                }
                Step::Record(..) | Step::Drop(_) | Step::Restart(_) => {}
                Step::ForceOpen => {
                    breaker.force_open();
                    model.enter(State::Open, None);
                }
                Step::Reset => {
                    breaker.reset();
                    model.enter(State::Closed, None);
                }
            }
            model.pass_time();
            prop_assert_eq!(breaker.state(), model.state);
        }
        drop(permits);
        let stats = breaker.stats();
        prop_assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled);
    }
}
