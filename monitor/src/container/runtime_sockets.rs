//! The sockets of container runtimes, by inode: whoever can talk to one has the whole node.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Where runtimes listen, from their documentation.
const PLACES: [(&str, &str); 9] = [
    ("/run/containerd/containerd.sock", "containerd"),
    ("/run/k3s/containerd/containerd.sock", "containerd"),
    ("/run/docker.sock", "docker"),
    ("/var/run/docker.sock", "docker"),
    ("/run/docker/containerd/containerd.sock", "containerd"),
    ("/run/crio/crio.sock", "cri-o"),
    ("/run/podman/podman.sock", "podman"),
    ("/run/cri-dockerd.sock", "docker"),
    ("/run/buildkit/buildkitd.sock", "buildkit"),
];

/// The host's root directory as seen from the agent: its own, or that of the host's first process.
const ROOTS: [&str; 2] = ["", "/proc/1/root"];

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct RuntimeSockets {
    places: Vec<(PathBuf, &'static str)>,
    known: HashMap<(u32, u64), &'static str>,
    looked: Option<Instant>,
}

impl RuntimeSockets {
    /// The usual places, and one more that is told.
    #[must_use]
    pub fn new(configured: Option<&Path>) -> Self {
        let mut places: Vec<(PathBuf, &'static str)> = PLACES
            .iter()
            .map(|(path, runtime)| (PathBuf::from(path), *runtime))
            .collect();
        if let Some(path) = configured
            && places.iter().all(|(known, _)| known != path)
        {
            places.push((path.to_owned(), "cri"));
        }
        Self {
            places,
            known: HashMap::new(),
            looked: None,
        }
    }

    /// The runtime whose socket has this inode; the device is in the kernel's encoding.
    pub fn runtime(&mut self, device: u32, inode: u64) -> Option<&'static str> {
        if self.looked.is_none_or(|looked| looked.elapsed() > KEPT) {
            self.look();
        }
        self.known.get(&(device, inode)).copied()
    }

    fn look(&mut self) {
        self.looked = Some(Instant::now());
        self.known.clear();
        for root in ROOTS {
            for (path, runtime) in &self.places {
                let Ok(found) = fs::metadata(format!("{root}{}", path.display())) else {
                    continue;
                };
                let device = libc::major(found.dev()) << 20 | libc::minor(found.dev());
                self.known.insert((device, found.ino()), runtime);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_is_known_by_its_inode() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("x.sock");
        let _listener = UnixListener::bind(&path).expect("bound");
        let mut sockets = RuntimeSockets::new(Some(&path));
        let found = fs::metadata(&path).expect("there");
        let device = libc::major(found.dev()) << 20 | libc::minor(found.dev());
        assert_eq!(sockets.runtime(device, found.ino()), Some("cri"));
        assert_eq!(sockets.runtime(device, found.ino() + 1), None);
    }
}
