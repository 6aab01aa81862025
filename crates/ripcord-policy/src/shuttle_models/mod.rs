//! Models: small programs in which several threads use the shipped code. Shuttle runs them in many orders. `scripts/shuttle` starts
//! the models. A failure prints its schedule. The seed is fixed.

mod breaker;
mod cache;
mod limiter;
mod pool;
mod semaphore;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

const SEED: u64 = 0x0072_6970_636f_7264;

/// The number of switches between threads in an order of the second scheduler. Few races need more.
const CHANGES: usize = 3;

/// Runs `model` in `RIPCORD_SHUTTLE_ORDERS` orders. Half of the orders are random, and the others have few switches between
/// threads.
fn explore(model: impl Fn() + Send + Sync + Clone + 'static) {
    let orders = std::env::var("RIPCORD_SHUTTLE_ORDERS").map_or(2000, |orders| orders.parse().expect("a number"));
    run(RandomScheduler::new_from_seed(SEED, orders / 2), model.clone());
    run(PctScheduler::new_from_seed(SEED, CHANGES, orders / 2), model);
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    // Code without optimization needs more than shuttle's default of 32 KiB.
    config.stack_size = 256 * 1024;
    Runner::new(scheduler, config).run(model);
}
