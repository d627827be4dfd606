//! The policies in force while the agent runs: taken over anew whenever the files of their directory change, all of them or none.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::set::RuleSet;
use crate::problem::Problem;

/// How often the directory is looked at. Kubernetes replaces the files of a ConfigMap by swapping a symbolic link, which watches of
/// single files do not see.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct LivePolicies {
    directory: Option<PathBuf>,
    state: RwLock<State>,
    /// How often policies were taken over, and how often they were refused.
    loads: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug)]
struct State {
    set: Arc<RuleSet>,
    since: SystemTime,
    problems: Vec<Problem>,
    seen: Vec<Seen>,
}

/// A file as it was when it was read.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl LivePolicies {
    /// Loads the policies of a directory, with the built-in ones. Where something is wrong with them, the built-in ones alone are in
    /// force: a node is not left unwatched for a mistake in a file.
    #[must_use]
    pub fn start(directory: Option<PathBuf>) -> Self {
        let seen = look(directory.as_deref());
        let (set, problems) = match RuleSet::load(directory.as_deref()) {
            Ok(loaded) => (loaded.set, Vec::new()),
            Err(problems) => {
                let built_in = RuleSet::of(&[]).map(|loaded| loaded.set);
                (built_in.unwrap_or_default(), problems)
            }
        };
        let failures = u64::from(!problems.is_empty());
        Self {
            directory,
            state: RwLock::new(State {
                set: Arc::new(set),
                since: SystemTime::now(),
                problems,
                seen,
            }),
            loads: AtomicU64::new(1 - failures),
            failures: AtomicU64::new(failures),
        }
    }

    /// The rules in force.
    #[must_use]
    pub fn set(&self) -> Arc<RuleSet> {
        Arc::clone(&self.read().set)
    }

    /// Since when they are.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.read().since
    }

    /// What is wrong with the files as they are now; empty when they are in force.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.read().problems.clone()
    }

    /// Where the files lie.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// How often policies were taken over, and how often they were refused.
    #[must_use]
    pub fn loads(&self) -> (u64, u64) {
        (
            self.loads.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        )
    }

    /// Loads the files anew where they have changed. Returns the rules that are in force from now on, where they are others.
    pub fn renew(&self) -> Option<Arc<RuleSet>> {
        let directory = self.directory.as_deref()?;
        let seen = look(Some(directory));
        if seen == self.read().seen {
            return None;
        }
        let loaded = RuleSet::load(Some(directory));
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.seen = seen;
        match loaded {
            Ok(mut loaded) => {
                state.problems.clear();
                if loaded.set.digest() == state.set.digest() {
                    return None;
                }
                self.loads.fetch_add(1, Ordering::Relaxed);
                loaded.set.continue_from(&state.set);
                state.set = Arc::new(loaded.set);
                state.since = SystemTime::now();
                Some(Arc::clone(&state.set))
            }
            Err(problems) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                state.problems = problems;
                None
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of a directory as they are now.
fn look(directory: Option<&Path>) -> Vec<Seen> {
    let Some(entries) = directory.and_then(|directory| fs::read_dir(directory).ok()) else {
        return Vec::new();
    };
    let mut seen: Vec<Seen> = entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            // What a link leads to.
            let metadata = fs::metadata(&path).ok()?;
            metadata.is_file().then(|| Seen {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
                path,
            })
        })
        .collect();
    seen.sort_by(|one, other| one.path.cmp(&other.path));
    seen
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::policy::file::Severity;

    fn policy(severity: &str) -> String {
        format!(
            "apiVersion: watchkeeper.dev/v1\nkind: Policy\nmetadata:\n  name: site\noverrides:\n  - rule: shell.injected\n    severity: {severity}\n"
        )
    }

    fn severity(set: &RuleSet) -> Severity {
        set.get("shell.injected").expect("built in").rule.severity
    }

    /// A directory in the form in which Kubernetes mounts a ConfigMap: each file is a link through `..data`, which is swapped.
    fn mount(directory: &Path, version: &str, content: &str) {
        let inner = directory.join(format!("..{version}"));
        fs::create_dir(&inner).expect("made");
        fs::write(inner.join("site.yaml"), content).expect("written");
        let next = directory.join("..data_tmp");
        symlink(format!("..{version}"), &next).expect("linked");
        fs::rename(&next, directory.join("..data")).expect("swapped");
        let file = directory.join("site.yaml");
        if !file.exists() {
            symlink("..data/site.yaml", file).expect("linked");
        }
    }

    #[test]
    fn a_swapped_config_map_is_taken_over_and_a_bad_one_is_not() {
        let directory = tempfile::tempdir().expect("temporary directory");
        mount(directory.path(), "1", &policy("low"));
        let live = LivePolicies::start(Some(directory.path().to_path_buf()));
        assert_eq!(severity(&live.set()), Severity::Low);
        assert!(live.renew().is_none(), "nothing has changed");
        mount(directory.path(), "2", &policy("critical"));
        let set = live.renew().expect("changed");
        assert_eq!(severity(&set), Severity::Critical);
        assert_ne!(set.digest(), RuleSet::of(&[]).expect("valid").set.digest());
        mount(directory.path(), "3", &policy("enormous"));
        assert!(live.renew().is_none());
        assert_eq!(
            severity(&live.set()),
            Severity::Critical,
            "the old set stays in force"
        );
        let problem = live.problems()[0].to_string();
        assert!(
            problem.contains("site.yaml:7:") && problem.contains("enormous"),
            "{problem}"
        );
        assert_eq!(live.loads(), (2, 1));
        mount(directory.path(), "4", &policy("high"));
        assert!(live.renew().is_some() && live.problems().is_empty());
    }

    #[test]
    fn counting_goes_on_when_policies_change() {
        let directory = tempfile::tempdir().expect("temporary directory");
        mount(directory.path(), "1", &policy("low"));
        let live = LivePolicies::start(Some(directory.path().to_path_buf()));
        let before = live.set();
        let found = |set: &RuleSet| Arc::clone(&set.get("shell.injected").expect("built in").found);
        found(&before).count_finding();
        found(&before).count_alert(Severity::Low);
        mount(directory.path(), "2", &policy("critical"));
        let after = live.renew().expect("changed");
        // The detection thread may still be at an event by the old rules.
        found(&before).count_finding();
        assert_eq!(found(&after).findings(), 2);
        assert_eq!(found(&after).alerts(Severity::Low), 1);
        assert_eq!(found(&after).alerts(Severity::Critical), 0);
    }

    #[test]
    fn a_mistake_at_the_start_leaves_the_built_in_rules_in_force() {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::write(directory.path().join("a.yaml"), "kind: Pod\n").expect("written");
        let live = LivePolicies::start(Some(directory.path().to_path_buf()));
        assert_eq!(live.problems().len(), 1);
        assert!(live.set().get("shell.injected").is_some());
        fs::write(directory.path().join("a.yaml"), policy("low")).expect("written");
        assert_eq!(severity(&live.renew().expect("changed")), Severity::Low);
    }
}
