//! The loopback interface of a network namespace.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};

/// Loopback is down in a new network namespace. See netdevice(7).
pub(crate) fn bring_up() -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("could not make a socket")?;
    // SAFETY: `ifreq` is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the descriptor is open, and SIOCSIFFLAGS reads an `ifreq`, which `request` is.
    let outcome =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    nix::errno::Errno::result(outcome).context("could not bring the loopback interface up")?;
    Ok(())
}
