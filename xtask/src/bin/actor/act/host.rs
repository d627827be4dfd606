//! What an action needs outside its container: made before it, gone after it.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::cgroup::Cgroup;
use crate::container::Container;

/// Where runtimes listen, by the names that the agent has for them.
const SOCKETS: [(&str, &str); 4] = [
    ("docker", "/run/docker.sock"),
    ("containerd", "/run/containerd/containerd.sock"),
    ("cri-o", "/run/crio/crio.sock"),
    ("podman", "/run/podman/podman.sock"),
];

/// What an action needs.
#[derive(Clone, Copy)]
pub(super) enum Outside {
    Nothing,
    /// A process on the host.
    Process,
    /// The same, and the container has the host's process ids.
    ProcessInView,
    /// A process in another container, and the container has the host's process ids.
    OtherContainerInView,
    /// The socket of a container runtime: one that is there, or one at docker's place where there is none.
    RuntimeSocket,
    /// A cgroup beside the container's.
    Cgroup,
}

/// It, as long as it is there.
pub(super) enum Standing {
    Nothing,
    Process(Helper),
    Container(Container),
    Socket(Socket),
    Cgroup(Cgroup),
}

impl Outside {
    pub(super) fn set_up(self) -> Result<Standing> {
        Ok(match self {
            Self::Nothing => Standing::Nothing,
            Self::Process | Self::ProcessInView => Standing::Process(Helper::start()?),
            Self::OtherContainerInView => Standing::Container(Container::start()?),
            Self::RuntimeSocket => Standing::Socket(Socket::find_or_make()?),
            Self::Cgroup => {
                let name = format!("watchkeeper-actor-{}", std::process::id());
                Standing::Cgroup(Cgroup::make(&name)?)
            }
        })
    }
}

impl Standing {
    /// What those in the container are told of it.
    pub(super) fn given(&self) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Process(helper) => vec![format!("helper={}", helper.0.id())],
            Self::Container(other) => vec![
                format!("helper={}", other.first_process()),
                format!("other={}", other.id),
            ],
            Self::Socket(socket) => vec![
                format!("runtime={}", socket.runtime),
                format!("socket={}", socket.path),
            ],
            Self::Cgroup(cgroup) => vec![format!("other={}", cgroup.directory().display())],
        }
    }
}

/// A process that waits until it is dropped.
pub(super) struct Helper(Child);

impl Helper {
    fn start() -> Result<Self> {
        let mut idle = Command::new("/proc/self/exe");
        idle.arg("idle").stdin(Stdio::piped()).stdout(Stdio::null());
        let child = idle
            .spawn()
            .context("could not start a process to act on")?;
        Ok(Self(child))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The socket of a runtime.
pub(super) struct Socket {
    runtime: &'static str,
    path: &'static str,
    /// Where it was made here.
    made: Option<(PathBuf, UnixListener)>,
}

impl Socket {
    fn find_or_make() -> Result<Self> {
        // Not by its name alone: one may be left over from a runtime that has ended.
        let answers = |path: &str| UnixStream::connect(path).is_ok();
        if let Some((runtime, path)) = SOCKETS.into_iter().find(|(_, path)| answers(path)) {
            return Ok(Self {
                runtime,
                path,
                made: None,
            });
        }
        let (runtime, path) = SOCKETS[0];
        let listener =
            UnixListener::bind(path).with_context(|| format!("could not listen at {path}"))?;
        Ok(Self {
            runtime,
            path,
            made: Some((path.into(), listener)),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.made
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!("actor: could not remove {}: {error}", path.display());
        }
    }
}
