//! Values, and layers of all kinds.

use ripcord::{Canceler, Context, Value};

use super::{Layer, done_is_closed};
use crate::common::{HOUR, MS, assert_canceled, assert_exceeded, manual, other};

#[test]
fn values() {
    #[derive(Debug)]
    struct K1(Option<&'static str>);
    #[derive(Debug)]
    struct K2(Option<&'static str>);
    #[derive(Debug)]
    struct K3(Option<&'static str>);
    impl Value for K1 {}
    impl Value for K2 {}
    impl Value for K3 {}
    #[track_caller]
    fn check(c: &Context, v1: &str, v2: &str, v3: &str) {
        assert_eq!(c.value::<K1>().and_then(|v| v.0).unwrap_or(""), v1, "{c}");
        assert_eq!(c.value::<K2>().and_then(|v| v.0).unwrap_or(""), v2, "{c}");
        assert_eq!(c.value::<K3>().and_then(|v| v.0).unwrap_or(""), v3, "{c}");
    }
    let background = Context::background();
    check(&background, "", "", "");
    let c1 = background.with_value(K1(Some("c1k1")));
    check(&c1, "c1k1", "", "");
    assert_eq!(c1.to_string(), "Background.WithValue(K1)");
    let c2 = c1.with_value(K2(Some("c2k2")));
    check(&c2, "c1k1", "c2k2", "");
    assert_eq!(c2.to_string(), "Background.WithValue(K1).WithValue(K2)");
    let c3 = c2.with_value(K3(Some("c3k3")));
    check(&c3, "c1k1", "c2k2", "c3k3");
    let c4 = c3.with_value(K1(None));
    check(&c4, "", "c2k2", "c3k3");
    assert_eq!(c4.to_string(), "Background.WithValue(K1).WithValue(K2).WithValue(K3).WithValue(K1)");

    let merged = other().merge(&background);
    check(&merged, "", "", "");
    let merged = other().merge(&background.with_value(K1(Some("c1k1"))));
    check(&merged, "c1k1", "", "");
    check(&merged.with_value(K2(Some("o2k2"))), "c1k1", "o2k2", "");
    let merged = c4.merge(&other());
    check(&merged, "", "c2k2", "c3k3");
    check(&merged.with_value(K3(None)), "", "c2k2", "");
}

fn layers(seed: u64, by_timeout: bool) {
    let mut random = crate::common::Random(seed);
    let (root, time) = manual();
    let (mut ctx, mut cancels, mut timers, mut last) = (root, Vec::<Canceler>::new(), 0, None);
    let mut i = 0;
    while i < 30 || timers == 0 || cancels.is_empty() || last.is_none() {
        match random.below(3) {
            0 => {
                ctx = ctx.with_value(Layer(i));
                last = Some(Layer(i));
            }
            1 => {
                let (child, cancel) = ctx.with_cancel();
                ctx = child;
                cancels.push(cancel);
            }
            _ => {
                ctx = ctx.with_timeout(if by_timeout { MS } else { 1000 * HOUR });
                timers += 1;
            }
        }
        i += 1;
    }
    assert!(!done_is_closed(&ctx), "seed {seed}");
    assert!(ctx.to_string().starts_with("Background."), "seed {seed}: {ctx}");
    assert_eq!(ctx.value::<Layer>(), last.as_ref(), "seed {seed}");
    if by_timeout {
        time.advance(MS);
        assert_exceeded(&ctx, None);
    } else {
        cancels[random.below(cancels.len())].cancel();
        assert_canceled(&ctx, None);
    }
    assert!(done_is_closed(&ctx), "seed {seed}");
    assert_eq!(ctx.value::<Layer>(), last.as_ref(), "seed {seed}");
}

#[test]
fn layers_cancel() {
    (0..50).for_each(|seed| layers(seed, false));
}

#[test]
fn layers_timeout() {
    (0..50).for_each(|seed| layers(seed, true));
}
