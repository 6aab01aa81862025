//! Sums over the widths of promises, for the price of a logarithm: a Fenwick tree that can be appended to.
//!
//! The sum at the number `n`, counted from one, is that of the last so many widths up to `n` as the lowest bit of `n` says.
//! Sums are modulo 2^64, so that widths can be taken away.

/// Widths by slot, in the order of appending.
#[derive(Debug, Default)]
pub(super) struct Widths {
    sums: Vec<u64>,
}

impl Widths {
    pub(super) fn len(&self) -> usize {
        self.sums.len()
    }

    pub(super) fn clear(&mut self) {
        self.sums.clear();
    }

    /// Appends a width; returns its slot.
    pub(super) fn push(&mut self, width: u64) -> usize {
        let slot = self.sums.len();
        let first = slot + 1 - lowest_bit(slot + 1);
        self.sums.push(width.wrapping_add(self.before(slot)).wrapping_sub(self.before(first)));
        slot
    }

    /// Makes the width at `slot` larger by `by`.
    pub(super) fn add(&mut self, slot: usize, by: u64) {
        let mut number = slot + 1;
        while let Some(sum) = self.sums.get_mut(number - 1) {
            *sum = sum.wrapping_add(by);
            number += lowest_bit(number);
        }
    }

    /// Makes the width at `slot` smaller by `by`.
    pub(super) fn take(&mut self, slot: usize, by: u64) {
        self.add(slot, by.wrapping_neg());
    }

    /// The sum of the widths at the slots before `slot`.
    pub(super) fn before(&self, slot: usize) -> u64 {
        let (mut sum, mut number) = (0u64, slot);
        while number > 0 {
            sum = sum.wrapping_add(self.sums[number - 1]);
            number -= lowest_bit(number);
        }
        sum
    }
}

fn lowest_bit(number: usize) -> usize {
    number & number.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::Widths;

    #[test]
    fn sums_are_those_of_a_plain_list() {
        let (mut widths, mut plain) = (Widths::default(), Vec::new());
        for step in 0u64..200 {
            assert_eq!(widths.push(step * 7 % 13), plain.len());
            plain.push(step * 7 % 13);
            let (more, less) = ((step * 31 % (step + 1)) as usize, (step * 17 % (step + 1)) as usize);
            widths.add(more, step);
            plain[more] += step;
            widths.take(less, plain[less]);
            plain[less] = 0;
            for slot in 0..=plain.len() {
                assert_eq!(widths.before(slot), plain[..slot].iter().sum::<u64>());
            }
        }
    }
}
