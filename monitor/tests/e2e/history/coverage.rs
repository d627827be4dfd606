//! The time in which no agent watched the node is measured, and told to everybody who asks about it.

use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use watchkeeper::proto::v1::{AlertsWatchRequest, EventKind, EventsWatchRequest, Filter, Lost};

use super::{number, restartable, sql};
use crate::harness::agent::Agent;
use crate::harness::command::{output, succeed, text};
use crate::harness::{eventually, skipped, unique};

/// Those that are told of to who asks for events.
async fn absences(agent: &Agent, request: EventsWatchRequest) -> Vec<Lost> {
    let watch = agent.watch_events(request).await;
    watch.ended().await.absences
}

fn time(time: Option<prost_types::Timestamp>) -> SystemTime {
    SystemTime::try_from(time.expect("it has a time")).expect("of our days")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_between_two_runs_is_measured_and_told_to_everybody() {
    if skipped() {
        return;
    }
    for (signal, reason) in [(Signal::TERM, "was stopped"), (Signal::KILL, "was killed")] {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut agent = restartable(directory.path());
        let marker = unique("before");
        succeed(Command::new("/bin/true").arg(&marker));
        let before = agent.exec_with(&marker).await;
        // The last one that is known tells to a few seconds when an agent was killed.
        eventually("a heartbeat is kept", || {
            let count = "SELECT count(*) FROM events WHERE kind = 'heartbeat'";
            (number(&agent, count) > 0).then_some(())
        });
        let known = number(&agent, "SELECT max(time_ns) FROM events");
        let known = SystemTime::UNIX_EPOCH + Duration::from_nanos(known);
        agent.end_with(signal);
        drop(agent);
        let gone = SystemTime::now();
        let agent = restartable(directory.path());
        let ready = SystemTime::now();

        let told = absences(&agent, EventsWatchRequest::default()).await;
        let [lost] = &told[..] else {
            panic!("after {signal:?} one is told of: {told:#?}");
        };
        assert!(lost.reason.contains(reason), "after {signal:?}: {lost:#?}");
        let (since, until) = (time(lost.since), time(lost.until));
        assert!(
            known <= since && since <= gone && gone <= until && until <= ready,
            "after {signal:?}: seen at {known:?}, gone at {gone:?}, ready at {ready:?}: {lost:#?}"
        );

        // Whatever else is asked for, as long as it is of that time.
        let within = since + until.duration_since(since).unwrap_or_default() / 2;
        let filter = Some(Filter {
            pods: vec!["no/such".to_owned()],
            ..Default::default()
        });
        let requests = [
            EventsWatchRequest {
                cursor: before.cursor,
                ..Default::default()
            },
            EventsWatchRequest {
                since: Some(within.into()),
                kinds: vec![EventKind::Dns.into()],
                ..Default::default()
            },
            EventsWatchRequest {
                since: Some(within.into()),
                until: Some(within.into()),
                filter: filter.clone(),
                ..Default::default()
            },
        ];
        for request in requests {
            let found = absences(&agent, request.clone()).await;
            assert_eq!(found, told, "after {signal:?}, {request:?}");
        }
        let alerts = agent.watch_alerts(AlertsWatchRequest {
            filter,
            ..Default::default()
        });
        assert_eq!(alerts.await.ended().await.absences, told);
        let later = EventsWatchRequest {
            since: Some((until + Duration::from_nanos(1)).into()),
            ..Default::default()
        };
        assert_eq!(absences(&agent, later).await, [], "it was over by then");

        for command in ["events", "timeline", "alerts"] {
            let printed = output(&mut agent.client(&[command, "--since", "10m"]));
            let told = text(&printed.stderr);
            assert!(told.contains(reason) && told.contains(" s)"), "{told}");
        }
        let rows = sql(
            &agent,
            "SELECT class, reason, seconds > 0, time < until FROM losses WHERE until IS NOT NULL",
        );
        let row = rows.lines().nth(1).expect("there is a row");
        assert!(
            row.starts_with("all,") && row.contains(reason) && row.ends_with(",1,1"),
            "{rows}"
        );
    }
}
