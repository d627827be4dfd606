//! What conditions can use beside the fields of events: what the policy defines.

use std::{collections::HashMap, sync::Arc};

use hashbrown::HashSet;

/// What conditions can use beside the fields of events.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Lists by their names.
    pub lists: HashMap<String, Arc<Words>>,
    /// Lists of numbers by their names.
    pub numbers: HashMap<String, Arc<[i64]>>,
    /// Further conditions by their names.
    pub definitions: HashMap<String, Definition>,
    /// Kinds of events that a condition is asked of; all when empty.
    pub events: Vec<String>,
}

/// A condition with a name.
#[derive(Clone, Debug)]
pub struct Definition {
    /// In CEL.
    pub text: Arc<str>,
    /// Tells it apart from the other definitions of its set.
    pub number: usize,
}

/// A list of texts that does not change.
#[derive(Clone, Debug, Default)]
pub struct Words {
    list: Vec<String>,
    set: HashSet<String>,
    /// Bits of the lengths that there are: most texts that are not in the list are of none of them.
    lengths: u64,
}

impl Words {
    /// From texts, in their order.
    #[must_use]
    pub fn new(list: Vec<String>) -> Self {
        Self {
            set: list.iter().cloned().collect(),
            lengths: list.iter().fold(0, |bits, text| bits | length_bit(text)),
            list,
        }
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.lengths & length_bit(text) != 0 && self.set.contains(text)
    }

    /// The texts, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.list.iter().map(String::as_str)
    }
}

/// The last bit stands for all texts that are longer.
fn length_bit(text: &str) -> u64 {
    1 << text.len().min(63)
}
