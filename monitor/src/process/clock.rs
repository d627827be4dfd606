//! From the kernel's time since boot to wall-clock time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Wall-clock time of a moment since boot, by what the wall clock shows now.
#[must_use]
pub fn wall(since_boot_ns: u64) -> SystemTime {
    let now = nanoseconds(clock_gettime(ClockId::Realtime));
    let boot = now.saturating_sub(since_boot());
    UNIX_EPOCH + Duration::from_nanos(boot.saturating_add(since_boot_ns))
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}
