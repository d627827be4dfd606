//! The container's first process: a network service with a hole in it. It runs what it is sent as a shell command.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::loopback;

/// Serves until killed. Refuses to run anywhere but as the first process of a container.
pub(crate) fn run(port: u16) -> Result<()> {
    if std::process::id() != 1 {
        bail!(
            "`service` runs commands that it is sent: it only works as the first process of a container of `actor demo`"
        );
    }
    nix::unistd::sethostname("watchkeeper-demo").context("could not set the host name")?;
    loopback::bring_up()?;
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
