//! How many records of a class a container may cause: a token bucket per container and class.
//!
//! Tokens are counted in nanoseconds: a record costs a second divided by the rate, and time fills the bucket up to
//! its depth. A cgroup that is no container's has buckets of its own.

use crate::loss::Class;

/// Most buckets at a time; the least recently used one makes room.
pub const MAX_BUCKETS: u32 = 16_384;

/// A rate with the burst that it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Records a second.
    pub per_second: u32,
    /// Records at once, after a pause.
    pub burst: u32,
}

/// What a class may cost, in the form that the programs use.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Nanoseconds of time that a record costs.
    pub cost_ns: u64,
    /// Most nanoseconds that are saved up.
    pub depth_ns: u64,
}

impl Budget {
    /// Nothing is allowed.
    pub const NONE: Self = Self {
        cost_ns: u64::MAX,
        depth_ns: 0,
    };
}

impl From<Rate> for Budget {
    fn from(rate: Rate) -> Self {
        let cost_ns = 1_000_000_000 / u64::from(rate.per_second.max(1));
        Self {
            cost_ns,
            depth_ns: cost_ns * u64::from(rate.burst.max(1)),
        }
    }
}

/// The rate of a class where the operator has not chosen another.
///
/// A container that starts a thousand programs a second stays within it; all of them together fill a part of a ring.
#[must_use]
pub const fn default_rate(class: Class) -> Rate {
    let (per_second, burst) = match class {
        Class::Process => (4_096, 4_096),
        Class::Network => (1_024, 2_048),
        Class::Dns => (512, 512),
        Class::File => (512, 1_024),
        Class::Cgroup | Class::Namespace | Class::Credential | Class::Tampering | Class::Kernel => {
            (256, 512)
        }
    };
    Rate { per_second, burst }
}

/// Key of the map `BUDGETS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketKey {
    /// The container's slot with the highest bit set, or a cgroup's id.
    pub owner: u64,
    /// A [`Class`].
    pub class: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Marks a container's slot in [`BucketKey::owner`].
pub const CONTAINER: u64 = 1 << 63;

/// One bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Time saved up, in nanoseconds.
    pub saved_ns: u64,
    /// When it was counted last, in nanoseconds since boot.
    pub counted_ns: u64,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    #[inline(always)]
    pub const fn full(budget: Budget, now_ns: u64) -> Self {
        Self {
            saved_ns: budget.depth_ns,
            counted_ns: now_ns,
        }
    }

    /// Pays for one record; `false` when there is not enough.
    #[inline(always)]
    pub const fn pay(&mut self, budget: Budget, now_ns: u64) -> bool {
        let mut saved = self.saved_ns;
        // Another CPU's clock may be a little ahead.
        if now_ns > self.counted_ns {
            saved = saved.wrapping_add(now_ns - self.counted_ns);
            self.counted_ns = now_ns;
        }
        if saved > budget.depth_ns {
            saved = budget.depth_ns;
        }
        if saved < budget.cost_ns {
            self.saved_ns = saved;
            return false;
        }
        self.saved_ns = saved - budget.cost_ns;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_then_the_rate() {
        let budget = Budget::from(Rate {
            per_second: 10,
            burst: 5,
        });
        let mut bucket = Bucket::full(budget, 0);
        let paid = (0..20).filter(|_| bucket.pay(budget, 1)).count();
        assert_eq!(paid, 5, "the burst");
        assert!(!bucket.pay(budget, SECOND / 20), "half of what one costs");
        assert!(bucket.pay(budget, SECOND / 10 + 1));
        let later = (0..20).filter(|_| bucket.pay(budget, 60 * SECOND)).count();
        assert_eq!(later, 5, "no more is saved than the burst");
    }

    #[test]
    fn a_clock_that_seems_to_go_back_gives_nothing() {
        let budget = Budget::from(Rate {
            per_second: 1,
            burst: 1,
        });
        let mut bucket = Bucket::full(budget, 10 * SECOND);
        assert!(bucket.pay(budget, 10 * SECOND));
        assert!(!bucket.pay(budget, 9 * SECOND));
        assert!(!bucket.pay(budget, 10 * SECOND));
        assert!(bucket.pay(budget, 11 * SECOND));
    }

    #[test]
    fn every_class_has_a_rate() {
        for class in Class::ALL {
            assert!(default_rate(class).per_second > 0 && default_rate(class).burst > 0);
        }
    }
}
