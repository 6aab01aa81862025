//! The scripts that read and change a queue. Redis runs each script as one step. The scripts read the server's clock.

use std::sync::LazyLock;

use crate::client::Script;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)+) => {
        $(
            $(#[$doc])*
            pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
                Script::new(concat!(include_str!("scripts/common.lua"), include_str!(concat!("scripts/", $file))))
            });
        )+
    };
}

scripts! {
    /// Adds jobs.
    SUBMIT = "submit.lua";
    /// Starts jobs that a worker has read.
    START = "start.lua";
    /// Ends runs of jobs.
    FINISH = "finish.lua";
    /// Returns jobs that a worker has read and not started.
    GIVE_BACK = "give_back.lua";
    /// Extends leases, and reports lost leases and cancels.
    EXTEND = "extend.lua";
    /// Cancels a job.
    CANCEL = "cancel.lua";
    /// Moves delayed jobs that are due to the waiting jobs.
    PROMOTE = "promote.lua";
    /// Removes workers that have ended.
    FORGET = "forget.lua";
    /// Lists jobs or dead letters.
    LIST = "list.lua";
    /// Makes dead letters wait again.
    RESEND = "resend.lua";
    /// Deletes dead letters.
    DELETE = "delete.lua";
    /// Counts jobs.
    STATS = "stats.lua";
}
