//! Containers that come to an end by themselves: each makes a file `finished` in the directory that is mounted at `/outcome`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use super::Finished;
use crate::harness::command::succeed;
use crate::harness::podman::{Container, Podman};
use crate::harness::{debian, image, unique};

/// A workload of one container.
struct Workload {
    name: &'static str,
    image: &'static str,
    /// Options of `podman run`.
    options: &'static [&'static str],
    /// Files of [`Files`], and where they are in the container.
    mounts: &'static [(&'static str, &'static str)],
    /// What a shell runs as the first process; systemd runs where it is empty.
    script: &'static str,
}

const WORKLOADS: [Workload; 7] = [
    Workload {
        name: "web-server",
        image: debian::NAME,
        options: &[],
        mounts: &[],
        script: include_str!("workloads/web-server.sh"),
    },
    Workload {
        name: "database",
        image: debian::NAME,
        options: &[],
        mounts: &[],
        script: include_str!("workloads/database.sh"),
    },
    Workload {
        name: "cron",
        image: debian::NAME,
        options: &[],
        mounts: &[
            ("cron.table", "/etc/cron.d/site"),
            ("cron.logrotate", "/etc/logrotate.d/site"),
        ],
        script: include_str!("workloads/cron.sh"),
    },
    Workload {
        name: "systemd",
        image: debian::NAME,
        options: &["--systemd=always"],
        mounts: &[
            ("systemd.sh", "/opt/maintenance"),
            ("systemd.unit", "/etc/systemd/system/maintenance.service"),
            (
                "systemd.wants",
                "/etc/systemd/system/multi-user.target.d/maintenance.conf",
            ),
        ],
        script: "",
    },
    Workload {
        name: "ci-runner",
        image: debian::NAME,
        options: &[],
        mounts: &[("project", "/opt/project")],
        script: include_str!("workloads/ci-runner.sh"),
    },
    Workload {
        name: "package-build",
        image: debian::NAME,
        options: &[],
        mounts: &[("project", "/opt/project")],
        script: include_str!("workloads/package-build.sh"),
    },
    Workload {
        name: "init",
        image: image::NAME,
        options: &[],
        mounts: &[],
        script: include_str!("workloads/init.sh"),
    },
];

/// What the workloads' containers have mounted, and the directories for their outcomes.
pub(crate) struct Files(TempDir);

impl Files {
    /// Copies that belong to root and that nobody else can write to, as cron demands.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/quiet/workloads");
        let mut cp = Command::new("cp");
        cp.args(["-r", "--no-preserve=ownership"]).arg(from);
        succeed(cp.arg(directory.path().join("files")));
        let mut chmod = Command::new("chmod");
        succeed(chmod.args(["-R", "a+rX,go-w"]).arg(directory.path()));
        Self(directory)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("files").join(name)
    }

    /// A new directory.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let directory = self.0.path().join(name);
        fs::create_dir(&directory).expect("a directory can be made");
        directory
    }
}

/// A workload whose containers were started.
pub(crate) struct Running<'a> {
    pub(crate) name: &'static str,
    /// Those that it is made of; the first one is that which comes to the end.
    containers: Vec<Container<'a>>,
    outcome: PathBuf,
    start: Instant,
}

/// Starts all of them.
pub(crate) fn start<'a>(podman: &'a Podman, files: &Files) -> Vec<Running<'a>> {
    let mut running: Vec<_> = WORKLOADS
        .iter()
        .map(|workload| workload.start(podman, files))
        .collect();
    running.push(mesh(podman, files));
    running
}

impl Workload {
    fn start<'a>(&self, podman: &'a Podman, files: &Files) -> Running<'a> {
        let outcome = files.directory(self.name);
        let mut mounts = vec![format!("--volume={}:/outcome", outcome.display())];
        mounts.extend(self.mounts.iter().map(|(file, to)| {
            let file = files.file(file);
            format!("--volume={}:{to}:ro", file.display())
        }));
        let mut options = self.options.to_vec();
        options.extend(mounts.iter().map(String::as_str));
        let entry = match self.script {
            "" => vec!["/sbin/init"],
            script => vec!["/bin/sh", "-c", script],
        };
        let name = unique(self.name);
        let start = Instant::now();
        Running {
            name: self.name,
            containers: vec![podman.run_image(self.image, &name, &options, &entry)],
            outcome,
            start,
        }
    }
}

/// A service with a sidecar in its network namespace, which a container before it has prepared.
fn mesh<'a>(podman: &'a Podman, files: &Files) -> Running<'a> {
    let start = Instant::now();
    let outcome = files.directory("sidecar");
    let volume = format!("--volume={}:/outcome", outcome.display());
    let run = |name: &str, options: &[&str], script| {
        let entry = ["/bin/sh", "-c", script];
        podman.run_image(debian::NAME, &unique(name), options, &entry)
    };
    let script = include_str!("workloads/sidecar-service.sh");
    let service = run("service", &[&volume], script);
    let network = format!("--network=container:{}", service.name);
    let options = [&network, "--cap-add=NET_ADMIN,NET_RAW"];
    let init = run("init", &options, include_str!("workloads/sidecar-init.sh"));
    let code = succeed(&mut podman.command(&["wait", &init.name]));
    assert_eq!(code, "0", "{}", init.logs());
    let options = [&network, "--user=1337:1337"];
    let proxy = run(
        "proxy",
        &options,
        include_str!("workloads/sidecar-proxy.sh"),
    );
    Running {
        name: "sidecar",
        containers: vec![service, init, proxy],
        outcome,
        start,
    }
}

impl Running<'_> {
    /// Whether it has come to its end, which must be the good one.
    pub(crate) fn is_over(&self) -> bool {
        let is_over = || self.outcome.join("finished").exists();
        // The file may be made, and the container end, between two looks.
        let runs = is_over() || self.containers[0].runs() || is_over();
        assert!(runs, "{} failed:\n{}", self.name, self.said());
        is_over()
    }

    /// What its containers wrote.
    pub(crate) fn said(&self) -> String {
        let log = fs::read_to_string(self.outcome.join("log"));
        let logs = self.containers.iter().map(Container::logs);
        logs.chain(log.ok()).collect::<Vec<_>>().join("\n---\n")
    }

    /// Its containers, for good.
    pub(crate) fn finish(self) -> Finished {
        let ids = self.containers.iter().map(|one| one.id.clone());
        Finished {
            name: self.name,
            containers: ids.collect(),
            took: self.start.elapsed(),
        }
    }
}
