//! Building images runs shells all the time.

use watchkeeper::proto::v1::{Container, Location, Runtime, Severity};

use crate::harness::agent::Agent;
use crate::harness::command::succeed;
use crate::harness::podman::Podman;
use crate::harness::{image, skipped, unique};

#[tokio::test(flavor = "multi_thread")]
async fn shell_of_a_build_step_is_labelled_and_no_serious_alert() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let container = succeed(&mut podman.buildah(&["from", "--pull-never", image::NAME]));
    let marker = unique("step");
    let script = format!("/bin/true {marker}; :");
    let run = [
        "run",
        "--isolation",
        "oci",
        "--runtime",
        "runc",
        "--network",
        "none",
        &container,
    ];
    succeed(podman.buildah(&run).args(["--", "/bin/sh", "-c", &script]));

    for argv in [&["/bin/sh", "-c", &script][..], &["/bin/true", &marker]] {
        let event = agent
            .exec(&format!("{argv:?}"), |event| {
                event
                    .process
                    .as_ref()
                    .is_some_and(|process| process.argv == argv)
            })
            .await;
        assert_eq!(event.location(), Location::Container, "{event:#?}");
        let container = event.container.as_ref().expect("it is in a container");
        assert_eq!(container.runtime(), Runtime::Buildah, "{container:#?}");
    }
    for alert in agent.past_alerts().await {
        let runtime = alert.container.as_ref().map(Container::runtime);
        let serious = alert.severity() >= Severity::High;
        assert!(!serious || runtime != Some(Runtime::Buildah), "{alert:#?}");
    }
}
