//! What definitions have come to for an event: many conditions name the same, and each is worked out once.

use std::cell::Cell;

/// See the module. Definitions are told apart by their numbers.
#[derive(Debug, Default)]
pub struct Answers {
    /// Bits of those that were worked out.
    known: Cell<u128>,
    /// Bits of those that hold.
    holding: Cell<u128>,
}

impl Answers {
    /// Whether a definition holds; `ask` works it out. Those with a number above 127 are not remembered.
    pub(super) fn get(&self, number: usize, ask: impl FnOnce() -> bool) -> bool {
        let Some(bit) = u32::try_from(number)
            .ok()
            .and_then(|number| 1_u128.checked_shl(number))
        else {
            return ask();
        };
        if self.known.get() & bit != 0 {
            return self.holding.get() & bit != 0;
        }
        let holds = ask();
        self.known.set(self.known.get() | bit);
        if holds {
            self.holding.set(self.holding.get() | bit);
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_once() {
        let answers = Answers::default();
        for number in [0, 5, 127] {
            for holds in [true, false] {
                let number = number + usize::from(holds);
                let asked = Cell::new(0);
                let ask = || {
                    asked.set(asked.get() + 1);
                    holds
                };
                assert_eq!(answers.get(number, ask), holds);
                assert_eq!(answers.get(number, ask), holds);
                assert_eq!(asked.get(), if number > 127 { 2 } else { 1 }, "{number}");
            }
        }
    }
}
