//! A container without a runtime: a kubelet-shaped cgroup, namespaces, and a first process.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cgroup::Cgroup;
use crate::namespaces::{self, Pids};

/// Where its service listens, inside its network namespace.
const PORT: u16 = 8080;

/// How long one step may take on an emulated machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A running container. Dropping it kills what is in it and removes its cgroups.
pub(crate) struct Container {
    /// 64 hexadecimal digits, as containerd and CRI-O give out.
    pub(crate) id: String,
    /// The UID of the pod in its cgroup's path.
    pub(crate) pod: String,
    // In this order when dropped: a cgroup can only go once it is empty.
    init: Init,
    cgroup: Cgroup,
}

impl Container {
    /// Starts a container whose first process is the service of [`crate::service`].
    pub(crate) fn start() -> Result<Self> {
        Self::run(Pids::OwnInProc, |_| {
            let mut service = Command::new("/proc/self/exe");
            service.arg("service").arg(PORT.to_string());
            service.stdout(Stdio::null());
            service
        })
    }

    /// Starts a container whose first process is what `first` makes of the directory of its cgroup.
    pub(crate) fn run(pids: Pids, first: impl FnOnce(&Path) -> Command) -> Result<Self> {
        let pod = uuid()?;
        let id = format!("{}{}", uuid()?, uuid()?).replace('-', "");
        let cgroup = Cgroup::make(&format!("kubepods/besteffort/pod{pod}/{id}"))?;
        let mut first = first(cgroup.directory());
        first.stdin(Stdio::null()).current_dir("/");
        let init = Init(namespaces::spawn_new(first, pids, cgroup.door()?)?);
        Ok(Self {
            id,
            pod,
            init,
            cgroup,
        })
    }

    /// Process id of its first process, on the host.
    pub(crate) fn first_process(&self) -> u32 {
        self.init.0.id()
    }

    /// What the first process, whose output is a pipe, prints until it ends, and how it ends.
    pub(crate) fn output(&mut self) -> Result<(ExitStatus, String)> {
        let init = &mut self.init.0;
        let mut pipe = init
            .stdout
            .take()
            .context("the container's output is no pipe")?;
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let outcome = pipe.read_to_string(&mut text).map(|_| text);
            // Nobody listens any more when it took too long.
            let _ = sender.send(outcome);
        });
        let text = receiver.recv_timeout(LIMIT).with_context(|| {
            format!(
                "what runs in the container does not end within {} s",
                LIMIT.as_secs()
            )
        })?;
        let text = text.context("could not read the container's output")?;
        let status = init.wait().context("could not wait for the container")?;
        Ok((status, text))
    }

    /// Sends `request` to the service and returns its answer.
    pub(crate) fn ask(&mut self, request: &str) -> Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let deadline = Instant::now() + LIMIT;
        let init = &mut self.init.0;
        let mut stream = loop {
            match namespaces::in_network_of(init.id(), || {
                Ok(TcpStream::connect_timeout(&address, LIMIT)?)
            }) {
                Ok(stream) => break stream,
                Err(error) => {
                    if let Some(status) = init
                        .try_wait()
                        .context("could not look after the service")?
                    {
                        bail!("the service in the container ended with {status}");
                    }
                    if Instant::now() >= deadline {
                        return Err(error.context(format!(
                            "the service in the container does not listen after {} s",
                            LIMIT.as_secs()
                        )));
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        };
        let mut exchange = || {
            stream.set_read_timeout(Some(LIMIT))?;
            writeln!(stream, "{request}")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        exchange().context("could not talk to the service in the container")
    }

    /// Runs a command in the container from outside, as `kubectl exec` does, and returns its output.
    pub(crate) fn exec(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = namespaces::spawn_beside(command, self.init.0.id(), self.cgroup.door()?)?;
        let output = child
            .wait_with_output()
            .with_context(|| format!("could not wait for {program} in the container"))?;
        if !output.status.success() {
            bail!("{program} in the container ended with {}", output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Process 1 of the container's PID namespace: the kernel kills the rest of them with it.
struct Init(Child);

impl Drop for Container {
    fn drop(&mut self) {
        // With the host's process ids nothing else would end its other processes.
        self.cgroup.kill();
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn uuid() -> Result<String> {
    const SOURCE: &str = "/proc/sys/kernel/random/uuid";
    let text = fs::read_to_string(SOURCE).with_context(|| format!("could not read {SOURCE}"))?;
    Ok(text.trim().to_owned())
}
