//! The processes of the node: those that run, and of those that have ended the ones that still matter.
//!
//! A process that has ended stays while a child of it is in the table (it is that child's lineage) and for
//! some time after. The table has ceilings, in processes and in bytes, and no owner (a container) may fill more than
//! its share. At a ceiling the earliest of the owner's ended processes makes room, then any ended one; a process that
//! finds none is refused and counted.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use super::execution::{Process, ProcessKey, Source};

/// Most processes in the table.
pub const CEILING: usize = 32_768;
/// Most processes of one owner.
pub const OWNER_CEILING: usize = 8_192;
/// About the most bytes that the processes of the table take.
const BYTES: usize = 32 << 20;
/// About the most bytes of one owner's.
const OWNER_BYTES: usize = 8 << 20;
/// How long a process without children stays after its end, in nanoseconds: its last events may be on the way.
const LINGER_NS: u64 = 30_000_000_000;
/// Most ancestors that a look-up follows.
pub const MAX_ANCESTORS: usize = 64;

/// What the next stage attaches to a process.
pub trait Attachment: Clone + Default {
    /// Whose share of the table the process counts against.
    type Owner: Clone + Eq + Hash;
    /// The owner; `None` for the host's own.
    fn owner(&self) -> Option<Self::Owner>;
}

/// A process in the table.
#[derive(Clone, Debug)]
pub struct Entry<A> {
    /// The process.
    pub process: Arc<Process>,
    /// What the next stage attached.
    pub attachment: A,
    /// When it ended, in nanoseconds since boot.
    pub exited_ns: Option<u64>,
    /// Processes in the table whose parent this is.
    children: u32,
}

impl<A> Entry<A> {
    /// About the bytes it takes. What a process runs is counted once, with the process that began to run it.
    fn size(&self) -> usize {
        size_of::<Self>()
            + size_of::<Process>()
            + match self.process.source {
                Source::Fork => 0,
                Source::Kernel | Source::Procfs => self.process.program.size(),
            }
    }
}

/// An ended process: when, and which.
type Ended = (u64, ProcessKey);

/// See the module.
#[derive(Debug)]
pub struct Table<A: Attachment> {
    entries: HashMap<ProcessKey, Entry<A>>,
    /// Of each owner, and of the host.
    shares: HashMap<Option<A::Owner>, Share>,
    /// Bytes of all shares.
    bytes: usize,
    /// Those that have ended and are nobody's lineage, the earliest first.
    idle: BTreeSet<Ended>,
    refused: u64,
}

/// An owner's part of the table.
#[derive(Debug, Default)]
struct Share {
    count: usize,
    bytes: usize,
    /// Those that have ended, the earliest first.
    ended: BTreeSet<Ended>,
}

impl<A: Attachment> Default for Table<A> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            shares: HashMap::new(),
            bytes: 0,
            idle: BTreeSet::new(),
            refused: 0,
        }
    }
}

impl<A: Attachment> Table<A> {
    /// How many processes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many processes found no room since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// A process by its identity.
    #[must_use]
    pub fn get(&self, key: ProcessKey) -> Option<&Entry<A>> {
        self.entries.get(&key)
    }

    /// Every process, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<A>> {
        self.entries.values()
    }

    /// The ancestors of a process, its parent first, as far as they are known.
    #[must_use]
    pub fn ancestors(&self, process: &Process) -> Vec<&Entry<A>> {
        let mut ancestors = Vec::new();
        let mut next = process.parent;
        while let Some(entry) = next.and_then(|key| self.entries.get(&key)) {
            // A kernel never makes a circle, a damaged record may.
            if ancestors.len() >= MAX_ANCESTORS {
                break;
            }
            ancestors.push(entry);
            next = entry.process.parent;
        }
        ancestors
    }

    /// Puts a process in, or replaces what it ran by what it runs now. `false` when there is no room.
    pub fn put(&mut self, process: Arc<Process>, attachment: A) -> bool {
        let key = process.key;
        let children = match self.take(key) {
            // Only a damaged record names a process as its own parent.
            Some(before) if before.process.parent == Some(key) => before.children.saturating_sub(1),
            Some(before) => {
                self.orphan(before.process.parent);
                before.children
            }
            None => 0,
        };
        let parent = process.parent;
        let entry = Entry {
            process,
            attachment,
            exited_ns: None,
            children,
        };
        if !self.make_room(&entry.attachment.owner(), entry.size()) {
            self.refused += 1;
            return false;
        }
        self.insert(key, entry);
        self.adopt(parent);
        true
    }

    /// Replaces what is attached to a process.
    pub fn attach(&mut self, key: ProcessKey, attachment: A) {
        if let Some(mut entry) = self.take(key) {
            entry.attachment = attachment;
            self.insert(key, entry);
        }
    }

    /// Notes that a process has ended.
    pub fn exit(&mut self, key: ProcessKey, now_ns: u64) {
        if let Some(mut entry) = self.take(key) {
            entry.exited_ns.get_or_insert(now_ns);
            self.insert(key, entry);
        }
    }

    /// Lets go of processes that ended long ago and are nobody's lineage, and so on up their lineage.
    pub fn sweep(&mut self, now_ns: u64) {
        while let Some((ended, key)) = self.idle.first().copied() {
            if ended.saturating_add(LINGER_NS) > now_ns {
                break;
            }
            self.remove(key);
        }
    }

    /// Makes sure that there is room for one more process of `owner`, of `size` bytes.
    fn make_room(&mut self, owner: &Option<A::Owner>, size: usize) -> bool {
        loop {
            let full = self.entries.len() >= CEILING || self.bytes + size > BYTES;
            let share = self.shares.get(owner);
            let share_full = owner.is_some()
                && share.is_some_and(|share| {
                    share.count >= OWNER_CEILING || share.bytes + size > OWNER_BYTES
                });
            if !full && !share_full {
                return true;
            }
            let own = share.and_then(|share| share.ended.first());
            let earliest = match own {
                Some(own) => Some(*own),
                None if share_full => None,
                None => self.idle.first().copied().or_else(|| self.most_ended()),
            };
            let Some((_, key)) = earliest else {
                return false;
            };
            self.remove(key);
        }
    }

    /// The earliest ended process of the owner that has the most of them.
    fn most_ended(&self) -> Option<Ended> {
        self.shares
            .values()
            .max_by_key(|share| share.ended.len())?
            .ended
            .first()
            .copied()
    }

    /// Removes a process.
    fn remove(&mut self, key: ProcessKey) {
        if let Some(entry) = self.take(key) {
            self.orphan(entry.process.parent);
        }
    }

    /// Takes an entry out, with all that is counted of it; its parent still counts it as a child.
    fn take(&mut self, key: ProcessKey) -> Option<Entry<A>> {
        let entry = self.entries.remove(&key)?;
        let size = entry.size();
        let owner = entry.attachment.owner();
        self.bytes = self.bytes.saturating_sub(size);
        if let Some(share) = self.shares.get_mut(&owner) {
            share.count = share.count.saturating_sub(1);
            share.bytes = share.bytes.saturating_sub(size);
            if let Some(ended) = entry.exited_ns {
                share.ended.remove(&(ended, key));
            }
            if share.count == 0 {
                self.shares.remove(&owner);
            }
        }
        if let Some(ended) = entry.exited_ns {
            self.idle.remove(&(ended, key));
        }
        Some(entry)
    }

    /// Puts an entry in, with all that is counted of it.
    fn insert(&mut self, key: ProcessKey, entry: Entry<A>) {
        let size = entry.size();
        self.bytes += size;
        let share = self.shares.entry(entry.attachment.owner()).or_default();
        share.count += 1;
        share.bytes += size;
        if let Some(ended) = entry.exited_ns {
            share.ended.insert((ended, key));
            if entry.children == 0 {
                self.idle.insert((ended, key));
            }
        }
        self.entries.insert(key, entry);
    }

    fn adopt(&mut self, parent: Option<ProcessKey>) {
        if let Some(key) = parent
            && let Some(entry) = self.entries.get_mut(&key)
        {
            entry.children += 1;
            if let Some(ended) = entry.exited_ns {
                self.idle.remove(&(ended, key));
            }
        }
    }

    fn orphan(&mut self, parent: Option<ProcessKey>) {
        if let Some(key) = parent
            && let Some(entry) = self.entries.get_mut(&key)
        {
            entry.children = entry.children.saturating_sub(1);
            if entry.children == 0
                && let Some(ended) = entry.exited_ns
            {
                self.idle.insert((ended, key));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::execution::tests::process;

    impl Attachment for Option<u32> {
        type Owner = u32;
        fn owner(&self) -> Option<u32> {
            *self
        }
    }

    fn key(pid: u32) -> ProcessKey {
        ProcessKey {
            pid,
            start_ticks: u64::from(pid),
        }
    }

    fn put(table: &mut Table<Option<u32>>, pid: u32, parent: u32, owner: Option<u32>) -> bool {
        table.put(
            Arc::new(process(key(pid), Some(key(parent)), "/bin/x")),
            owner,
        )
    }

    fn lineage(table: &Table<Option<u32>>, pid: u32) -> Vec<u32> {
        let process = Arc::clone(&table.get(key(pid)).expect("there").process);
        table
            .ancestors(&process)
            .iter()
            .map(|entry| entry.process.key.pid)
            .collect()
    }

    #[test]
    fn lineage_outlives_the_parents() {
        let mut table = Table::default();
        for (pid, parent) in [(1, 0), (2, 1), (3, 2)] {
            put(&mut table, pid, parent, None);
        }
        table.exit(key(2), 10);
        table.sweep(10 + 2 * LINGER_NS);
        assert_eq!(lineage(&table, 3), [2, 1]);
    }

    #[test]
    fn what_ended_goes_when_its_descendants_are_gone() {
        let mut table = Table::default();
        for (pid, parent) in [(1, 0), (2, 1), (3, 2)] {
            put(&mut table, pid, parent, None);
        }
        table.exit(key(2), 10);
        table.sweep(10 + 2 * LINGER_NS);
        table.exit(key(3), 20 + 2 * LINGER_NS);
        assert_eq!(table.len(), 3, "the end is recent");
        table.sweep(20 + 3 * LINGER_NS);
        assert_eq!(table.len(), 1, "both are gone, the first process runs");
    }

    #[test]
    fn an_exec_keeps_the_place_of_its_process() {
        let mut table = Table::default();
        put(&mut table, 1, 0, None);
        put(&mut table, 2, 1, Some(7));
        table.put(Arc::new(process(key(2), Some(key(1)), "/bin/y")), Some(7));
        assert_eq!(table.len(), 2);
        assert_eq!(
            table
                .get(key(2))
                .map(|entry| entry.process.program.exe.as_str()),
            Some("/bin/y")
        );
        assert_eq!(table.shares.get(&Some(7)).map(|share| share.count), Some(1));
    }

    #[test]
    fn one_owner_can_not_fill_the_table() {
        let mut table = Table::default();
        let mut refused = 0;
        for pid in 1..=u32::try_from(OWNER_CEILING).expect("small") + 10 {
            if !put(&mut table, pid, 0, Some(1)) {
                refused += 1;
            }
        }
        assert_eq!((refused, table.refused()), (10, 10));
        assert!(
            put(&mut table, 1_000_000, 0, Some(2)),
            "another's share is free"
        );
    }

    #[test]
    fn a_full_table_lets_go_of_the_ended() {
        let mut table = Table::default();
        let ceiling = u32::try_from(CEILING).expect("small");
        for pid in 1..=ceiling {
            assert!(put(&mut table, pid, 0, None));
        }
        assert!(!put(&mut table, ceiling + 1, 0, None), "all of them run");
        table.exit(key(5), 1);
        assert!(put(&mut table, ceiling + 2, 0, None));
        assert!(table.get(key(5)).is_none());
        assert_eq!(table.len(), CEILING);
    }

    /// A container that forks and ends in a chain keeps every ancestor as lineage: the oldest make room.
    #[test]
    fn a_chain_of_ended_parents_does_not_shut_its_owner_out() {
        let mut table = Table::default();
        let count = u32::try_from(OWNER_CEILING).expect("small") + 100;
        for pid in 1..=count {
            assert!(put(&mut table, pid, pid - 1, Some(1)), "{pid}");
            table.exit(key(pid - 1), u64::from(pid));
        }
        assert_eq!(table.len(), OWNER_CEILING);
        assert_eq!(lineage(&table, count).len(), MAX_ANCESTORS);
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let mut table = Table::default();
        put(&mut table, 1, 2, None);
        put(&mut table, 2, 1, None);
        assert_eq!(lineage(&table, 1).len(), MAX_ANCESTORS);
    }

    /// Whatever comes and goes, nothing is kept of what is gone.
    #[test]
    fn a_long_life_leaves_nothing_behind() {
        let mut table = Table::default();
        put(&mut table, 1, 0, None);
        for pid in 2..200_000 {
            put(
                &mut table,
                pid,
                1,
                if pid % 3 == 0 { Some(pid % 7) } else { None },
            );
            table.exit(key(pid), u64::from(pid) * 1_000_000);
            table.sweep(u64::from(pid) * 1_000_000);
        }
        table.sweep(u64::MAX);
        assert_eq!(
            (table.len(), table.idle.len(), table.shares.len()),
            (1, 0, 1)
        );
        assert_eq!(table.shares[&None].ended.len(), 0);
        assert_eq!(table.bytes, table.get(key(1)).map_or(0, Entry::size));
    }

    #[test]
    fn bytes_have_a_ceiling_too() {
        let mut table = Table::default();
        let long = "/x".repeat(2_000);
        let count = u32::try_from(2 * OWNER_BYTES / long.len()).expect("small");
        for pid in 1..=count {
            let process = Arc::new(process(key(pid), Some(key(0)), &long));
            table.put(process, Some(1));
        }
        assert!(table.bytes <= OWNER_BYTES && table.refused() > 0);
        assert!(
            put(&mut table, count + 1, 0, Some(2)),
            "another's share is free"
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u32, u32, Option<u32>),
        Exit(u32),
        Attach(u32, Option<u32>),
        Sweep,
    }

    fn step() -> impl Strategy<Value = Step> {
        let pid = 1..20u32;
        let owner = proptest::option::of(0..3u32);
        prop_oneof![
            (pid.clone(), 0..20u32, owner.clone()).prop_map(|(p, q, o)| Step::Put(p, q, o)),
            pid.clone().prop_map(Step::Exit),
            (pid, owner).prop_map(|(p, o)| Step::Attach(p, o)),
            Just(Step::Sweep),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order, the counts are those of the entries.
        #[test]
        fn counts_are_right(steps in proptest::collection::vec(step(), 0..200)) {
            let mut table = Table::default();
            for (number, step) in steps.iter().enumerate() {
                let now = number as u64 * LINGER_NS / 3;
                match step {
                    Step::Put(pid, parent, owner) => { put(&mut table, *pid, *parent, *owner); }
                    Step::Exit(pid) => table.exit(key(*pid), now),
                    Step::Attach(pid, owner) => table.attach(key(*pid), *owner),
                    Step::Sweep => table.sweep(now),
                }
            }
            for owner in [None, Some(0), Some(1), Some(2)] {
                let counted = table.entries.values()
                    .filter(|entry| entry.attachment == owner).count();
                prop_assert_eq!(table.shares.get(&owner).map_or(0, |share| share.count), counted);
            }
            let bytes: usize = table.entries.values().map(Entry::size).sum();
            prop_assert_eq!(table.bytes, bytes);
            for (key, entry) in &table.entries {
                let idle = entry.exited_ns.is_some_and(|ended| table.idle.contains(&(ended, *key)));
                prop_assert_eq!(idle, entry.exited_ns.is_some() && entry.children == 0);
            }
            for (key, entry) in &table.entries {
                let children = table.entries.values()
                    .filter(|child| child.process.parent == Some(*key)).count();
                prop_assert!(entry.children as usize <= children, "children are never overcounted");
            }
        }
    }
}
