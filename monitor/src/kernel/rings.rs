//! Reading the two rings in an order that keeps cause before effect.
//!
//! Telemetry is read first, and after it all of the critical lane; then both are put in the order of their times. So
//! what the critical lane reported before a telemetry record was written (a cgroup's creation before the first exec
//! in it) is processed before that record. Where telemetry is left in its ring, critical records that are newer than
//! what was read wait for it.

use std::{io, ops::Range, os::fd::AsFd as _, sync::Arc, time::Duration};

use aya::maps::{MapData, RingBuf};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
};
use watchkeeper_ebpf::{record::Header, wire::Wire as _};

use super::ring_fill::RingFill;

/// Most bytes that are taken from a ring at a time, so that neither lane waits for long.
const BATCH_BYTES: usize = 512 << 10;

/// How long records are gathered on a busy node. A process that runs a program lives longer than this, mostly.
const GATHERING: Duration = Duration::from_millis(1);

/// Both rings.
pub struct Rings {
    telemetry: RingBuf<MapData>,
    critical: RingBuf<MapData>,
    fill: Arc<RingsFill>,
    /// Readable when reading should end.
    stop: OwnedFd,
    batch: Batch,
}

/// How full both rings are.
#[derive(Debug)]
pub struct RingsFill {
    /// The lane for volume.
    pub telemetry: RingFill,
    /// The lane for what must arrive.
    pub critical: RingFill,
}

/// Records that were taken: their bytes one after the other, and for each its time and place.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    records: Vec<(u64, Range<usize>)>,
    /// Critical records that wait for older telemetry.
    held: Vec<Box<[u8]>>,
}

/// What [`Rings::wait`] woke for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There may be records, or the time is up.
    Records,
    /// Reading should end.
    Stop,
}

impl Rings {
    /// Takes the rings, and takes note of how full they are; reading ends when `stop` becomes readable.
    #[must_use]
    pub fn new(
        telemetry: RingBuf<MapData>,
        critical: RingBuf<MapData>,
        fill: Arc<RingsFill>,
        stop: OwnedFd,
    ) -> Self {
        Self {
            telemetry,
            critical,
            fill,
            stop,
            batch: Batch::default(),
        }
    }

    /// Waits for records, at most for `timeout`. Where there were some just now more are gathered for a moment first, so
    /// that a busy node wakes the reader for a batch, and not for each of them.
    ///
    /// # Errors
    /// When poll(2) fails, other than by a signal.
    pub fn wait(&self, timeout: Duration) -> io::Result<Wake> {
        let telemetry = self.telemetry.as_fd();
        let critical = self.critical.as_fd();
        let stop = PollFd::new(&self.stop, PollFlags::IN);
        let critical = PollFd::new(&critical, PollFlags::IN);
        let mut fds = [stop, critical, PollFd::new(&telemetry, PollFlags::IN)];
        if self.batch.records.is_empty() {
            Self::poll(&mut fds, timeout)?;
        } else {
            Self::poll(&mut fds[..2], GATHERING)?;
        }
        if fds[0].revents().is_empty() {
            Ok(Wake::Records)
        } else {
            Ok(Wake::Stop)
        }
    }

    fn poll(fds: &mut [PollFd<'_>], timeout: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        match poll(fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands what is in the rings to `process`, the oldest first; returns whether there may be more. `now_ns` is the time
    /// since boot.
    pub fn drain(&mut self, now_ns: u64, mut process: impl FnMut(&[u8])) -> bool {
        let Self {
            telemetry,
            critical,
            fill,
            batch,
            ..
        } = self;
        fill.telemetry.note(now_ns);
        fill.critical.note(now_ns);
        batch.bytes.clear();
        batch.records.clear();
        let more = batch.take(telemetry, BATCH_BYTES);
        let newest = batch.records.last().map(|(time, _)| *time);
        for record in std::mem::take(&mut batch.held) {
            batch.append(&record);
        }
        // It is small, and emptied each time.
        batch.take(critical, usize::MAX);
        batch.records.sort_by_key(|(time, _)| *time);
        for (time, place) in &batch.records {
            let record = &batch.bytes[place.clone()];
            if more && newest.is_some_and(|newest| *time > newest) {
                batch.held.push(record.into());
            } else {
                process(record);
            }
        }
        more
    }
}

impl Batch {
    /// Takes from a ring what is there, up to the limit; returns whether there may be more.
    fn take(&mut self, ring: &mut RingBuf<MapData>, most_bytes: usize) -> bool {
        let limit = self.bytes.len().saturating_add(most_bytes);
        while self.bytes.len() < limit {
            let Some(record) = ring.next() else {
                return false;
            };
            self.append(&record);
        }
        true
    }

    fn append(&mut self, record: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record);
        self.records
            .push((time_of(record), start..self.bytes.len()));
    }
}

/// Time of a record; one that is not valid comes first, and is then refused by its decoder.
fn time_of(bytes: &[u8]) -> u64 {
    Header::read(bytes).map_or(0, |header| header.time_ns)
}
