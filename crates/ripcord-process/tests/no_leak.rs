//! Commands leave no children and no descriptors in this process. The file has only one test, because another test would have its
//! own children and descriptors.
#![cfg(target_os = "linux")]

mod common;

use common::bounded;
use ripcord::Context;
use ripcord_process::Command;

#[tokio::test]
async fn quick_commands_leave_no_zombie_and_no_descriptor() {
    let ctx = Context::background();
    bounded(Command::new("true").output(&ctx)).await.unwrap();
    let before = common::descriptors();
    for _ in 0..200 {
        assert!(bounded(Command::new("true").output(&ctx)).await.unwrap().exit.success());
    }
    assert_eq!(common::descriptors(), before);
    assert_eq!(common::zombies(), 0);
}
