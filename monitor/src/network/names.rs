//! Which name was asked for before an address was connected to, for each container by its own questions.
//!
//! What is remembered is what a name server answered, or who could speak in its place: good to show, not to trust.
//! Matching answers to queries is for who calls.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use lru::LruCache;

use super::dns::{Data, Message};

/// Most addresses with a name.
pub const MAX_ENTRIES: usize = 32_768;
/// Most addresses with a name of one owner.
const MAX_ENTRIES_OF_OWNER: usize = 2_048;

const SECOND: u64 = 1_000_000_000;
/// Bounds of how long an answer counts as fresh, whatever its TTL.
const FRESH_NS: std::ops::RangeInclusive<u64> = 60 * SECOND..=3_600 * SECOND;
/// How much longer a name is given: programs keep connecting to an address that they asked for once.
const GRACE_NS: u64 = 3_600 * SECOND;

/// Names by owner and address. An owner is a container's slot, or 0 for the host.
pub struct Names {
    /// The oldest answer first out, of all owners.
    entries: LruCache<(u32, IpAddr), Entry>,
    /// The same order among the addresses of each owner.
    owners: HashMap<u32, LruCache<IpAddr, ()>>,
    limit: usize,
    limit_of_owner: usize,
}

struct Entry {
    name: Arc<str>,
    until_ns: u64,
}

impl Default for Names {
    fn default() -> Self {
        Self::with_limits(MAX_ENTRIES, MAX_ENTRIES_OF_OWNER)
    }
}

impl Names {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with_limits(limit: usize, limit_of_owner: usize) -> Self {
        Self {
            entries: LruCache::unbounded(),
            owners: HashMap::new(),
            limit,
            limit_of_owner,
        }
    }

    /// Remembers the addresses in an answer under the name that was asked for, aliases followed. `now_ns` is the time
    /// since boot. Anything but a good answer to a question is ignored.
    pub fn learn(&mut self, owner: u32, message: &Message, now_ns: u64) {
        if !message.answer || message.response_code != "NOERROR" || message.name.is_empty() {
            return;
        }
        let names = aliases(message);
        let mut asked: Option<Arc<str>> = None;
        for answer in &message.answers {
            if let Data::Address(address) = answer.data
                && names.contains(&*answer.name)
            {
                let name = asked.get_or_insert_with(|| message.name.as_str().into());
                let fresh = u64::from(answer.ttl) * SECOND;
                let fresh = fresh.clamp(*FRESH_NS.start(), *FRESH_NS.end());
                let entry = Entry {
                    name: Arc::clone(name),
                    until_ns: now_ns.saturating_add(fresh + GRACE_NS),
                };
                self.put(owner, address.to_canonical(), entry);
            }
        }
    }

    /// The name that `owner` asked for last and got `address` for; an IPv4 address may come in its IPv6 form.
    #[must_use]
    pub fn name(&self, owner: u32, address: IpAddr, now_ns: u64) -> Option<Arc<str>> {
        let entry = self.entries.peek(&(owner, address.to_canonical()))?;
        (now_ns <= entry.until_ns).then(|| Arc::clone(&entry.name))
    }

    /// How many addresses have a name.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Drops what is known for an owner that is no more: its number will be another's.
    pub fn forget(&mut self, owner: u32) {
        for (address, ()) in self.owners.remove(&owner).into_iter().flatten() {
            self.entries.pop(&(owner, address));
        }
    }

    fn put(&mut self, owner: u32, address: IpAddr, entry: Entry) {
        let of_owner = self.owners.entry(owner).or_insert_with(LruCache::unbounded);
        of_owner.put(address, ());
        if of_owner.len() > self.limit_of_owner
            && let Some((oldest, ())) = of_owner.pop_lru()
        {
            self.entries.pop(&(owner, oldest));
        }
        self.entries.put((owner, address), entry);
        if self.entries.len() > self.limit
            && let Some(((owner, oldest), _)) = self.entries.pop_lru()
            && let Some(of_owner) = self.owners.get_mut(&owner)
        {
            of_owner.pop(&oldest);
            if of_owner.is_empty() {
                self.owners.remove(&owner);
            }
        }
    }
}

/// The name that was asked for and those it is an alias of, in whatever order the records come.
fn aliases(message: &Message) -> HashSet<&str> {
    let mut names = HashSet::from([message.name.as_str()]);
    // Each pass but the last finds a name, and there are at most as many as records.
    loop {
        let before = names.len();
        for answer in &message.answers {
            if let Data::Name(alias) = &answer.data
                && names.contains(&*answer.name)
            {
                names.insert(alias);
            }
        }
        if names.len() == before {
            return names;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::dns::Answer;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn record(name: &str, ttl: u32, data: Data) -> Answer {
        Answer {
            name: name.to_owned(),
            data,
            ttl,
        }
    }

    fn message(name: &str, answers: Vec<Answer>) -> Message {
        Message {
            id: 1,
            answer: true,
            response_code: "NOERROR".to_owned(),
            name: name.to_owned(),
            record_type: "A".to_owned(),
            answers,
            truncated: false,
        }
    }

    fn simple(name: &str, last: u8) -> Message {
        message(name, vec![record(name, 300, Data::Address(address(last)))])
    }

    fn name(names: &Names, owner: u32, last: u8) -> Option<String> {
        names
            .name(owner, address(last), 0)
            .map(|name| name.to_string())
    }

    #[test]
    fn the_name_asked_for_wins_over_its_aliases_in_any_order() {
        let mut answers = vec![
            record("www.example", 5, Data::Name("edge.example".to_owned())),
            record("edge.example", 5, Data::Name("a.example".to_owned())),
            record("a.example", 5, Data::Address(address(1))),
            record("unrelated.example", 5, Data::Address(address(2))),
        ];
        for _ in 0..2 {
            let mut names = Names::new();
            names.learn(3, &message("www.example", answers.clone()), 0);
            assert_eq!(name(&names, 3, 1).as_deref(), Some("www.example"));
            assert_eq!(name(&names, 3, 2), None);
            answers.reverse();
        }
    }

    #[test]
    fn aliases_in_a_circle_end() {
        let circle = vec![
            record("a.example", 5, Data::Name("b.example".to_owned())),
            record("b.example", 5, Data::Name("a.example".to_owned())),
            record("b.example", 5, Data::Address(address(1))),
        ];
        let mut names = Names::new();
        names.learn(0, &message("a.example", circle), 0);
        assert_eq!(name(&names, 0, 1).as_deref(), Some("a.example"));
    }

    #[test]
    fn each_owner_has_its_own_names_and_the_last_one_counts() {
        let mut names = Names::new();
        names.learn(1, &simple("one.example", 1), 0);
        names.learn(2, &simple("two.example", 1), 0);
        names.learn(2, &simple("later.example", 1), 0);
        assert_eq!(name(&names, 1, 1).as_deref(), Some("one.example"));
        assert_eq!(name(&names, 2, 1).as_deref(), Some("later.example"));
        names.forget(2);
        names.forget(2);
        assert_eq!(name(&names, 2, 1), None);
        assert_eq!(name(&names, 1, 1).as_deref(), Some("one.example"));
    }

    #[test]
    fn an_address_is_the_same_in_its_mapped_form() {
        let mut names = Names::new();
        names.learn(0, &simple("one.example", 1), 0);
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201]);
        assert_eq!(names.name(0, mapped, 0).as_deref(), Some("one.example"));
        let answer = record("two.example", 5, Data::Address(mapped));
        names.learn(0, &message("two.example", vec![answer]), 0);
        assert_eq!(name(&names, 0, 1).as_deref(), Some("two.example"));
    }

    #[test]
    fn a_name_is_given_for_its_ttl_within_bounds_and_an_hour_more() {
        for (ttl, seconds) in [(0, 60), (300, 300), (u32::MAX, 3_600)] {
            let mut names = Names::new();
            let answer = record("a.example", ttl, Data::Address(address(1)));
            names.learn(0, &message("a.example", vec![answer]), 7);
            let until = 7 + (seconds + 3_600) * SECOND;
            assert!(names.name(0, address(1), until).is_some(), "{ttl}");
            assert!(names.name(0, address(1), until + 1).is_none(), "{ttl}");
        }
    }

    #[test]
    fn only_a_good_answer_to_a_question_is_learned() {
        let good = simple("a.example", 1);
        let query = Message {
            answer: false,
            ..good.clone()
        };
        let failed = Message {
            response_code: "SERVFAIL".to_owned(),
            ..good.clone()
        };
        let nameless = Message {
            name: String::new(),
            ..good
        };
        let mut names = Names::new();
        for message in [query, failed, nameless] {
            names.learn(0, &message, 0);
        }
        assert!(names.entries.is_empty() && names.owners.is_empty());
    }

    #[test]
    fn the_oldest_goes_first_within_an_owner_and_over_all() {
        let mut names = Names::with_limits(4, 2);
        for last in 1..=2 {
            names.learn(1, &simple("a.example", last), 0);
        }
        names.learn(1, &simple("again.example", 1), 0);
        names.learn(1, &simple("a.example", 3), 0);
        let known = |names: &Names, owner, lasts: [u8; 3]| {
            lasts.map(|last| name(names, owner, last).is_some())
        };
        assert_eq!(known(&names, 1, [1, 2, 3]), [true, false, true]);
        for (owner, last) in [(2, 1), (2, 2), (3, 1)] {
            names.learn(owner, &simple("a.example", last), 0);
        }
        assert_eq!(known(&names, 1, [1, 2, 3]), [false, false, true]);
        for last in 1..=2 {
            names.learn(4, &simple("a.example", last), 0);
        }
        assert_eq!(known(&names, 1, [1, 2, 3]), [false, false, false]);
        assert!(
            !names.owners.contains_key(&1),
            "nothing is kept of an owner without names"
        );
        assert_eq!(names.entries.len(), 4);
        let of_owners: usize = names.owners.values().map(LruCache::len).sum();
        assert_eq!(of_owners, 4);
    }
}
