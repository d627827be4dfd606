//! The build of an image, whose steps install packages and run at once what these brought.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::Finished;
use super::workloads::Files;
use crate::harness::agent::Agent;
use crate::harness::command::text;
use crate::harness::podman::Podman;
use crate::harness::watch::{argv, container_id};
use crate::harness::{debian, unique};

/// A build that goes on.
pub(crate) struct Build {
    /// A word in the arguments of every step's first program.
    marker: String,
    builder: JoinHandle<(Output, Duration)>,
}

/// Starts buildah; steps have no network.
pub(crate) fn start(podman: &Podman, files: &Files) -> Build {
    let marker = unique("step");
    let steps = include_str!("workloads/image-build.containerfile");
    let steps = steps
        .replace("IMAGE", debian::NAME)
        .replace("MARKER", &marker);
    let directory = files.directory("image-build");
    let file = directory.join("Containerfile");
    std::fs::write(&file, steps).expect("a file can be written");
    let mut buildah = podman.buildah(&["build", "--pull-never", "--isolation", "oci"]);
    buildah.args(["--runtime", "runc", "--network", "none"]);
    buildah.arg("--file").arg(&file).arg(&directory);
    let builder = tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        let output = buildah.output().expect("buildah can be run");
        (output, start.elapsed())
    });
    Build { marker, builder }
}

impl Build {
    /// Waits for its end, and finds out which containers the steps ran in.
    pub(crate) async fn finish(self, agent: &Agent) -> Finished {
        let (output, took) = self.builder.await.expect("buildah was run");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "the image is not built:\n{said}");
        agent.exec_with(&format!("{}-last", self.marker)).await;
        let execs = agent.past_execs().await;
        let of_steps = execs
            .iter()
            .filter(|event| argv(event).iter().any(|word| word.contains(&self.marker)));
        let containers: BTreeSet<String> = of_steps
            .map(|event| container_id(event.container.as_ref()).to_owned())
            // The builder itself is in none.
            .filter(|id| !id.is_empty())
            .collect();
        Finished {
            name: "image-build",
            containers,
            took,
        }
    }
}
