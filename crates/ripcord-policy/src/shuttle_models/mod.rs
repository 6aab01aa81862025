//! Models of what several threads do at a time: small programs around the code that ships, which shuttle runs in many
//! orders. `scripts/shuttle` runs them; a failure prints its schedule, and the seed is fixed.

mod breaker;
mod cache;
mod limiter;
mod pool;
mod semaphore;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

const SEED: u64 = 0x0072_6970_636f_7264;

/// Threads change places this often in an order that the second scheduler makes up: few races need more.
const CHANGES: usize = 3;

/// Runs `model` in as many orders as `RIPCORD_SHUTTLE_ORDERS` says, half of them at random and half of them with few
/// changes from one thread to another.
fn explore(model: impl Fn() + Send + Sync + Clone + 'static) {
    let orders = std::env::var("RIPCORD_SHUTTLE_ORDERS").map_or(2000, |orders| orders.parse().expect("a number"));
    run(RandomScheduler::new_from_seed(SEED, orders / 2), model.clone());
    run(PctScheduler::new_from_seed(SEED, CHANGES, orders / 2), model);
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    // What is not optimized needs more than shuttle's own 32 KiB.
    config.stack_size = 256 * 1024;
    Runner::new(scheduler, config).run(model);
}
