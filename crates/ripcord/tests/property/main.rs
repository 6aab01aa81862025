//! Random trees of operations, compared with a simple model.
//!
//! The model is a list of nodes. The model stores no ends. Whenever the test queries a node, the model computes the end of the
//! node from the definition, back to the root. Each event that can end a node has a moment, which is a time and the number of
//! the operation within that time. The earliest moment wins. These are semantics 4, 5 and 8:
//!
//! - A cancel ends its node at the moment of the call.
//! - A deadline ends its node when its time comes, before any operation at that time. It ends the node at once if it is in the
//!   past when the node is created.
//! - A shielded node ends its grace after its parent, before any operation at that time.
//! - A parent's end also ends the child, and so does the end of either parent of a merge.
//! - A movable deadline or an idle timeout moves while its node has not ended, and never after that.
//!
//! Two deadlines at one instant may end a node with either cause. The same holds for the parents of a merge if both were done
//! when the merge was created. The first answer decides, and every node below must agree with that answer.
//!
//! With several clocks, each deadline ends its node when its own clock has reached it. Times on different clocks do not tell
//! which of several ends came first, so the first answer may be any of them.
//!
//! The implementation is queried only when the list of operations contains a query. So the test also covers ends that no call
//! has observed and no waiter has waited for.
//!
//! A failure prints the shortest list of operations that shows it, and stores its seed in `main.regressions`.
//! `PROPTEST_RNG_SEED=1` sets another seed. `PROPTEST_CASES=100000` runs more cases.

#[path = "../common/mod.rs"]
mod common;

mod model;
mod operations;
mod world;

use std::sync::Arc;

use common::time::Time;
use operations::{Op, op};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use ripcord::{Clock, ErrorKind};
use world::World;

fn run(clocks: Vec<(Clock, Time)>, ops: &[Op]) {
    let clocks = Arc::new(clocks);
    let mut world = World::new(Arc::clone(&clocks));
    Time::enter_all(clocks.iter().map(|(_, time)| time), || {
        for op in ops {
            world.apply(op);
        }
        world.finish();
    });
}

fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(18);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    config.failure_persistence = Some(Box::new(FileFailurePersistence::WithSource("regressions")));
    config
}

proptest! {
    #![proptest_config(config(1_500))]

    #[test]
    fn tree_agrees_with_the_model(ops in prop::collection::vec(op(), 1..70)) {
        run(vec![Time::manual()], &ops);
    }
}

proptest! {
    #![proptest_config(config(500))]

    #[cfg(feature = "tokio")]
    #[test]
    fn tree_on_tokios_paused_clock_does_what_the_model_says(ops in prop::collection::vec(op(), 1..70)) {
        run(vec![Time::paused()], &ops);
    }

    #[test]
    fn tree_on_several_clocks_does_what_the_model_says(ops in prop::collection::vec(op(), 1..70)) {
        let clocks = vec![
            Time::manual(),
            Time::manual(),
            #[cfg(feature = "tokio")]
            Time::paused(),
        ];
        run(clocks, &ops);
    }
}

#[test]
fn model_knows_the_tie_rules() {
    let mut world = World::new(Arc::new(vec![Time::manual()]));
    // Context 1 is cancelable. Context 2 is below it, with a timeout of 10 ms and no waiter. Context 1 is canceled at 11 ms.
    for op in [
        Op::WithCancel(0),
        Op::WithTimeout(1, 10, true),
        Op::Advance(0, 11),
        Op::Cancel(0, true),
        Op::WithTimeout(1, 0, true),
    ] {
        world.apply(&op);
    }
    let said = |world: &World, node| world.model.end(node).map(|end| end.outcomes);
    assert_eq!(said(&world, 0), None);
    assert_eq!(said(&world, 1), Some(vec![(ErrorKind::Canceled, Some("cause 4".to_owned()))]));
    assert_eq!(said(&world, 2), Some(vec![(ErrorKind::DeadlineExceeded, Some("cause 2".to_owned()))]));
    assert_eq!(said(&world, 3), Some(vec![(ErrorKind::Canceled, Some("cause 4".to_owned()))]));
    assert_eq!(world.model.deadline(3), Some(11));
    world.finish();
}
