//! Secrets in arguments are gone before anything is kept or sent.

use std::process::{Child, Command, Stdio};

use watchkeeper::proto::v1::EventKind;

use crate::harness::agent::Agent;
use crate::harness::{skipped, unique};

/// A process that waits, with arguments of its own, for as long as this lives.
struct Waiting(Child);

impl Waiting {
    fn with(arguments: &[&str]) -> Self {
        let mut shell = Command::new("/bin/sh");
        // The arguments are the shell's, which reads from a pipe until its end.
        shell.args(["-c", "read line", "waiting"]).args(arguments);
        let child = shell.stdin(Stdio::piped()).spawn();
        Self(child.expect("a shell can run"))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_kept_or_sent() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let list = directory.path().join("redact.yaml");
    std::fs::write(&list, "patterns: [{name: acme, regex: 'acme-[0-9]+'}]\n").expect("written");
    let secret = unique("hunter");
    let (before, after) = (unique("before"), unique("after"));
    let option = format!("--db-password={secret}");
    let text = format!("curl https://me:{secret}@host/ -H 'X-Auth-Token: {secret}'");
    let early = Waiting::with(&[&before, &option]);
    let agent = Agent::start(&["--redact-list", &list.to_string_lossy()]);
    let late = Waiting::with(&[&after, &option, &text, "acme-4711"]);

    let event = agent.exec_with(&after).await;
    let process = event.process.as_ref().expect("an exec has a process");
    assert_eq!(process.pid, late.0.id());
    assert_eq!(
        process.argv[4..],
        [
            after,
            "--db-password=<redacted>".to_owned(),
            "curl https://me:<redacted>@host/ -H 'X-Auth-Token: <redacted>'".to_owned(),
            "<redacted>".to_owned(),
        ]
    );
    assert_eq!(process.argv_redactions, 4);

    // One that was there before the agent shows in the events of its end, with its arguments from procfs.
    let pid = early.0.id();
    let mut exits = agent.live_events(EventKind::Exit).await;
    drop((early, late));
    let ended = exits
        .find("the end of the early one", |event| {
            event
                .process
                .as_ref()
                .is_some_and(|process| process.pid == pid)
        })
        .await;
    let process = ended.process.as_ref().expect("an exit has a process");
    assert_eq!(
        process.argv[4..],
        [before, "--db-password=<redacted>".to_owned()]
    );
    assert_eq!(process.argv_redactions, 1);
    for output in [
        vec!["events", "-o", "json"],
        vec!["events"],
        vec!["alerts", "-o", "json"],
    ] {
        let printed = agent.query(&output);
        assert!(!printed.contains(&secret), "{output:?}: {printed}");
    }
}
