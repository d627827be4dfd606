//! Containers come and go by the thousand: what the agent keeps of them has an end.
//!
//! The figures are printed as lines that begin with `soak`, of which `cargo xtask soak --record` makes a report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use watchkeeper::proto::v1::{Container, EventKind, EventsWatchRequest};

use crate::harness::agent::Agent;
use crate::harness::cgroup::unified;
use crate::harness::command::succeed;
use crate::harness::held::{Figures, Held};
use crate::harness::watch::argv;
use crate::harness::{eventually, skipped, unique};
use crate::signals::actor;

/// How many containers there are.
const CONTAINERS: u32 = 20_000;
/// Between rounds the agent is looked at.
const ROUNDS: u32 = 10;
/// After so many rounds it is warm: what has a ceiling in containers, processes, events or alerts has reached it. Half of the
/// containers are five times those that have ended and are remembered (at most 2,048), have three times the processes that
/// history remembers (8,192), and cause five times the events that are kept in memory (32,768) and twice the alerts (4,096).
const WARM: usize = 5;
/// KiB of memory that may be held more at the end than when it was warm: the pages that SQLite keeps of the file that is written
/// and of those that are read (2 MiB for each of few connections), and what the allocator can't give back between what lives. A
/// container that left a KiB behind would be found.
const TOLERANCE: u64 = 8 << 10;
/// Tables of the kernel side whose keys begin with the id of a cgroup.
const BY_CGROUP: [&str; 2] = ["CGROUPS", "LOSSES"];
/// Classes of events.
const CLASSES: usize = 9;
/// Most containers that have ended and are listed.
const ENDED: usize = 1_024;

/// What the agent is like at some moment.
struct Sample {
    containers: u32,
    figures: Figures,
    /// Keys by map.
    keys: BTreeMap<String, usize>,
    events: u64,
    alerts: u64,
    lost: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_containers_leave_nothing_behind() {
    if skipped() {
        return;
    }
    let agent = Agent::full(&[]);
    let tables = Held::by(agent.pid()).tables();
    for name in BY_CGROUP {
        assert!(tables.contains_key(name), "there is no map {name}");
    }
    let ids = |containers: Vec<Container>| -> BTreeSet<String> {
        containers.into_iter().map(|one| one.id).collect()
    };
    let running = ids(agent.containers(false).await);

    let began = Instant::now();
    let mut samples = vec![sample(&agent, 0).await];
    for round in 1..=ROUNDS {
        churn(CONTAINERS / ROUNDS);
        caught_up(&agent).await;
        samples.push(sample(&agent, CONTAINERS / ROUNDS * round).await);
    }
    tell(&format!("seconds {}", began.elapsed().as_secs()));

    let status = agent.status().await;
    let counters = status.counters.expect("counters are set");
    assert_eq!((counters.lost, counters.malformed), (0, 0), "{counters:#?}");
    let listed = ids(agent.containers(false).await);
    assert_eq!(listed, running, "only what runs is listed");
    let ended = agent.containers(true).await.len() - listed.len();
    assert!((1..=ENDED).contains(&ended), "{ended} ended are listed");

    let warm = &samples[WARM];
    let last = samples.last().expect("there are samples");
    let grown = last.figures.resident.saturating_sub(warm.figures.resident);
    assert!(
        grown <= TOLERANCE,
        "{grown} KiB more are held than when it was warm"
    );
    for (name, table) in &tables {
        assert!(last.keys[name] <= table.ceiling(), "{name}");
    }
    for name in BY_CGROUP {
        // Losses of a cgroup that is gone are told first, and the cgroup is remembered for a minute.
        eventually(&format!("{name} has only cgroups that exist"), || {
            let keys = tables[name].numbers();
            let there = cgroups();
            // 0 stands for what no cgroup is known of.
            let gone = keys.iter().filter(|id| **id != 0 && !there.contains(id));
            (gone.count() == 0).then_some(())
        });
    }
    // A container has a budget for each class, and so had its cgroup before it was known; of a thread there is what was seen last.
    eventually("budgets and credentials are only of what lives", || {
        let there = cgroups().len();
        let budgets = tables["BUDGETS"].keys().len();
        let credentials = tables["CREDENTIALS"].keys().len();
        (budgets <= 2 * CLASSES * there && credentials <= threads()).then_some(())
    });
    // A connection that was asked over, and the thread that served it, end some seconds later; there may have been one then.
    eventually(
        "there are no more descriptors and threads than before",
        || {
            let now = Figures::of(agent.pid());
            let before = warm.figures;
            (now.descriptors <= before.descriptors && now.threads <= before.threads).then_some(())
        },
    );
}

/// Has containers come and go.
fn churn(containers: u32) {
    let status = Command::new(actor::binary())
        .args(["soak", "--containers", &containers.to_string()])
        .stdin(Stdio::null())
        .status()
        .expect("the actor can be run");
    assert!(status.success(), "the actor ended with {status}");
}

/// Waits until the agent has told of everything so far. It begins at the newest event, which is in memory: history may have gaps
/// where the disk is slower than the containers.
async fn caught_up(agent: &Agent) {
    let mut execs = agent
        .watch_events(EventsWatchRequest {
            kinds: vec![EventKind::Exec.into()],
            limit: 1,
            follow: true,
            ..Default::default()
        })
        .await;
    let marker = unique("caught-up");
    succeed(Command::new("/bin/true").arg(&marker));
    execs
        .find("the marker", |event| argv(event).contains(&marker))
        .await;
}

async fn sample(agent: &Agent, containers: u32) -> Sample {
    let tables = Held::by(agent.pid()).tables();
    let counters = agent.status().await.counters.expect("counters are set");
    let sample = Sample {
        containers,
        figures: Figures::of(agent.pid()),
        keys: tables
            .iter()
            .map(|(name, table)| (name.clone(), table.keys().len()))
            .collect(),
        events: counters.events,
        alerts: counters.alerts,
        lost: counters.lost,
    };
    sample.tell();
    sample
}

impl Sample {
    fn tell(&self) {
        let Figures {
            resident,
            descriptors,
            threads,
        } = self.figures;
        let keys: Vec<String> = self
            .keys
            .iter()
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        tell(&format!(
            "sample containers={} resident={resident} descriptors={descriptors} threads={threads} events={} alerts={} lost={} {}",
            self.containers,
            self.events,
            self.alerts,
            self.lost,
            keys.join(" ")
        ));
    }
}

/// Past the test harness's capture of output.
fn tell(text: &str) {
    // Nothing depends on whether anybody reads it.
    let _ = writeln!(std::io::stderr(), "soak {text}");
}

/// How many threads there are on this machine.
fn threads() -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| fs::read_dir(entry.path().join("task")).ok())
        .map(Iterator::count)
        .sum()
}

/// Ids of the cgroups that exist: the inodes of their directories.
fn cgroups() -> BTreeSet<u64> {
    fn walk(directory: &Path, found: &mut BTreeSet<u64>) {
        // Either may be gone by now.
        found.extend(fs::metadata(directory).map(|metadata| metadata.ino()));
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&entry.path(), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&unified(), &mut found);
    found
}
