//! A hierarchical timing wheel: insert and remove take constant time for any number of deadlines.
//!
//! Time is divided into ticks of 2^13 ns (8 µs). Level 0 has 64 slots of one tick, level 1 has 64 slots of 64 ticks, and so on:
//! nine levels cover all of an `i64`. A deadline goes to the level of the highest group of six bits in which its tick differs
//! from the current tick. So all occupied slots of a level are ahead of the current slot, and the lowest occupied level holds
//! the earliest deadline. When time reaches a slot of a higher level, the entries of the slot move down.
//!
//! After Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987).

use crate::slab::key_of;

const TICK_BITS: u32 = 13;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 9;
const NONE: u32 = u32::MAX;
/// From this number on, the value of `Entry::previous` is a list.
const FIRST: u32 = NONE - LISTS as u32;
/// The lists in addition to the lists of the slots: the entries that are due, and the entries that move down.
const DUE: usize = LEVELS * SLOTS;
const MOVING: usize = DUE + 1;
const LISTS: usize = MOVING + 1;
/// Maximum number of entries that one call moves down, so that no thread waits long for the lock.
const MOVES: usize = 256;
/// Number of entries for which an emptied wheel keeps room.
const KEEP: usize = 4096;

/// An item with a deadline.
pub(crate) trait Timed {
    /// Returns when the item is due. The time does not change while the item is in a queue. This is called only while the item
    /// is in a queue, under the lock that guards the queue.
    fn when(&self) -> i64;
}

/// The result of `pop_due`.
pub(crate) enum Due<T> {
    Entry(T),
    /// A bounded part of the work is done, and no entry was found yet. The caller has to call again.
    Busy,
    /// No entry is due before this time.
    Later(i64),
}

/// Deadlines by the tick at which they are due.
pub(crate) struct Wheel<T> {
    /// All ticks before this tick have been processed.
    elapsed: u64,
    /// The first entry of each list.
    heads: [u32; LISTS],
    /// Per level, a bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
}

/// An entry. It does not store its tick, because its target stores the deadline. So a million deadlines take less memory (row
/// C18).
struct Entry<T> {
    target: Option<T>,
    /// The previous entry in the list. For the first entry, `FIRST` plus the number of the list.
    previous: u32,
    next: u32,
}

impl<T: Timed> Wheel<T> {
    pub(crate) fn new() -> Self {
        Wheel { elapsed: 0, heads: [NONE; LISTS], occupied: [0; LEVELS], entries: Vec::new(), free: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, target: T) -> u32 {
        let tick = tick_of(target.when());
        let entry = Entry { target: Some(target), previous: NONE, next: NONE };
        let key = if self.free == NONE {
            // Numbers from `FIRST` on are lists.
            let key = key_of(self.entries.len(), FIRST);
            self.entries.push(entry);
            key
        } else {
            let key = self.free;
            self.free = self.entries[key as usize].next;
            self.entries[key as usize] = entry;
            key
        };
        self.len += 1;
        self.place(key, tick);
        key
    }

    pub(crate) fn remove(&mut self, key: u32) {
        self.unlink(key);
        self.release(key);
    }

    pub(crate) fn pop_due(&mut self, now: i64) -> Due<T> {
        let now_tick = now.max(0) as u64 >> TICK_BITS;
        loop {
            let due = self.heads[DUE];
            if due != NONE {
                self.unlink(due);
                return self.release(due).map_or(Due::Busy, Due::Entry);
            }
            if self.heads[MOVING] != NONE {
                self.move_down();
                if self.heads[MOVING] != NONE {
                    return Due::Busy;
                }
                continue;
            }
            match self.first_slot() {
                Some((level, slot, start)) if start <= now_tick => self.open(level, slot, start),
                later => {
                    self.elapsed = self.elapsed.max(now_tick);
                    return Due::Later(later.map_or(i64::MAX, |(.., start)| moment(start)));
                }
            }
        }
    }

    pub(crate) fn next(&self) -> Option<i64> {
        if self.heads[DUE] != NONE || self.heads[MOVING] != NONE {
            return Some(moment(self.elapsed));
        }
        self.first_slot().map(|(.., start)| moment(start))
    }

    /// Returns the level and the number of the earliest slot in use, and the first tick of the slot.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = level as u32 * LEVEL_BITS;
        // The bit groups above this level are those of the current tick. The bit groups below are zero at the slot's first
        // tick.
        let above = self.elapsed >> shift >> LEVEL_BITS << LEVEL_BITS;
        Some((level, slot, (above | slot as u64) << shift))
    }

    /// Empties a slot whose time has come. The entries of the slot are due, or move down.
    fn open(&mut self, level: usize, slot: usize, start: u64) {
        self.elapsed = start;
        self.occupied[level] &= !(1 << slot);
        let list = level * SLOTS + slot;
        let to = if level == 0 { DUE } else { MOVING };
        self.heads[to] = std::mem::replace(&mut self.heads[list], NONE);
        // Only the first entry of a list stores the list's number. Another entry gets it when it becomes the first.
        if let Some(first) = self.entries.get_mut(self.heads[to] as usize) {
            first.previous = FIRST + to as u32;
        }
    }

    fn move_down(&mut self) {
        for _ in 0..MOVES {
            let key = self.heads[MOVING];
            if key == NONE {
                return;
            }
            self.unlink(key);
            if let Some(target) = &self.entries[key as usize].target {
                let tick = tick_of(target.when());
                self.place(key, tick);
            }
        }
    }

    /// Puts an entry into the list of its tick.
    fn place(&mut self, key: u32, tick: u64) {
        let list = if tick <= self.elapsed {
            DUE
        } else {
            let differ = tick ^ self.elapsed;
            let level = ((63 - differ.leading_zeros()) / LEVEL_BITS) as usize;
            let slot = (tick >> (level as u32 * LEVEL_BITS)) as usize % SLOTS;
            self.occupied[level] |= 1 << slot;
            level * SLOTS + slot
        };
        let next = std::mem::replace(&mut self.heads[list], key);
        let entry = &mut self.entries[key as usize];
        (entry.previous, entry.next) = (FIRST + list as u32, next);
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = key;
        }
    }

    fn unlink(&mut self, key: u32) {
        let Entry { previous, next, .. } = self.entries[key as usize];
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = previous;
        }
        if previous < FIRST {
            self.entries[previous as usize].next = next;
            return;
        }
        let list = (previous - FIRST) as usize;
        self.heads[list] = next;
        if next == NONE && list < DUE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    /// Frees the slot of an entry. If a large wheel becomes empty, frees the memory of the wheel.
    fn release(&mut self, key: u32) -> Option<T> {
        let entry = &mut self.entries[key as usize];
        entry.next = std::mem::replace(&mut self.free, key);
        let target = entry.target.take();
        self.len -= 1;
        if self.len == 0 && self.entries.capacity() > KEEP {
            (self.entries, self.free) = (Vec::new(), NONE);
        }
        target
    }
}

/// Returns the tick at which a deadline is due. The tick is rounded up, so it is never before the deadline.
fn tick_of(when: i64) -> u64 {
    (when.max(0) as u64).saturating_add((1 << TICK_BITS) - 1) >> TICK_BITS
}

/// Returns the first moment of a tick.
fn moment(tick: u64) -> i64 {
    i64::try_from(tick << TICK_BITS).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A deadline and a name.
    struct Named(i64, u64);

    impl Timed for Named {
        fn when(&self) -> i64 {
            self.0
        }
    }

    /// Takes out all entries that are due at `now`, and returns their names.
    fn pop_all(wheel: &mut Wheel<Named>, now: i64) -> Vec<u64> {
        let mut due = Vec::new();
        loop {
            match wheel.pop_due(now) {
                Due::Entry(Named(_, name)) => due.push(name),
                Due::Busy => {}
                Due::Later(next) => {
                    assert!(next > now);
                    return due;
                }
            }
        }
    }

    #[test]
    fn never_early_and_at_most_a_tick_late() {
        const TICK: i64 = 1 << TICK_BITS;
        for when in [0, 1, TICK, TICK + 1, 64 * TICK, 5_000_000_000, 1 << 50, i64::MAX / 2] {
            let mut wheel = Wheel::new();
            wheel.insert(Named(when, 1));
            if when > 0 {
                assert_eq!(pop_all(&mut wheel, when - 1), []);
            }
            assert_eq!(pop_all(&mut wheel, when + TICK), [1]);
        }
    }

    #[test]
    fn agrees_with_a_sorted_list_under_random_use() {
        // A fixed seed: splitmix64.
        let mut seed = 0x5EED_u64;
        let mut random = move || {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed ^ (mixed >> 27)
        };
        let mut wheel = Wheel::new();
        let mut model: Vec<(i64, u64, u32)> = Vec::new();
        let mut now: i64 = 0;
        for name in 0..200_000 {
            match random() % 4 {
                0 | 1 => {
                    let when = now + (random() % (1 << (random() % 40))) as i64;
                    model.push((when, name, wheel.insert(Named(when, name))));
                }
                2 if !model.is_empty() => {
                    let (.., key) = model.swap_remove(random() as usize % model.len());
                    wheel.remove(key);
                }
                _ => {
                    now += (random() % (1 << (random() % 36))) as i64;
                    let due = pop_all(&mut wheel, now);
                    let tick = |when: i64| (when + (1 << TICK_BITS) - 1) >> TICK_BITS;
                    let mut expected: Vec<u64> = model
                        .iter()
                        .filter(|(when, ..)| tick(*when) <= now >> TICK_BITS)
                        .map(|(_, name, _)| *name)
                        .collect();
                    model.retain(|(when, ..)| tick(*when) > now >> TICK_BITS);
                    let mut sorted = due.clone();
                    sorted.sort_unstable();
                    expected.sort_unstable();
                    assert_eq!(sorted, expected);
                }
            }
        }
    }
}
