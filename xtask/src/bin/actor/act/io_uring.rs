//! io_uring without a library: one operation by rings that are mapped here. See io_uring(7).

use std::ffi::{CStr, c_void};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::facts::offered;
use super::{Action, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("io-uring-setup", "Sets an io_uring up", |_| {
        Ring::make()?;
        Ok(json!({"call": "io_uring_setup"}))
    }),
    Action::new("io-uring-nop", "Has one do nothing", |_| {
        Ring::make()?.run(&entry(NOP))?;
        Ok(json!({"opcode": NOP, "name": "IORING_OP_NOP"}))
    }),
    Action::new("io-uring-openat", "Has one open /etc/shadow", |_| {
        open(0)?;
        Ok(json!({"opcode": OPENAT, "name": "IORING_OP_OPENAT", "path": PATH}))
    }),
    Action::new("shadow-io-uring", "The same, for what it opens", |_| {
        open(0)?;
        Ok(json!({"path": PATH, "call": "io_uring"}))
    }),
    Action::new(
        "shadow-io-uring-worker",
        "Has a worker of one open /etc/shadow",
        |_| {
            open(SQE_ASYNC)?;
            Ok(json!({"path": PATH, "call": "io_uring"}))
        },
    ),
    Action::new(
        "shadow-io-uring-direct",
        "Has one open /etc/shadow into its own table, without a descriptor",
        |_| {
            let path = sys::text(PATH)?;
            let mut entry = opens(&path)?;
            // Places are counted from 1.
            entry.file_place = 1;
            let ring = Ring::make()?;
            ring.make_place()?;
            ensure!(ring.run(&entry)? == 0, "it was opened as a descriptor");
            Ok(json!({"path": PATH, "call": "io_uring"}))
        },
    ),
];

const PATH: &str = "/etc/shadow";

/// Opens it, with these flags of a submission.
fn open(flags: u8) -> Result<()> {
    let path = sys::text(PATH)?;
    let mut entry = opens(&path)?;
    entry.flags = flags;
    let opened = Ring::make()?.run(&entry)?;
    // SAFETY: the ring just returned it.
    drop(unsafe { sys::descriptor(opened.into()) }?);
    Ok(())
}

/// The operation that opens a path, which must live until that has ended.
fn opens(path: &CStr) -> Result<Entry> {
    let mut entry = entry(OPENAT);
    entry.descriptor = libc::AT_FDCWD;
    entry.address = u64::try_from(path.as_ptr().expose_provenance())?;
    Ok(entry)
}

/// Values of linux/io_uring.h.
const NOP: u8 = 0;
const OPENAT: u8 = 18;
const SQE_ASYNC: u8 = 1 << 4;
const ENTER_GETEVENTS: usize = 1;
const REGISTER_FILES: usize = 2;
const OFFSET_SUBMISSIONS: libc::off_t = 0;
const OFFSET_COMPLETIONS: libc::off_t = 0x800_0000;
const OFFSET_ENTRIES: libc::off_t = 0x1000_0000;

/// `struct io_uring_params`. The offsets of each ring: head, tail, mask, entries, then what differs.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    submission_entries: u32,
    completion_entries: u32,
    settings: [u32; 8],
    /// Of submissions: …, flags, dropped, array.
    submissions: [u32; 10],
    /// Of completions: …, overflow, entries.
    completions: [u32; 10],
}

/// `struct io_uring_sqe`.
#[repr(C)]
#[derive(Default)]
struct Entry {
    opcode: u8,
    flags: u8,
    priority: u16,
    descriptor: i32,
    offset: u64,
    address: u64,
    length: u32,
    operation_flags: u32,
    user: u64,
    buffer: u16,
    personality: u16,
    file_place: u32,
    more: [u64; 2],
}

fn entry(opcode: u8) -> Entry {
    Entry {
        opcode,
        ..Default::default()
    }
}

/// `struct io_uring_cqe`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Completion {
    user: u64,
    result: i32,
    flags: u32,
}

struct Ring {
    file: OwnedFd,
    parameters: Parameters,
}

impl Ring {
    fn make() -> Result<Self> {
        let mut parameters = Parameters::default();
        let arguments = [1, (&raw mut parameters).expose_provenance()];
        // SAFETY: the kernel writes a `struct io_uring_params`, which `parameters` is laid out as.
        let made = unsafe { sys::call(libc::SYS_io_uring_setup, arguments) };
        let made = offered(made, "could not set an io_uring up")?;
        // SAFETY: the call just returned it.
        let file = unsafe { sys::descriptor(made) }?;
        Ok(Self { file, parameters })
    }

    /// Makes one free place in the table of files of the ring.
    fn make_place(&self) -> Result<()> {
        let free: i32 = -1;
        let ring = usize::try_from(self.file.as_raw_fd())?;
        let arguments = [
            ring,
            REGISTER_FILES,
            (&raw const free).expose_provenance(),
            1,
        ];
        // SAFETY: the kernel reads one number from `free`.
        let made = unsafe { sys::call(libc::SYS_io_uring_register, arguments) };
        offered(made, "could not make a table of files")?;
        Ok(())
    }

    /// Submits `entry`, waits for its completion, and returns the result of that.
    fn run(self, entry: &Entry) -> Result<i32> {
        let submissions = Mapping::of(&self.file, OFFSET_SUBMISSIONS)?;
        let completions = Mapping::of(&self.file, OFFSET_COMPLETIONS)?;
        let entries = Mapping::of(&self.file, OFFSET_ENTRIES)?;
        let [_, tail, _, _, _, _, array, ..] = self.parameters.submissions;
        // SAFETY: the first entry and the first place of the array lie in rings of one entry or more, at the kernel's offsets.
        unsafe {
            entries.at::<Entry>(0)?.write(std::ptr::read(entry));
            submissions.at::<u32>(array)?.write(0);
        }
        // SAFETY: the tail is a number that only this process writes, and the kernel reads.
        let tail = unsafe { &*submissions.at::<AtomicU32>(tail)? };
        tail.store(1, Ordering::Release);
        let ring = usize::try_from(self.file.as_raw_fd())?;
        // SAFETY: the one submission is whole; its addresses outlive it, as its completion is waited for.
        let taken = unsafe { sys::call(libc::SYS_io_uring_enter, [ring, 1, 1, ENTER_GETEVENTS]) };
        ensure!(
            taken.context("could not submit an operation")? == 1,
            "the operation was not taken"
        );
        let [_, tail, _, _, _, first, ..] = self.parameters.completions;
        // SAFETY: the tail is a number that only the kernel writes.
        let tail = unsafe { &*completions.at::<AtomicU32>(tail)? };
        ensure!(tail.load(Ordering::Acquire) == 1, "nothing was completed");
        // SAFETY: the tail says that the first completion is written.
        let completion = unsafe { completions.at::<Completion>(first)?.read() };
        if completion.result < 0 {
            let error = std::io::Error::from_raw_os_error(-completion.result);
            return offered(Err(error), "the operation failed");
        }
        Ok(completion.result)
    }
}

/// Memory that is shared with the kernel.
struct Mapping(NonNull<c_void>);

impl Mapping {
    /// More than rings of one entry take.
    const LENGTH: usize = 4096;

    fn of(file: &OwnedFd, offset: libc::off_t) -> Result<Self> {
        // SAFETY: a new mapping takes no memory that is in use.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::LENGTH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if address == libc::MAP_FAILED {
            bail!("could not map a ring: {}", std::io::Error::last_os_error());
        }
        NonNull::new(address).map(Self).context("a ring at 0")
    }

    /// What lies at an offset, if the mapping has it whole.
    fn at<T>(&self, offset: u32) -> Result<*mut T> {
        let offset = usize::try_from(offset)?;
        ensure!(
            offset + size_of::<T>() <= Self::LENGTH && offset.is_multiple_of(align_of::<T>()),
            "a ring's offset is out of range"
        );
        Ok(self.0.as_ptr().wrapping_byte_add(offset).cast())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing refers to it any more.
        unsafe { libc::munmap(self.0.as_ptr(), Self::LENGTH) };
    }
}
