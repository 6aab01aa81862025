use super::{Line, Rival, TOKIO, Target, Verdict};
use crate::harness::{Figure, Measured};

fn line(ours: f64, rivals: f64, floor: f64, target: Target) -> Line {
    let figure = |value| Figure::from_iter([value]);
    Line::time(
        "C1",
        "call",
        Measured::new(figure(ours), figure(rivals)).with_floor("load", figure(floor)),
        TOKIO,
        target,
    )
}

#[test]
fn both_targets_reached_holds() {
    assert_eq!(line(10.0, 30.0, 5.0, Target::Ratio(3.0)).within_floor(2.0).verdict(), Verdict::Holds);
}

#[test]
fn each_missed_target_is_named() {
    let verdict = |ours, rivals, floor| line(ours, rivals, floor, Target::Ratio(3.0)).within_floor(2.0).verdict();
    assert_eq!(verdict(10.0, 29.0, 5.0), Verdict::FallsShort { rival: true, floor: false });
    assert_eq!(verdict(10.0, 30.0, 4.9), Verdict::FallsShort { rival: false, floor: true });
    assert_eq!(verdict(10.0, 29.0, 4.9), Verdict::FallsShort { rival: true, floor: true });
}

#[test]
fn line_at_its_floor_holds_whatever_the_rival_costs() {
    assert_eq!(line(10.0, 1.0, 10.0, Target::Ratio(3.0)).within_floor(2.0).verdict(), Verdict::AtFloor);
}

#[test]
fn rival_that_did_not_run_gives_no_verdict() {
    let mut line = line(10.0, 1.0, 1.0, Target::NoWorse(0.05));
    line.measured.rivals = Figure::default();
    line.rival = Rival { name: "Go", missing: Some("no go on the PATH".to_owned()) };
    assert_eq!(line.verdict(), Verdict::NotRun("no go on the PATH".to_owned()));
}

#[test]
fn no_worse_allows_its_tolerance_and_no_more() {
    assert_eq!(line(10.9, 10.0, 1.0, Target::NoWorse(0.10)).verdict(), Verdict::Holds);
    assert_eq!(
        line(11.1, 10.0, 1.0, Target::NoWorse(0.10)).verdict(),
        Verdict::FallsShort { rival: true, floor: false }
    );
}

#[test]
fn share_of_the_rivals_bytes_is_the_inverse_of_the_ratio() {
    assert_eq!(line(65.0, 100.0, 1.0, Target::Within(0.65)).verdict(), Verdict::Holds);
    assert_eq!(
        line(66.0, 100.0, 1.0, Target::Within(0.65)).verdict(),
        Verdict::FallsShort { rival: true, floor: false }
    );
}
