//! From the kernel's time since boot to wall-clock time.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

/// Clock ticks a second in procfs (`USER_HZ`, 100 on every architecture that containers run on).
pub const TICKS_PER_SECOND: u64 = 100;
/// Nanoseconds of one tick.
pub const NS_PER_TICK: u64 = 1_000_000_000 / TICKS_PER_SECOND;

/// Nanoseconds since boot, suspended time included.
#[must_use]
pub fn since_boot() -> u64 {
    nanoseconds(clock_gettime(ClockId::Boottime))
}

/// Nanoseconds from the epoch to boot, by what the wall clock showed last.
static BOOT: AtomicU64 = AtomicU64::new(0);

/// Looks at the wall clock, which people and time servers set. To be called now and then, and before [`wall`].
pub fn synchronise() {
    let now = nanoseconds(clock_gettime(ClockId::Realtime));
    BOOT.store(now.saturating_sub(since_boot()), Ordering::Relaxed);
}

/// Wall-clock time of a moment since boot.
#[must_use]
pub fn wall(since_boot_ns: u64) -> SystemTime {
    if BOOT.load(Ordering::Relaxed) == 0 {
        synchronise();
    }
    let boot = BOOT.load(Ordering::Relaxed);
    UNIX_EPOCH + Duration::from_nanos(boot.saturating_add(since_boot_ns))
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}
