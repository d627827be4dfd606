//! What conditions can use beside the fields of events: what the policy defines.

use std::{collections::HashMap, sync::Arc};

/// What conditions can use beside the fields of events.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Lists by their names.
    pub lists: HashMap<String, Arc<Words>>,
    /// Lists of numbers by their names.
    pub numbers: HashMap<String, Arc<[i64]>>,
    /// Texts of further conditions by their names.
    pub definitions: HashMap<String, Arc<str>>,
    /// Kinds of events that a condition is asked of; all when empty.
    pub events: Vec<String>,
}

/// A list of texts that does not change.
#[derive(Clone, Debug, Default)]
pub struct Words {
    list: Vec<String>,
    sorted: Vec<String>,
}

impl Words {
    /// From texts, in their order.
    #[must_use]
    pub fn new(list: Vec<String>) -> Self {
        let mut sorted = list.clone();
        sorted.sort_unstable();
        sorted.dedup();
        Self { list, sorted }
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.sorted
            .binary_search_by(|word| word.as_str().cmp(text))
            .is_ok()
    }

    /// The texts, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(String::as_str)
    }
}
