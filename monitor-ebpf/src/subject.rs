//! Whom a record is about, and whether records about it are wanted and within its budget.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use watchkeeper_ebpf::{
    budget::{Bucket, BucketKey, Budget, CONTAINER},
    cgroup::{CgroupState, HOST, IGNORED},
    loss::{Class, Lane, LossKey, Reason},
    record::ProcessId,
};

use crate::{
    kernel::{Address, cgroup, cred, current, task},
    maps,
};

/// A cgroup with what is known of it.
#[derive(Clone, Copy)]
pub struct Place {
    /// Its id.
    pub cgroup_id: u64,
    /// What is known of it.
    pub state: CgroupState,
}

impl Place {
    /// Where a task runs.
    #[inline(always)]
    pub fn of(task: Address) -> Self {
        Self::of_cgroup(cgroup::id(cgroup::of_task(task)))
    }

    /// Where the current task runs.
    #[inline(always)]
    pub fn current() -> Self {
        Self::of_cgroup(current::cgroup_id())
    }

    /// A cgroup by its id; nothing is known of one that is not in the map.
    #[inline(always)]
    pub fn of_cgroup(cgroup_id: u64) -> Self {
        // SAFETY: the entry is copied at once; a concurrent update can't make an invalid value.
        let state = match unsafe { maps::CGROUPS.get(&cgroup_id) } {
            Some(state) => *state,
            None => CgroupState {
                container_slot: 0,
                flags: 0,
            },
        };
        Self { cgroup_id, state }
    }

    /// Whether records of this [`Class`] are wanted from here.
    #[inline(always)]
    pub fn wants(&self, class: u32) -> bool {
        let flags = self.state.flags;
        flags & IGNORED == 0
            && (flags & HOST == 0 || setting!(host_classes) >> (class & 31) & 1 != 0)
    }

    /// Pays for one record of this [`Class`]; counts it as lost when the budget is used up.
    #[inline(always)]
    pub fn admits(&self, class: u32) -> bool {
        let owner = if self.state.container_slot == 0 {
            self.cgroup_id
        } else {
            CONTAINER | u64::from(self.state.container_slot)
        };
        let key = BucketKey {
            owner,
            class,
            reserved: 0,
        };
        let budget = budget_of(class);
        // SAFETY: the helper has no preconditions.
        let now_ns = unsafe { bpf_ktime_get_boot_ns() };
        let paid = match maps::BUDGETS.get_ptr_mut(&key) {
            // SAFETY: the entry is valid as long as the program runs. Two CPUs may both spend the same token: the
            // budget is a bound on volume, and no exact count.
            Some(bucket) => unsafe { (*bucket).pay(budget, now_ns) },
            None => {
                let mut bucket = Bucket::full(budget, now_ns);
                let paid = bucket.pay(budget, now_ns);
                let _ = maps::BUDGETS.insert(&key, &bucket, 0);
                paid
            }
        };
        if !paid {
            count_loss(self.cgroup_id, class, Reason::OverBudget, Lane::None);
        }
        paid
    }
}

/// The budget of a class.
#[inline(always)]
fn budget_of(class: u32) -> Budget {
    let settings = (&raw const maps::SETTINGS).cast::<watchkeeper_ebpf::offsets::Settings>();
    // SAFETY: as for every setting (see `global_field!`); the masked index is below the number of places.
    unsafe {
        core::ptr::read_volatile(
            &raw const (*settings).budgets[class as usize & (Class::PLACES - 1)],
        )
    }
}

/// The process that a record is about.
#[derive(Clone, Copy)]
pub struct Subject {
    /// Where it runs.
    pub place: Place,
    /// Its identity.
    pub process: ProcessId,
    /// The thread.
    pub tid: u32,
    /// Its real user.
    pub uid: u32,
}

impl Subject {
    /// A task that runs in `place`.
    #[inline(always)]
    pub fn new(place: Place, task: Address) -> Self {
        Self {
            place,
            process: task::process(task),
            tid: task::tid(task),
            uid: cred::uid(task),
        }
    }

    /// Nobody in particular, in `place`.
    #[inline(always)]
    pub fn unknown(place: Place) -> Self {
        Self {
            place,
            process: ProcessId {
                start_ns: 0,
                pid: 0,
                reserved: 0,
            },
            tid: 0,
            uid: 0,
        }
    }
}

/// Counts one lost record; for cgroup 0 when the map has no room for another key.
#[inline(always)]
pub fn count_loss(cgroup_id: u64, class: u32, reason: Reason, lane: Lane) {
    let mut key = LossKey {
        cgroup_id,
        class,
        reason: reason as u16,
        lane: lane as u16,
    };
    if add_loss(&key) || maps::LOSSES.insert(&key, &1, 0).is_ok() {
        return;
    }
    key.cgroup_id = 0;
    if !add_loss(&key) {
        let _ = maps::LOSSES.insert(&key, &1, 0);
    }
}

/// Adds one to an existing counter.
#[inline(always)]
fn add_loss(key: &LossKey) -> bool {
    match maps::LOSSES.get_ptr_mut(key) {
        Some(count) => {
            // SAFETY: the counter is this CPU's own.
            unsafe { *count += 1 };
            true
        }
        None => false,
    }
}
