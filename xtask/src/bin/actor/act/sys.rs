//! System calls by number, and what their arguments are made of.

use std::ffi::{CString, c_long};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

/// Makes the system call `number`; those of `arguments` that are not given are zero.
///
/// # Safety
///
/// Arguments that the kernel takes for addresses must be those of memory that it may use so.
pub(super) unsafe fn call<const N: usize>(
    number: c_long,
    arguments: [usize; N],
) -> io::Result<i64> {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: the caller answers for the arguments.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A descriptor that a system call returned.
///
/// # Safety
///
/// `number` must be a descriptor that nothing else owns.
pub(super) unsafe fn descriptor(number: i64) -> Result<OwnedFd> {
    let number = i32::try_from(number).context("not a descriptor")?;
    // SAFETY: the caller says that it is free to be owned.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A text as the kernel takes it.
pub(super) fn text(text: &str) -> Result<CString> {
    CString::new(text).with_context(|| format!("{text:?} has a zero byte"))
}

/// `AT_FDCWD` and other negative numbers as an argument.
pub(super) fn signed(number: i32) -> usize {
    isize::try_from(number).map_or(0, isize::cast_unsigned)
}

/// A number of 32 bits as an argument.
pub(super) fn word(number: u32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
