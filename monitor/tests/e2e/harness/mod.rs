//! What the tests stand on: agents, clients, container runtimes and cgroups, all of which clean up after themselves.
//!
//! It knows the public contract and the runtimes' command lines, and nothing of any single test.

pub(crate) mod agent;
pub(crate) mod cgroup;
pub(crate) mod command;
pub(crate) mod containerd;
pub(crate) mod debian;
pub(crate) mod held;
pub(crate) mod image;
pub(crate) mod kubelet;
pub(crate) mod kubernetes;
pub(crate) mod manifest;
pub(crate) mod mounts;
pub(crate) mod podman;
pub(crate) mod processes;
pub(crate) mod prometheus;
pub(crate) mod sensors;
pub(crate) mod service;
pub(crate) mod watch;

use std::env;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before the test fails. It bounds failures and is no claim about speed.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Whether the test can't run here. Says so past the test harness's capture of output.
pub(crate) fn skipped() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Nothing depends on whether anybody reads it.
        let _ = writeln!(std::io::stderr(), "skipped: needs root");
    }
    !root
}

/// What `cargo xtask` has made or fetched for the tests: at the path in the variable, or in the user's cache.
pub(crate) fn provided(variable: &str, in_cache: &str) -> PathBuf {
    let path = env::var_os(variable).map_or_else(
        || {
            let home = env::var_os("HOME").unwrap_or_default();
            Path::new(&home).join(".cache/watchkeeper").join(in_cache)
        },
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "{} is not there: `cargo xtask test` gets it; or name another in {variable}",
        path.display()
    );
    path
}

/// A name that nothing else on this machine has.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{number}", std::process::id())
}

/// Awaits `future` for at most [`LIMIT`].
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: nothing within {} s", LIMIT.as_secs()))
}

/// Asks `attempt` until it has an answer, for at most [`LIMIT`].
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: not within {} s",
            LIMIT.as_secs()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
