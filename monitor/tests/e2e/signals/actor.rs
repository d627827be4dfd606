//! Running an action of the actor.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::case::Facts;

/// How long an action may take. It bounds failures and is no claim about speed.
const LIMIT: Duration = Duration::from_secs(60);

/// The exit code of an action that the kernel or the host does not offer.
const NOT_OFFERED: i32 = 3;

/// What came of an action.
pub(crate) enum Acted {
    Done(Facts),
    /// It can't be done here, and why.
    NotOffered(String),
}

/// The release binary: `WATCHKEEPER_ACTOR`, or the workspace's.
pub(crate) fn binary() -> PathBuf {
    let path = env::var_os("WATCHKEEPER_ACTOR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/actor"),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is not there: build it with `cargo build --release --package xtask --bin actor`, or name another in \
         WATCHKEEPER_ACTOR",
        path.display()
    );
    path
}

/// Runs an action to its end.
pub(crate) async fn act(action: &str) -> Result<Acted, String> {
    let mut command = Command::new(binary());
    command
        .args(["act", action])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .map_err(|_| format!("the action does not end within {} s", LIMIT.as_secs()))?
        .map_err(|error| format!("the actor can't be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let facts = serde_json::from_str(text.trim()).map(Facts::new);
    match (facts, output.status.code()) {
        (Ok(facts), Some(0)) => Ok(Acted::Done(facts)),
        (Ok(facts), Some(NOT_OFFERED)) => {
            Ok(Acted::NotOffered(facts.text("not_offered").to_owned()))
        }
        _ => Err(format!(
            "the action ended with {}: {text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
