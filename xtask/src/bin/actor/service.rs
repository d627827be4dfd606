//! The container's first process: a network service with a hole in it. It runs what it is sent as a shell command.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

/// Serves until killed. Refuses to run anywhere but as the first process of a container.
pub(crate) fn run(port: u16) -> Result<()> {
    if std::process::id() != 1 {
        bail!(
            "`service` runs commands that it is sent: it only works as the first process of a container of `actor demo`"
        );
    }
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    )
    .context("could not mount /proc")?;
    nix::unistd::sethostname("watchkeeper-demo").context("could not set the host name")?;
    bring_up_loopback()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("could not listen on port {port}"))?;
    for stream in listener.incoming() {
        // A client that went away is no reason to stop serving.
        if let Err(error) = stream.map_err(Into::into).and_then(answer) {
            eprintln!("service: {error:#}");
        }
    }
    Ok(())
}

/// What command injection looks like: the request becomes part of a shell command, its output goes back.
fn answer(mut stream: TcpStream) -> Result<()> {
    let mut request = String::new();
    BufReader::new(&stream)
        .read_line(&mut request)
        .context("could not read a request")?;
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(request.trim_end())
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let output = shell.output().context("could not run /bin/sh")?;
    stream
        .write_all(&output.stdout)
        .context("could not answer a request")
}

/// Loopback is down in a new network namespace. See netdevice(7).
fn bring_up_loopback() -> Result<()> {
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
