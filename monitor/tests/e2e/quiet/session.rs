//! What a job may do does not make the same harmless in a session from outside.

use watchkeeper::proto::v1::Severity;

use crate::harness::agent::Agent;
use crate::harness::command::text;
use crate::harness::podman::Podman;
use crate::harness::watch::container_id;
use crate::harness::{debian, skipped, unique};

const COMPILE: &str =
    "cd /srv && echo 'int main(void) { return 0; }' >NAME.c && gcc -o NAME NAME.c && ./NAME";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_compiled_in_a_session_is_serious_beside_a_job_that_compiles() {
    if skipped() {
        return;
    }
    let podman = Podman::with_images(debian::store());
    let agent = Agent::full(&[]);
    let job = format!("{} && exec sleep 1000", COMPILE.replace("NAME", "job"));
    let entry = ["/bin/sh", "-c", &job];
    let container = podman.run_image(debian::NAME, &unique("job"), &[], &entry);
    let severity_of = async |exe: &str| {
        let alerts = agent.past_alerts().await;
        let own = alerts.into_iter().find(|alert| {
            alert.rule_id == "exec.drifted"
                && container_id(alert.container.as_ref()) == container.id
                && alert.process.as_ref().is_some_and(|found| found.exe == exe)
        });
        own.map(|alert| alert.severity())
    };
    let wait_for = async |exe: &str| {
        for _ in 0..100 {
            if let Some(severity) = severity_of(exe).await {
                return severity;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("{exe} is not found:\n{}", container.logs());
    };
    assert_eq!(wait_for("/srv/job").await, Severity::Medium);
    let typed = COMPILE.replace("NAME", "typed");
    let output = container.exec(&["/bin/sh", "-c", &typed]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(wait_for("/srv/typed").await, Severity::High);
}
