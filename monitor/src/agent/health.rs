//! Health that can't lie: sends heartbeats, waits for them where clients do, and tells what is wrong.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;
use tonic::transport::Endpoint;
use watchkeeper_ebpf::{loss::Reason, offsets::Sensor};

use crate::{
    event::LossReason,
    heartbeat::{ARGUMENT, Heartbeats, INTERVAL, Stage},
    kernel::{
        attach::{SensorState, SensorStatus},
        sensors,
    },
    proto::v1::{
        EventKind, EventsWatchRequest, event::Detail, events_client::EventsClient,
        events_watch_response::Item,
    },
    serve::{health::Health, sources::Sources},
};

/// How often it is looked what is wrong.
const LOOK: Duration = Duration::from_secs(1);
/// How many events may be lost within [`WINDOW`], other than by a container that exceeds its budget.
const LOSSES: u64 = 1_000;
/// See [`LOSSES`].
const WINDOW: Duration = Duration::from_secs(60);
/// Without one of these, containers or their processes are not known, and what is found is wrong or incomplete.
const CRITICAL: [Sensor; 6] = [
    Sensor::Fork,
    Sensor::Exec,
    Sensor::Exit,
    Sensor::CgroupMkdir,
    Sensor::CgroupRmdir,
    Sensor::CgroupAttach,
];

/// Runs until the agent stops. Heartbeats come out of the server at `socket`.
pub(super) async fn watch(sources: Sources, socket: PathBuf, health: watch::Sender<Health>) {
    tokio::join!(
        send(Arc::clone(&sources.heartbeats)),
        receive(Arc::clone(&sources.heartbeats), socket),
        judge(&sources, health)
    );
}

/// Runs a program now and then, which ends at once.
async fn send(heartbeats: Arc<Heartbeats>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 1_u64.. {
        ticks.tick().await;
        let ran = tokio::task::spawn_blocking(move || {
            // The agent's own program, also where its file has been replaced.
            Command::new("/proc/self/exe")
                .args([ARGUMENT, &number.to_string()])
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
        });
        match ran.await {
            Ok(Ok(_)) => heartbeats.reached(Stage::Sent, number),
            Ok(Err(error)) => tracing::warn!("sending a heartbeat: {error}"),
            // The runtime is being shut down.
            Err(_) => return,
        }
    }
}

/// Follows the stream of events as any client does.
async fn receive(heartbeats: Arc<Heartbeats>, socket: PathBuf) {
    loop {
        if let Err(error) = follow(&heartbeats, &socket).await {
            tracing::debug!("waiting for heartbeats: {error}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn follow(heartbeats: &Heartbeats, socket: &Path) -> anyhow::Result<()> {
    let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))?
        .connect()
        .await?;
    let request = EventsWatchRequest {
        kinds: vec![EventKind::Heartbeat.into()],
        // Numbers begin anew with each run of the agent.
        since: Some(SystemTime::now().into()),
        follow: true,
        ..EventsWatchRequest::default()
    };
    let mut stream = EventsClient::new(channel)
        .watch(request)
        .await?
        .into_inner();
    heartbeats.is_followed.store(true, Ordering::Relaxed);
    let followed = async {
        while let Some(message) = stream.message().await? {
            if let Some(Item::Event(event)) = message.item
                && let Some(Detail::Heartbeat(heartbeat)) = event.detail
            {
                heartbeats.reached(Stage::Stream, heartbeat.number);
            }
        }
        Ok(())
    };
    let ended = followed.await;
    heartbeats.is_followed.store(false, Ordering::Relaxed);
    ended
}

/// Looks what is wrong, now and then.
async fn judge(sources: &Sources, health: watch::Sender<Health>) {
    let mut lost = Lost::default();
    loop {
        let troubles = troubles(
            sources,
            lost.within_window(all_lost(sources), Instant::now()),
        );
        let now = Health {
            is_serving: troubles.is_empty(),
            is_live: !troubles.iter().any(|trouble| trouble.is_cured_by_restart),
            reasons: troubles.into_iter().map(|trouble| trouble.reason).collect(),
        };
        let was_serving = health.borrow().is_serving;
        if was_serving && !now.is_serving {
            tracing::error!(
                "the node is not watched as it should be: {}",
                now.reasons.join("; ")
            );
        } else if !was_serving && now.is_serving {
            tracing::info!("the node is watched: a heartbeat came from the kernel to a client");
        }
        health.send_replace(now);
        tokio::time::sleep(LOOK).await;
    }
}

/// Something that is wrong.
struct Trouble {
    reason: String,
    is_cured_by_restart: bool,
}

fn troubles(sources: &Sources, lost: u64) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = dead(&sources.sensors)
        .map(|reason| Trouble {
            reason,
            is_cured_by_restart: false,
        })
        .collect();
    let is_complete = troubles.is_empty();
    troubles.extend(
        stopped(&sources.heartbeats, sources.store.is_some()).map(|trouble| Trouble {
            // What is not hooked does not come, whether it is started again or not.
            is_cured_by_restart: trouble.is_cured_by_restart && is_complete,
            ..trouble
        }),
    );
    if lost > LOSSES {
        troubles.push(Trouble {
            reason: format!(
                "{lost} events were lost within {} s, and not because a container exceeds its budget",
                WINDOW.as_secs()
            ),
            is_cured_by_restart: false,
        });
    }
    troubles
}

/// The critical sensors that are not active, in a sentence each.
fn dead(all: &[SensorStatus]) -> impl Iterator<Item = String> {
    let dead = all.iter().filter(|status| {
        CRITICAL.contains(&status.sensor)
            && !matches!(status.state, SensorState::Active | SensorState::NotOffered)
    });
    dead.map(|status| {
        let why = match status.state {
            SensorState::Disabled => "it is switched off",
            _ => &status.reason,
        };
        format!(
            "sensor {} is not active: {why}: {}",
            sensors::name(status.sensor),
            sensors::consequence(status.sensor)
        )
    })
}

/// Where heartbeats stop, if they do.
fn stopped(heartbeats: &Heartbeats, has_store: bool) -> Option<Trouble> {
    let stages = Stage::ALL
        .into_iter()
        .filter(|stage| *stage != Stage::Store || has_store);
    let stages: Vec<Stage> = stages.collect();
    let place = |stage| match stage {
        Stage::Sent => "was sent",
        Stage::Kernel => "came from the kernel",
        Stage::Rules => "came past the rules",
        Stage::Store => "was written to history",
        Stage::Stream => "came out of the stream of events",
    };
    let first = || stages.iter().find(|stage| heartbeats.number(**stage) == 0);
    let (stage, since) = match heartbeats.stopped_at(&stages) {
        Some((stage, age)) => (stage, format!("for {} s", age.as_secs())),
        None => (*first()?, "yet".to_owned()),
    };
    Some(Trouble {
        reason: format!("no heartbeat {} {since}", place(stage)),
        is_cured_by_restart: since != "yet" && stage != Stage::Store,
    })
}

/// Events lost since the agent started, other than by a container that exceeds its budget.
fn all_lost(sources: &Sources) -> u64 {
    let losses = sources.figures.losses().all.into_iter();
    let others =
        losses.filter(|((_, _, reason), _)| *reason != LossReason::Kernel(Reason::OverBudget));
    others.map(|(_, count)| count).sum()
}

/// How much was lost until when.
#[derive(Debug, Default)]
struct Lost(VecDeque<(Instant, u64)>);

impl Lost {
    /// How much of what was lost so far was lost within [`WINDOW`].
    fn within_window(&mut self, so_far: u64, now: Instant) -> u64 {
        self.0.push_back((now, so_far));
        // The last one before the window is where it begins.
        while self
            .0
            .get(1)
            .is_some_and(|(time, _)| now.duration_since(*time) >= WINDOW)
        {
            self.0.pop_front();
        }
        let before = self.0.front().map_or(0, |(_, count)| *count);
        so_far.saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_the_last_minute_count() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lost = Lost::default();
        assert_eq!(lost.within_window(0, at(0)), 0);
        assert_eq!(lost.within_window(500, at(1)), 500);
        assert_eq!(lost.within_window(2_000, at(59)), 2_000);
        assert_eq!(lost.within_window(2_000, at(60)), 2_000);
        assert_eq!(lost.within_window(2_000, at(62)), 1_500);
        assert_eq!(lost.within_window(2_000, at(200)), 0);
    }

    #[test]
    fn nothing_is_served_before_the_first_heartbeat_has_come_through() {
        let beats = Heartbeats::default();
        for stage in [Stage::Sent, Stage::Kernel, Stage::Rules] {
            beats.reached(stage, 1);
        }
        let trouble = stopped(&beats, true).expect("history has none");
        assert_eq!(trouble.reason, "no heartbeat was written to history yet");
        assert!(!trouble.is_cured_by_restart);
        let trouble = stopped(&beats, false).expect("the stream has none");
        assert!(trouble.reason.contains("stream"), "{}", trouble.reason);
        beats.reached(Stage::Store, 1);
        beats.reached(Stage::Stream, 1);
        assert!(stopped(&beats, true).is_none());
    }

    #[test]
    fn a_critical_sensor_that_is_off_is_told() {
        let status = |sensor, state| SensorStatus {
            sensor,
            state,
            reason: "no room".to_owned(),
            verified_instructions: 0,
        };
        let all = [
            status(Sensor::Exec, SensorState::Failed),
            status(Sensor::Fork, SensorState::Active),
            status(Sensor::Exit, SensorState::Disabled),
            status(Sensor::Signals, SensorState::Failed),
        ];
        let told: Vec<String> = dead(&all).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].contains("process-exec") && told[0].contains("no room"),
            "{told:?}"
        );
        assert!(told[1].contains("switched off"), "{told:?}");
    }
}
