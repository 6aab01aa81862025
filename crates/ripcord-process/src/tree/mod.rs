//! The processes of one command, and the signals to them.
//!
//! 1. The command's own process, the leader, is not reaped while a [`Tree`] exists. So its number, which is also the number of
//!    its group, belongs to nobody else, and a signal to the group reaches no unrelated process.
//! 2. Every other process is signaled through a pidfd that was opened before the process was looked at for the last time. So
//!    a number that has been reused reaches no unrelated process.
//! 3. A process may fork while it is looked at, and a chain of processes that fork and exit may be missed by every look. In a
//!    group, one signal reaches all of them. If all below this process belongs to the command, the end is certain: orphans
//!    become children of this process before their parents are reaped, so some link of a chain is always in its list of
//!    children. Otherwise, the command has ended when several looks in a row find nothing.

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

/// How many looks in a row must find nothing where no single look is certain.
const LOOKS: usize = 3;
/// How often to look for a process that is known to be there.
const MAX_LOOKS: usize = 1000;
/// How many generations of children to kill in one go.
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

/// A process of the tree other than the leader.
///
/// It holds no descriptor: a command may have more processes than this process may have descriptors.
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

    /// Sends a signal. Returns `false` if this process may not be signaled.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        // One that has exited needs no signal.
        let Some(pidfd) = self.open() else { return true };
        process::pidfd_send_signal(&pidfd, signal.to_rustix()) != Err(Errno::PERM)
    }

    /// Opens the process. `None` if it has exited meanwhile, or if there is no descriptor to be had.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let pidfd = process::pidfd_open(self.stat.pid, PidfdFlags::NONBLOCK).ok()?;
        // Invariant 2.
        let again = Stat::read(self.stat.pid)?;
        (again.start == self.stat.start && !again.is_zombie).then_some(pidfd)
    }
}

/// Which processes belong to the command, beside the leader, its group and its descendants.
#[derive(Debug)]
pub(crate) enum Scope {
    /// Those that were started with this mark in their environment.
    Marked(Vec<u8>),
    /// Everything below this process, except what was there before.
    AllBelow { before: HashSet<(Pid, u64)> },
}

impl Scope {
    /// Everything below this process from now on. Makes it the parent of its descendants' orphans.
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
    /// When the leader was started: whatever is older is not of this command.
    start: u64,
    has_own_group: bool,
    scope: Scope,
    /// Every member that was ever found.
    seen: HashSet<(Pid, u64)>,
    /// Whether the group was sent `SIGTERM`, and the other members that were.
    is_group_asked: bool,
    asked: HashSet<(Pid, u64)>,
    /// Whether the command is being killed, and whether that began before the leader had exited.
    is_killing: bool,
    is_leader_killed: bool,
}

impl Tree {
    /// The tree of a process that was just started and is not reaped.
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

    /// Sends a signal to the command's group. Without a group of its own, to the leader and to the members of its group.
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

    /// Sends a signal that should end the command to its group, and continues what is stopped, so that it sees the signal.
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

    /// Kills the command: sends `SIGKILL` to the leader, and to its group if that is its own.
    pub(crate) fn kill_group(&mut self) {
        self.is_killing = true;
        // It may have exited on its own, or been killed by somebody else, and not be reaped yet.
        self.is_leader_killed |= has_exited(WaitId::Pid(self.leader)).is_ok_and(|exited| !exited);
        self.send_kill();
    }

    /// Sends `SIGKILL` to what may be left of the group.
    pub(crate) fn send_kill(&self) {
        if self.has_own_group {
            let _none_left = process::kill_process_group(self.leader, Signal::KILL.to_rustix());
        }
        let _exited = process::kill_process(self.leader, Signal::KILL.to_rustix());
    }

    /// Returns whether the leader was killed before it had exited, and whether anything was.
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

    /// Looks for the processes of the command other than the leader, and reaps those that have exited.
    pub(crate) fn members(&mut self) -> io::Result<Vec<Member>> {
        for looks in 1..=MAX_LOOKS {
            let members = self.look()?;
            if !members.is_empty() || self.is_certain(looks) {
                return Ok(members);
            }
        }
        // There are children that no look has found.
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

    /// Returns whether nothing can be left after so many looks that have found nothing (invariant 3).
    fn is_certain(&self, looks: usize) -> bool {
        match &self.scope {
            // Without the kernel's lists, several looks must do.
            Scope::AllBelow { before } => self.children(before).map_or(looks >= LOOKS, |children| children.is_empty()),
            Scope::Marked(_) => !self.is_killing || looks >= LOOKS,
        }
    }

    /// The children of this process that belong to the command, other than the leader. Those that have exited are among them.
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

    /// Kills and reaps the children of this process until there are no new ones, if they belong to the command. That is faster
    /// than a process can fork.
    fn kill_children(&mut self) {
        let Scope::AllBelow { before } = &self.scope else { return };
        let mut killed = HashSet::new();
        for _ in 0..MAX_FORKS {
            let children = self.children(before).unwrap_or_default();
            if children.iter().filter(|child| killed.insert(**child)).count() == 0 {
                return;
            }
            for child in children {
                // It is not reaped, so its number is its own.
                let _refused = process::kill_process(child, Signal::KILL.to_rustix());
                let _running = process::waitpid(Some(child), WaitOptions::NOHANG);
            }
        }
    }

    /// Reaps the orphans that this process has inherited and that have exited.
    pub(crate) fn reap_orphans(&mut self) {
        let _without_proc = self.members();
    }

    /// The processes of the command among `all`, other than the leader.
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
                    // What is older has another mark, so that it need not be read.
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
        // Parents mostly have lower numbers, and are signaled first: a parent that is gone starts no more children.
        members.sort_by_key(|stat| (stat.start, stat.pid.as_raw_pid()));
        members
    }

    /// Returns whether this is an orphan that this process has inherited and that has exited.
    fn is_to_be_reaped(&self, stat: &Stat) -> bool {
        let is_orphan = match &self.scope {
            Scope::AllBelow { .. } => true,
            Scope::Marked(_) => self.seen.contains(&(stat.pid, stat.start)),
        };
        is_orphan && stat.is_zombie && stat.pid != self.leader && stat.parent == process::getpid().as_raw_pid()
    }
}

/// Returns whether a child has exited, and leaves it to be reaped.
pub(crate) fn has_exited(child: WaitId<'_>) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(process::waitid(child, options)?.is_some())
}
