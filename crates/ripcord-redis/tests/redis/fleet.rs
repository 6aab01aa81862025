//! The reports of a fleet.

use std::time::Duration;

use ripcord::{Context, block_on};
use ripcord_redis::{Client, Fleet};

use crate::server::{PATIENCE, Server, client, patient, until};

pub(crate) fn reports_of_all_members_are_read_until_they_end() {
    let server = Server::start();
    let fleet = |name: &str| Fleet::new(&patient(Client::builder().url(server.url()).name(name)));
    let (shop, mail) = (fleet("shop"), fleet("mail"));
    let ctx = Context::background();
    let names = || {
        let members = block_on(shop.members::<u32>(&ctx)).expect("the server runs");
        members.into_iter().map(|member| (member.name, member.report)).collect::<Vec<_>>()
    };
    let publish = |fleet: &Fleet, report: u32, lifetime| {
        block_on(fleet.publish(&ctx, &report, lifetime)).expect("the server runs");
    };
    publish(&shop, 1, PATIENCE);
    publish(&mail, 2, PATIENCE * 2);
    publish(&shop, 3, PATIENCE);
    assert_eq!(names(), [("shop".to_owned(), 3), ("mail".to_owned(), 2)]);
    block_on(mail.leave(&ctx)).expect("the server runs");
    assert_eq!(names(), [("shop".to_owned(), 3)]);
    publish(&mail, 4, Duration::from_millis(1));
    until("the report ends", || names() == [("shop".to_owned(), 3)]);
}

pub(crate) fn report_that_is_too_long_is_refused() {
    let server = Server::start();
    let fleet = Fleet::new(&client(&server));
    let ctx = Context::background();
    let report = "x".repeat(1 << 20);
    let error = block_on(fleet.publish(&ctx, &report, PATIENCE)).unwrap_err();
    assert_eq!(error.to_string(), "publish: report must be at most 1048576 bytes of JSON, got 1048578");
}

pub(crate) fn report_with_the_longest_lifetime_is_kept() {
    let server = Server::start();
    let fleet = Fleet::new(&Client::builder().url(server.url()).build().expect("valid settings"));
    let ctx = Context::background();
    block_on(fleet.publish(&ctx, &1, Duration::MAX)).expect("the server runs");
    assert_eq!(block_on(fleet.members::<u32>(&ctx)).expect("the server runs").len(), 1);
}
