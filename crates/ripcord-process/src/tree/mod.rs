//! The processes of one command, and the signals to them.
//!
//! 1. The command's own process, the leader, is not reaped while a [`Tree`] exists. So its process ID, which is also the ID of its
//!    group, is not reused, and a signal to the group reaches no unrelated process.
//! 2. Every other process is signaled through a pidfd that was opened before the last check of the process. So a reused process ID
//!    leads to no unrelated process.
//! 3. A process may fork while it is read, and every search may miss a chain of processes that fork and exit. One signal reaches
//!    all processes of a group. If all processes below this process belong to the command, the end is certain: orphans become
//!    children of this process before their parents are reaped, so some link of the chain is always in this process's list of
//!    children. Otherwise, the command has ended when several consecutive searches find no process.

mod stat;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{self, Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions};

use crate::signal::Signal;
use stat::Stat;

/// The variable with the marks of the commands that a process belongs to.
pub(crate) const MARK: &str = "RIPCORD_COMMAND";

/// The number of consecutive searches that must find no process, if a single search is not certain.
const LOOKS: usize = 3;
/// The maximum number of searches for a process that must exist.
const MAX_LOOKS: usize = 1000;
/// The maximum number of generations of children to kill in one call.
const MAX_FORKS: usize = 10_000;

/// A process that a command left running, or that could not be ended. Returned by
/// [`Exit::left_behind`](crate::Exit::left_behind) and [`Exit::survivors`](crate::Exit::survivors).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pid: u32,
    name: String,
}

impl Process {
    /// Returns the process ID.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Returns the name of the process, as in `/proc/PID/comm`: usually the file name of the program, cut to 15 bytes. Bytes that
    /// are not UTF-8 are replaced.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name.escape_debug(), self.pid)
    }
}

/// A process of the tree, except the leader.
///
/// A member holds no descriptor, because a command may have more processes than this process may have descriptors.
pub(crate) struct Member {
    stat: Stat,
}

impl Member {
    pub(crate) fn id(&self) -> (Pid, u64) {
        (self.stat.pid, self.stat.start)
    }

    pub(crate) fn describe(&self) -> Process {
        Process { pid: self.stat.pid.as_raw_pid().unsigned_abs(), name: self.stat.name.clone() }
    }

    /// Sends a signal. Returns `false` if this process lacks the permission.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        // A process that has exited needs no signal.
        let Some(pidfd) = self.open() else { return true };
        process::pidfd_send_signal(&pidfd, signal.to_rustix()) != Err(Errno::PERM)
    }

    /// Opens the process. Returns `None` if the process has exited meanwhile, or if no descriptor is free.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let pidfd = process::pidfd_open(self.stat.pid, PidfdFlags::NONBLOCK).ok()?;
        // Invariant 2.
        let again = Stat::read(self.stat.pid)?;
        (again.start == self.stat.start && !again.is_zombie).then_some(pidfd)
    }
}

/// The processes that belong to the command besides the leader, its group and its descendants.
#[derive(Debug)]
pub(crate) enum Scope {
    /// All processes that were started with this mark in their environment.
    Marked(Vec<u8>),
    /// All processes below this process, except the processes in `before`, which existed before the command.
    AllBelow { before: HashSet<(Pid, u64)> },
}

impl Scope {
    /// Returns a scope of all processes below this process that start from now on. Makes this process the parent of its
    /// descendants' orphans.
    pub(crate) fn all_below() -> io::Result<Scope> {
        let itself = process::getpid();
        process::set_child_subreaper(Some(itself))?;
        let all = stat::all().unwrap_or_default();
        let children = all.iter().filter(|stat| stat.parent == itself.as_raw_pid());
        Ok(Scope::AllBelow { before: children.map(|stat| (stat.pid, stat.start)).collect() })
    }
}

/// The processes of one command. See the module's documentation for the invariants.
#[derive(Debug)]
pub(crate) struct Tree {
    leader: Pid,
    /// The start of the leader. Older processes do not belong to this command.
    start: u64,
    has_own_group: bool,
    scope: Scope,
    /// All members that were ever found.
    seen: HashSet<(Pid, u64)>,
    /// Whether the group was sent `SIGTERM`, and the other members that were sent it.
    is_group_asked: bool,
    asked: HashSet<(Pid, u64)>,
    /// Whether the command is being killed, and whether the kill began before the leader exited.
    is_killing: bool,
    is_leader_killed: bool,
}

impl Tree {
    /// Creates the tree of a process that was just started and is not reaped.
    pub(crate) fn new(leader: Pid, has_own_group: bool, scope: Scope) -> Tree {
        let start = Stat::read(leader).map_or(0, |stat| stat.start);
        Tree {
            leader,
            start,
            has_own_group,
            scope,
            seen: HashSet::new(),
            is_group_asked: false,
            asked: HashSet::new(),
            is_killing: false,
            is_leader_killed: false,
        }
    }

    /// Sends a signal to the command's group. If the command has no own group, sends it to the leader and to the members in the
    /// leader's group.
    pub(crate) fn signal_group(&mut self, signal: Signal) -> io::Result<()> {
        let sent = match self.has_own_group {
            true => process::kill_process_group(self.leader, signal.to_rustix()),
            false => process::kill_process(self.leader, signal.to_rustix()),
        };
        let others = if self.has_own_group { Vec::new() } else { self.members().unwrap_or_default() };
        let group = self.group();
        for member in others.iter().filter(|member| member.stat.group == group) {
            member.signal(signal);
            if signal == Signal::TERM {
                self.asked.insert(member.id());
            }
        }
        self.is_group_asked |= self.has_own_group && signal == Signal::TERM;
        match sent {
            // The leader may have left its group.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a signal that should end the command to its group. Continues stopped processes, so that they receive the signal.
    pub(crate) fn ask_to_end(&mut self, signal: Signal) -> io::Result<()> {
        let sent = self.signal_group(signal);
        let _the_same = self.signal_group(Signal::CONT);
        sent
    }

    /// Sends `SIGTERM` to the members that have not received it with their group.
    pub(crate) fn ask_members_to_end(&mut self, members: &[Member]) {
        for member in members {
            let is_in_group = self.is_group_asked && member.stat.group == self.group();
            if !is_in_group && self.asked.insert(member.id()) {
                member.signal(Signal::TERM);
                member.signal(Signal::CONT);
            }
        }
    }

    /// Returns the group that the command was started in.
    fn group(&self) -> i32 {
        if self.has_own_group { self.leader.as_raw_pid() } else { process::getpgrp().as_raw_pid() }
    }

    /// Kills the command: sends `SIGKILL` to the leader, and to the command's own group, if any.
    pub(crate) fn kill_group(&mut self) {
        self.is_killing = true;
        // The leader may have exited before, or another process may have killed it, and it may not be reaped yet.
        self.is_leader_killed |= has_exited(WaitId::Pid(self.leader)).is_ok_and(|exited| !exited);
        self.send_kill();
    }

    /// Sends `SIGKILL` to the remaining processes of the group.
    pub(crate) fn send_kill(&self) {
        if self.has_own_group {
            let _none_left = process::kill_process_group(self.leader, Signal::KILL.to_rustix());
        }
        let _exited = process::kill_process(self.leader, Signal::KILL.to_rustix());
    }

    /// Returns whether the leader was killed before it exited, and whether any process was killed.
    pub(crate) fn killed(&self) -> (bool, bool) {
        (self.is_leader_killed, self.is_killing)
    }

    /// Sends `SIGKILL` to the leader, its group and every member. Returns the members.
    pub(crate) fn kill(&mut self) -> io::Result<Vec<Member>> {
        self.kill_group();
        self.kill_children();
        let members = self.members()?;
        for member in &members {
            member.signal(Signal::KILL);
        }
        Ok(members)
    }

    /// Searches for the processes of the command except the leader. Reaps the processes that have exited.
    pub(crate) fn members(&mut self) -> io::Result<Vec<Member>> {
        for looks in 1..=MAX_LOOKS {
            let members = self.look()?;
            if !members.is_empty() || self.is_certain(looks) {
                return Ok(members);
            }
        }
        // There are children that no search has found.
        self.kill_children();
        Ok(Vec::new())
    }

    fn look(&mut self) -> io::Result<Vec<Member>> {
        let all = stat::all()?;
        let mut members = Vec::new();
        for stat in self.find(&all) {
            let member = Member { stat: stat.clone() };
            self.seen.insert(member.id());
            members.push(member);
        }
        all.iter().filter(|stat| self.is_to_be_reaped(stat)).for_each(|stat| {
            let _gone = process::waitpid(Some(stat.pid), WaitOptions::NOHANG);
        });
        Ok(members)
    }

    /// Returns whether no process can be left after this number of searches that have found none (invariant 3).
    fn is_certain(&self, looks: usize) -> bool {
        match &self.scope {
            // Without the kernel's list of children, several searches must suffice.
            Scope::AllBelow { before } => self.children(before).map_or(looks >= LOOKS, |children| children.is_empty()),
            Scope::Marked(_) => !self.is_killing || looks >= LOOKS,
        }
    }

    /// Returns the children of this process that belong to the command, except the leader. The list includes children that have
    /// exited.
    fn children(&self, before: &HashSet<(Pid, u64)>) -> io::Result<Vec<Pid>> {
        let mut children = stat::own_children()?;
        children.retain(|child| {
            *child != self.leader
                && !before
                    .iter()
                    .any(|(pid, start)| pid == child && Stat::read(*pid).is_some_and(|stat| stat.start == *start))
        });
        Ok(children)
    }

    /// Kills and reaps the children of this process that belong to the command, until there are no new children. This loop is
    /// faster than a process can fork.
    fn kill_children(&mut self) {
        let Scope::AllBelow { before } = &self.scope else { return };
        let mut killed = HashSet::new();
        for _ in 0..MAX_FORKS {
            let children = self.children(before).unwrap_or_default();
            if children.iter().filter(|child| killed.insert(**child)).count() == 0 {
                return;
            }
            for child in children {
                // The child is not reaped, so its process ID is not reused.
                let _refused = process::kill_process(child, Signal::KILL.to_rustix());
                let _running = process::waitpid(Some(child), WaitOptions::NOHANG);
            }
        }
    }

    /// Reaps the inherited orphans that have exited.
    pub(crate) fn reap_orphans(&mut self) {
        let _without_proc = self.members();
    }

    /// Returns the processes of the command among `all`, except the leader.
    fn find<'a>(&self, all: &'a [Stat]) -> Vec<&'a Stat> {
        let itself = process::getpid();
        let mut below: HashMap<i32, Vec<&Stat>> = HashMap::new();
        for stat in all {
            below.entry(stat.parent).or_default().push(stat);
        }
        let is_root = |stat: &Stat| {
            stat.pid == self.leader
                || self.has_own_group && stat.group == self.leader.as_raw_pid()
                || self.seen.contains(&(stat.pid, stat.start))
                || match &self.scope {
                    Scope::AllBelow { before } => {
                        stat.parent == itself.as_raw_pid() && !before.contains(&(stat.pid, stat.start))
                    }
                    // An older process has another mark, so its environment is not read.
                    Scope::Marked(mark) => {
                        stat.start >= self.start
                            && stat::has_variable(stat.pid, MARK, |marks| {
                                marks.split(|byte| *byte == b' ').any(|other| other == mark)
                            })
                    }
                }
        };
        let mut found = HashSet::from([itself]);
        let mut queue: Vec<&Stat> = all.iter().filter(|stat| is_root(stat)).collect();
        let mut members = Vec::new();
        while let Some(stat) = queue.pop() {
            if found.insert(stat.pid) {
                queue.extend(below.get(&stat.pid.as_raw_pid()).into_iter().flatten());
                if stat.pid != self.leader && !stat.is_zombie {
                    members.push(stat);
                }
            }
        }
        // Parents are signaled first, because a killed parent starts no more children. They were usually started earlier.
        members.sort_by_key(|stat| (stat.start, stat.pid.as_raw_pid()));
        members
    }

    /// Returns whether this is an inherited orphan that has exited.
    fn is_to_be_reaped(&self, stat: &Stat) -> bool {
        let is_orphan = match &self.scope {
            Scope::AllBelow { .. } => true,
            Scope::Marked(_) => self.seen.contains(&(stat.pid, stat.start)),
        };
        is_orphan && stat.is_zombie && stat.pid != self.leader && stat.parent == process::getpid().as_raw_pid()
    }
}

/// Returns whether a child has exited. Does not reap the child.
pub(crate) fn has_exited(child: WaitId<'_>) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(process::waitid(child, options)?.is_some())
}
