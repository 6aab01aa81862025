//! The operations, and how they are drawn.

use proptest::prelude::*;

/// Numbers that select a context, canceler, future or callback are taken modulo the number of those.
#[derive(Debug, Clone)]
pub(super) enum Op {
    WithCancel(usize),
    WithTimeout(usize, u64, bool),
    WithDeadline(usize, i64, bool),
    WithTimeoutMax(usize),
    WithUser(usize),
    WithTrace(usize),
    WithName(usize),
    WithoutCancel(usize),
    /// With a grace in milliseconds.
    Shielded(usize, u64),
    Merge(usize, usize),
    /// With several clocks only.
    WithClock(usize, usize),
    WithMovableDeadline(usize, i64, bool),
    WithIdleTimeout(usize, u64, bool),
    /// The new deadline, in milliseconds from now. `None` is never.
    ResetDeadline(usize, Option<i64>),
    /// The new deadline, in milliseconds from now.
    ExtendDeadline(usize, i64),
    ResetIdleTimeout(usize),
    Progress(usize),
    DropHandle(usize),
    Cancel(usize, bool),
    CancelByHandle(usize, bool),
    DropCanceler(usize),
    Detach(usize),
    /// Advances a clock by milliseconds.
    Advance(usize, u64),
    Wait(usize),
    PollAgain(usize),
    DropFuture(usize),
    AfterFunc(usize),
    Stop(usize),
    DropContext(usize),
    Check(usize),
    CheckAll,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let which = 0..1_000_usize;
    prop_oneof![
        6 => which.clone().prop_map(Op::WithCancel),
        5 => (which.clone(), 0..60_u64, any::<bool>()).prop_map(|(p, ms, cause)| Op::WithTimeout(p, ms, cause)),
        3 => (which.clone(), -20..60_i64, any::<bool>()).prop_map(|(p, ms, cause)| Op::WithDeadline(p, ms, cause)),
        1 => which.clone().prop_map(Op::WithTimeoutMax),
        2 => which.clone().prop_map(Op::WithUser),
        2 => which.clone().prop_map(Op::WithTrace),
        2 => which.clone().prop_map(Op::WithName),
        1 => which.clone().prop_map(Op::WithoutCancel),
        3 => (which.clone(), 0..30_u64).prop_map(|(p, ms)| Op::Shielded(p, ms)),
        3 => (which.clone(), which.clone()).prop_map(|(a, b)| Op::Merge(a, b)),
        3 => (which.clone(), which.clone()).prop_map(|(p, clock)| Op::WithClock(p, clock)),
        3 => (which.clone(), -20..60_i64, any::<bool>()).prop_map(|(p, ms, cause)| Op::WithMovableDeadline(p, ms, cause)),
        2 => (which.clone(), 0..60_u64, any::<bool>()).prop_map(|(p, ms, cause)| Op::WithIdleTimeout(p, ms, cause)),
        4 => (which.clone(), prop::option::weighted(0.8, -20..60_i64)).prop_map(|(h, ms)| Op::ResetDeadline(h, ms)),
        2 => (which.clone(), -20..60_i64).prop_map(|(h, ms)| Op::ExtendDeadline(h, ms)),
        2 => which.clone().prop_map(Op::ResetIdleTimeout),
        2 => which.clone().prop_map(Op::Progress),
        1 => which.clone().prop_map(Op::DropHandle),
        3 => (which.clone(), any::<bool>()).prop_map(|(c, cause)| Op::Cancel(c, cause)),
        1 => (which.clone(), any::<bool>()).prop_map(|(c, cause)| Op::CancelByHandle(c, cause)),
        1 => which.clone().prop_map(Op::DropCanceler),
        1 => which.clone().prop_map(Op::Detach),
        4 => (which.clone(), 0..20_u64).prop_map(|(clock, ms)| Op::Advance(clock, ms)),
        6 => which.clone().prop_map(Op::Wait),
        2 => which.clone().prop_map(Op::PollAgain),
        2 => which.clone().prop_map(Op::DropFuture),
        2 => which.clone().prop_map(Op::AfterFunc),
        1 => which.clone().prop_map(Op::Stop),
        3 => which.clone().prop_map(Op::DropContext),
        3 => which.prop_map(Op::Check),
        1 => Just(Op::CheckAll),
    ]
}
