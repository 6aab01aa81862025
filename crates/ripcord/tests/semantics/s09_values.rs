//! 9. Values are found after the end in the same way as before it. A nearer value of the same type shadows the ancestor's
//!    value.

use crate::common::{Absent, SEC, Trace, User, manual};
use ripcord::{Context, Value};

#[test]
fn s09_values_are_found_after_the_end() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_value(User(1)).with_cancel();
    let slow = root.with_value(User(2)).with_timeout(SEC);
    cancel.cancel();
    time.advance(SEC);
    assert!(ctx.is_done() && slow.is_done());
    assert_eq!(ctx.value::<User>(), Some(&User(1)));
    assert_eq!(slow.value::<User>(), Some(&User(2)));
    let child = ctx.with_value(Trace("t".into()));
    assert_eq!(child.value::<User>(), Some(&User(1)));
    assert_eq!(child.value::<Trace>(), Some(&Trace("t".into())));
}

#[test]
fn s09_a_nearer_value_of_the_same_type_shadows() {
    let root = Context::background();
    let outer = root.with_value(User(1));
    let inner = outer.with_name("between").with_value(User(2));
    assert_eq!(root.value::<User>(), None);
    assert_eq!(outer.value::<User>(), Some(&User(1)));
    assert_eq!(inner.value::<User>(), Some(&User(2)));
    assert_eq!(inner.value::<Absent>().map(|_| ()), None);
}

#[test]
fn s09_two_types_of_one_shape_are_two_keys() {
    #[derive(Debug, PartialEq)]
    struct A(u32);
    #[derive(Debug, PartialEq)]
    struct B(u32);
    impl Value for A {}
    impl Value for B {}
    let ctx = Context::background().with_value(A(1)).with_value(B(2));
    assert_eq!(ctx.value::<A>(), Some(&A(1)));
    assert_eq!(ctx.value::<B>(), Some(&B(2)));
}

#[test]
fn s09_found_at_every_depth() {
    const DEPTH: usize = if cfg!(miri) { 40 } else { 1_000 };
    let mut ctx = Context::background().with_value(User(7));
    for depth in 0..DEPTH {
        assert_eq!(ctx.value::<User>(), Some(&User(7)), "at depth {depth}");
        assert!(ctx.value::<Absent>().is_none(), "at depth {depth}");
        ctx = match depth % 4 {
            0 => ctx.with_value(Trace(depth.to_string())),
            1 => ctx.with_name("n"),
            2 => ctx.with_timeout(1000 * SEC),
            _ => ctx.without_cancel(),
        };
    }
    assert_eq!(ctx.value::<Trace>(), Some(&Trace((DEPTH - 4).to_string())));
}

#[test]
fn s09_many_types_on_one_path() {
    // More types than any small inline table holds, so that the search meets collisions.
    struct Of<const N: usize>(usize);
    impl<const N: usize> Value for Of<N> {}
    fn put<const N: usize>(ctx: &Context) -> Context {
        ctx.with_value(Of::<N>(N))
    }
    fn found<const N: usize>(ctx: &Context) -> bool {
        ctx.value::<Of<N>>().is_some_and(|of| of.0 == N)
    }
    macro_rules! all {
        ($($n:literal)*) => {{
            let mut ctx = Context::background();
            $( assert!(!found::<$n>(&ctx)); ctx = put::<$n>(&ctx); assert!(found::<$n>(&ctx)); )*
            $( assert!(found::<$n>(&ctx), "lost {}", $n); )*
            ctx = ctx.with_value(User(1));
            $( assert!(found::<$n>(&ctx), "lost {}", $n); )*
        }};
    }
    all!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40
        41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78
        79 80);
}

#[test]
fn s09_a_merge_looks_left_then_right() {
    let root = Context::background();
    let left = root.with_value(User(1));
    let right = root.with_value(User(2)).with_value(Trace("right".into()));
    let both = left.merge(&right).with_name("below");
    assert_eq!(both.value::<User>(), Some(&User(1)));
    assert_eq!(both.value::<Trace>(), Some(&Trace("right".into())));
    let other = right.merge(&left);
    assert_eq!(other.value::<User>(), Some(&User(2)));
    assert!(both.value::<Absent>().is_none());
    // A value set below the merge shadows both sides.
    assert_eq!(both.with_value(User(3)).value::<User>(), Some(&User(3)));
}

#[test]
fn s09_a_value_is_dropped_with_the_last_context_that_can_see_it() {
    use std::sync::Arc;
    #[derive(Debug)]
    struct Held(#[expect(dead_code, reason = "held for its count")] Arc<()>);
    impl Value for Held {}
    let count = Arc::new(());
    let ctx = Context::background().with_value(Held(Arc::clone(&count)));
    let child = ctx.with_name("child");
    drop(ctx);
    assert_eq!(Arc::strong_count(&count), 2);
    let free = child.without_cancel();
    drop(child);
    assert_eq!(Arc::strong_count(&count), 2);
    drop(free);
    assert_eq!(Arc::strong_count(&count), 1);
}

#[test]
fn s09_a_value_may_be_of_any_size_and_alignment() {
    #[derive(Debug, PartialEq)]
    struct Nothing;
    impl Value for Nothing {}
    #[derive(Debug, PartialEq)]
    struct Byte(u8);
    impl Value for Byte {}
    #[derive(Debug, PartialEq)]
    #[repr(align(256))]
    struct Wide([u8; 1000]);
    impl Value for Wide {
        fn show(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "ends with {}", self.0[999])
        }
    }
    let ctx = Context::background().with_value(Wide([7; 1000])).with_value(Nothing).with_value(Byte(1));
    assert_eq!(ctx.value::<Nothing>(), Some(&Nothing));
    assert_eq!(ctx.value::<Byte>(), Some(&Byte(1)));
    let wide = ctx.value::<Wide>().expect("it is there");
    assert_eq!((wide, std::ptr::from_ref(wide).addr() % 256), (&Wide([7; 1000]), 0));
    assert_eq!(ctx.to_string(), "Background.WithValue(ends with 7).WithValue(Nothing).WithValue(Byte)");
}

#[test]
fn s09_a_value_whose_drop_panics_harms_no_other_value() {
    use std::sync::Arc;
    struct Held(#[expect(dead_code, reason = "held for its count")] Arc<()>);
    impl Value for Held {}
    struct Bomb(#[expect(dead_code, reason = "held for its count")] Arc<()>);
    impl Value for Bomb {}
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a bug of the user's");
        }
    }
    let count = Arc::new(());
    let ctx = Context::background().with_value(Held(Arc::clone(&count))).with_value(Bomb(Arc::clone(&count)));
    drop(ctx);
    assert_eq!(Arc::strong_count(&count), 1);
}

#[test]
fn s09_names_are_the_nearest() {
    let ctx = Context::background().with_name("outer");
    assert_eq!(ctx.name(), Some("outer"));
    let below = ctx.with_timeout(SEC).with_value(User(1));
    assert_eq!(below.name(), Some("outer"));
    assert_eq!(below.with_name(format!("inner-{}", 1)).name(), Some("inner-1"));
    assert_eq!(below.without_cancel().name(), Some("outer"));
}
