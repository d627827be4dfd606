//! How full a ring buffer is: the bytes between where its reader is and where its writers are.
//!
//! The kernel shows both positions in the first two pages that can be mapped of the map (`ringbuf_map_mmap_kern`,
//! kernel/bpf/ringbuf.c): the reader's in the first, the writers' in the second. Looking at them is two loads from memory,
//! no system call, and holds up neither side.

use std::{
    io,
    os::fd::AsFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    param::page_size,
};

/// How long a peak is told, at least, in nanoseconds: longer than the usual time between two scrapes. It is told twice as
/// long at most.
const WINDOW_NS: u64 = 60_000_000_000;

/// See the module.
#[derive(Debug)]
pub struct RingFill {
    consumer: Position,
    producer: Position,
    size: u64,
    /// The most that the reader found in this window, and in the one before.
    peak: AtomicU64,
    peak_before: AtomicU64,
    window_began_ns: AtomicU64,
}

impl RingFill {
    /// Of the ring buffer with this descriptor and `size` in bytes.
    ///
    /// # Errors
    /// When its pages can't be mapped.
    pub fn of(ring: impl AsFd, size: u32) -> io::Result<Self> {
        Ok(Self {
            consumer: Position::map(&ring, 0)?,
            producer: Position::map(&ring, page_size() as u64)?,
            size: size.into(),
            peak: AtomicU64::new(0),
            peak_before: AtomicU64::new(0),
            window_began_ns: AtomicU64::new(0),
        })
    }

    /// Bytes of the ring.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that wait in it now, headers of records included.
    #[must_use]
    pub fn used(&self) -> u64 {
        // The reader's position first: it never overtakes the writers'.
        let consumer = self.consumer.get();
        let used = self.producer.get().wrapping_sub(consumer) as u64;
        // Both may have moved on between the two looks.
        used.min(self.size)
    }

    /// The most that the reader found in it within the last minute or two, in bytes.
    #[must_use]
    pub fn peak(&self) -> u64 {
        let before = self.peak_before.load(Ordering::Relaxed);
        before
            .max(self.peak.load(Ordering::Relaxed))
            .max(self.used())
    }

    /// Takes note of how full it is. To be called by the reader alone, before it takes what is there; `now_ns` is the time
    /// since boot.
    pub fn note(&self, now_ns: u64) {
        let used = self.used();
        let began = self.window_began_ns.load(Ordering::Relaxed);
        let since = now_ns.saturating_sub(began);
        if since < WINDOW_NS {
            if used > self.peak.load(Ordering::Relaxed) {
                self.peak.store(used, Ordering::Relaxed);
            }
            return;
        }
        // Where nothing was read for longer than that, there is no window just before this one.
        let before = if since < 2 * WINDOW_NS {
            self.peak.load(Ordering::Relaxed)
        } else {
            0
        };
        self.peak_before.store(before, Ordering::Relaxed);
        self.peak.store(used, Ordering::Relaxed);
        self.window_began_ns.store(now_ns, Ordering::Relaxed);
    }
}

/// A position in a ring, in a mapped page that the kernel or the reader writes.
#[derive(Debug)]
struct Position(NonNull<AtomicUsize>);

// SAFETY: the page is only read, atomically, and stays mapped as long as the value lives.
unsafe impl Send for Position {}
// SAFETY: as above.
unsafe impl Sync for Position {}

impl Position {
    fn map(ring: impl AsFd, offset: u64) -> io::Result<Self> {
        // SAFETY: a new mapping at a place that the kernel chooses aliases nothing of ours.
        let page = unsafe {
            mmap(
                ptr::null_mut(),
                page_size(),
                ProtFlags::READ,
                MapFlags::SHARED,
                ring,
                offset,
            )
        }?;
        NonNull::new(page.cast())
            .map(Self)
            .ok_or_else(|| io::Error::other("the kernel mapped a ring buffer at address 0"))
    }

    fn get(&self) -> usize {
        // SAFETY: the page is mapped and aligned, and begins with the position, an `unsigned long` that is written atomically.
        unsafe { self.0.as_ref() }.load(Ordering::Acquire)
    }
}

impl Drop for Position {
    fn drop(&mut self) {
        // SAFETY: the page was mapped with this size, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.0.as_ptr().cast(), page_size()) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _, os::unix::fs::FileExt as _};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A file with the two pages, in the place of a ring.
    fn ring() -> (File, RingFill) {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&vec![0; 2 * page_size()]).expect("written");
        let fill = RingFill::of(&file, 4_096).expect("mapped");
        (file, fill)
    }

    fn produce(file: &File, position: usize) {
        file.write_all_at(&position.to_ne_bytes(), page_size() as u64)
            .expect("written");
    }

    fn consume(file: &File, position: usize) {
        file.write_all_at(&position.to_ne_bytes(), 0)
            .expect("written");
    }

    #[test]
    fn what_waits_is_what_is_written_and_not_read() {
        let (file, fill) = ring();
        assert_eq!((fill.used(), fill.size()), (0, 4_096));
        produce(&file, 3_000);
        consume(&file, 1_000);
        assert_eq!(fill.used(), 2_000);
        // Positions only ever grow, past the end of their type too.
        consume(&file, usize::MAX - 9);
        produce(&file, 20);
        assert_eq!(fill.used(), 30);
    }

    #[test]
    fn a_peak_is_told_for_a_minute_or_two() {
        let (file, fill) = ring();
        produce(&file, 2_000);
        fill.note(600 * SECOND);
        consume(&file, 1_900);
        fill.note(630 * SECOND);
        assert_eq!(fill.peak(), 2_000);
        fill.note(660 * SECOND);
        assert_eq!(fill.peak(), 2_000, "of the window before");
        fill.note(719 * SECOND);
        assert_eq!(fill.peak(), 2_000);
        fill.note(720 * SECOND);
        assert_eq!(fill.peak(), 100);
        produce(&file, 3_000);
        assert_eq!(fill.peak(), 1_100, "before the reader has seen it");
    }

    #[test]
    fn a_peak_from_before_a_long_silence_is_not_told() {
        let (file, fill) = ring();
        produce(&file, 2_000);
        fill.note(600 * SECOND);
        consume(&file, 2_000);
        fill.note(800 * SECOND);
        assert_eq!(fill.peak(), 0);
    }
}
