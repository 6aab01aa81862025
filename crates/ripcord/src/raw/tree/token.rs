//! The tokens of tokio-util that end with a node.
//!
//! A token does not report that its last clone was dropped. So a token must not keep a context alive. But it must still be
//! canceled when its context ends, even if no reference to that context is left. Therefore the tokens form a tree of their own
//! beside the nodes: the token of a node is a child of its parent's token, and the thread that marks a node cancels its token.
//! When a node is freed, tokio-util moves the children of its token to the parent's token.
//!
//! A shielded context ends later than its parent. So a node has one more token for each grace of the contexts that are shielded
//! from it. That token is canceled the grace after the node's end. The token of the shielded context is a child of that token.
//! When the shielded context is freed, only that token is left.
//!
//! When a node with its own deadline is freed, timers take over its tokens. A timer is a node that holds only a token.

use std::collections::BTreeMap;
use std::panic::Location;

use tokio_util::sync::CancellationToken;

use super::end::settle;
use super::wait::watch;
use crate::atomic::Ordering;
use crate::background;
use crate::raw::clock::Clock;
use crate::raw::node::{End, Kind, NEVER, Node, NodeRef, Payload, Shield, flag, state};

/// The tokens of one node, by delay and clock of the delay.
#[derive(Default)]
pub(in crate::raw) struct Tokens(BTreeMap<(i64, usize), SharedToken>);

/// The parent of all tokens created for a node's contexts, or for contexts shielded from the node.
struct SharedToken {
    token: CancellationToken,
    delay: Delay,
    /// A timer's reference to itself, which keeps the timer alive until it ends.
    timer: Option<NodeRef>,
}

/// The time from the end of a node to the cancel of a token.
#[derive(Clone)]
struct Delay {
    /// In nanoseconds.
    grace: i64,
    clock: Clock,
}

/// Graces are rounded up to whole milliseconds, which limits the number of a node's tokens.
const PRECISION: i64 = 1_000_000;

impl Delay {
    const NONE: Delay = Delay { grace: 0, clock: Clock::system() };

    /// Returns the delay at the parent of a shielded node, for a token that has this delay at the shielded node.
    fn above(self, shield: &Shield) -> Delay {
        let grace = self.grace.saturating_add(shield.grace).saturating_add(PRECISION - 1) / PRECISION * PRECISION;
        Delay { grace, clock: shield.clock.clone() }
    }
}

impl Tokens {
    fn get(&self, delay: &Delay) -> Option<CancellationToken> {
        Some(self.0.get(&(delay.grace, delay.clock.address()))?.token.clone())
    }

    fn insert(&mut self, shared: SharedToken) {
        self.0.insert((shared.delay.grace, shared.delay.clock.address()), shared);
    }

    /// Takes the tokens out. Returns `None` if there are none.
    pub(super) fn take(&mut self) -> Option<Tokens> {
        (!self.0.is_empty()).then(|| std::mem::take(self))
    }

    /// Cancels the tokens of a node that ended `at`. Starts a timer for each token with a delay.
    pub(super) fn cancel(self, at: i64) {
        for SharedToken { token, delay, timer } in self.0.into_values() {
            cancel(token, delay, at);
            drop(timer);
        }
    }
}

/// Returns the token that is canceled when the node ends. If the node has ended, the token is already canceled.
pub(crate) fn shared_token(node: &NodeRef) -> CancellationToken {
    watch(node);
    let mut missing = Vec::new();
    let mut above = None;
    let mut at = Some((node, Delay::NONE));
    while let Some((node, delay)) = at {
        above = node.lock().fields().rest().and_then(|more| more.tokens.get(&delay));
        if above.is_some() {
            break;
        }
        missing.push((node, delay.clone()));
        if node.end().is_some() {
            break;
        }
        let above = match node.kind() {
            Kind::Shielded(shield) => delay.above(shield),
            _ => delay,
        };
        at = node.link_parent().map(|parent| (parent, above));
    }
    while let Some((node, delay)) = missing.pop() {
        let token = above.map_or_else(CancellationToken::new, |above| above.child_token());
        above = Some(put(node, token, delay));
    }
    let token = above.unwrap_or_default();
    if node.ended() {
        settle(node);
        token.cancel();
    }
    token
}

/// Gives a new node its token.
pub(crate) fn adopt(node: &NodeRef, token: CancellationToken) {
    put(node, token, Delay::NONE);
}

/// Gives `token` to a node that has no token with that delay. Returns the node's token with that delay.
fn put(node: &NodeRef, token: CancellationToken, delay: Delay) -> CancellationToken {
    let mut guard = node.lock();
    if guard.is_done() {
        drop(guard);
        cancel(token.clone(), delay, node.ended_at());
        return token;
    }
    let tokens = &mut guard.fields().more().tokens;
    if let Some(known) = tokens.get(&delay) {
        return known;
    }
    tokens.insert(SharedToken { token: token.clone(), delay, timer: None });
    token
}

/// Cancels the token of a node that ended `at`, or starts a timer for it.
fn cancel(token: CancellationToken, delay: Delay, at: i64) {
    if delay.grace == 0 {
        background::shielded(|| token.cancel());
    } else {
        start_timer(
            at.saturating_add(delay.grace),
            &delay.clock,
            SharedToken { token, delay: Delay::NONE, timer: None },
        );
    }
}

/// Creates a node that holds the token and ends at `when`. The node keeps itself alive until then.
fn start_timer(when: i64, clock: &Clock, shared: SharedToken) {
    let clock = (!clock.is_system()).then(|| clock.clone());
    let flags = flag::DEADLINE | if clock.is_some() { flag::CLOCK } else { 0 };
    let end = End { location: Location::caller(), cause: None, detail: 0 };
    let timer = NodeRef::new(None, flags, Payload::Deadline { when, clock }, end);
    timer.set_timer();
    timer.lock().fields().more().tokens.insert(SharedToken { timer: Some(timer.clone()), ..shared });
    watch(&timer);
}

/// Starts timers for the tokens of a dying node that has its own deadline.
pub(in crate::raw) fn outlive(node: &Node) {
    let when = match node.kind() {
        Kind::Deadline { when } => when,
        Kind::Movable(movable) => movable.when(),
        _ => return,
    };
    // A node with tokens is watched.
    if when == NEVER || node.state.load(Ordering::Relaxed) & state::WATCHED == 0 {
        return;
    }
    let tokens = node.lock().fields().rest().and_then(|more| more.tokens.take());
    for shared in tokens.into_iter().flat_map(|tokens| tokens.0.into_values()) {
        start_timer(when, node.clock(), shared);
    }
}
