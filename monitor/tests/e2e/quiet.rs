//! Quiet on the healthy: workloads that do nothing wrong cause no alert of high or critical severity under the default rules.
//!
//! Each workload runs in a container of its own. Lesser alerts are allowed: some of what healthy workloads do is worth a
//! look. For each rule that found something in a workload a line goes to standard error, `quiet WORKLOAD RULE SEVERITY
//! COUNT`, and `quiet WORKLOAD none` where none did; COUNT is of alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use watchkeeper::proto::v1::{Alert, Severity};

use crate::harness::agent::Agent;
use crate::harness::command::{output, succeed, text};
use crate::harness::containerd::{Containerd, Pod};
use crate::harness::podman::{Container, Podman};
use crate::harness::watch::{argv, container_id};
use crate::harness::{image, skipped, unique};

/// A container: its name, options of `podman run`, and the script that is its entry point, which says `finished` at its end.
type Workload = (&'static str, &'static [&'static str], &'static str);

const WORKLOADS: [Workload; 6] = [
    ("web-server", &[], WEB_SERVER),
    ("cron", &[], CRON),
    ("init", &[], INIT),
    ("sidecar", &["--cap-add", "NET_ADMIN,NET_RAW"], SIDECAR),
    ("ci-runner", &[], CI_RUNNER),
    ("database", &[], DATABASE),
];

/// A web server with two clients; its log is renamed away under load.
const WEB_SERVER: &str = r#"
set -eu
mkdir -p /var/log
echo hello >/www/index.html
httpd -f -vv -p 127.0.0.1:8080 -h /www 2>>/var/log/access.log &
get() { wget -q -O /dev/null http://127.0.0.1:8080/; }
until get; do usleep 100000; done
load() { for request in $(seq 400); do get; done; }
load & one=$!
load & other=$!
for turn in 1 2 3 4 5; do
    sleep 1
    for age in 3 2 1; do
        [ ! -e /var/log/access.log.$age ] || mv /var/log/access.log.$age /var/log/access.log.$((age + 1))
    done
    mv /var/log/access.log /var/log/access.log.1
    : >>/var/log/access.log
done
wait $one
wait $other
echo finished
"#;

/// A job of the cron daemon, which starts it at the full minute, and the same every second.
const CRON: &str = r#"
set -eu
mkdir -p /root /opt/jobs /var/spool/cron/crontabs
echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd
echo 'root:x:0:' >/etc/group
cat >/opt/jobs/tidy <<'END'
#!/bin/sh
date >>/opt/jobs/ran
find /opt/jobs -name '*.old' -exec rm {} +
touch /opt/jobs/$1.old
END
chmod 755 /opt/jobs/tidy
echo '* * * * * /opt/jobs/tidy daemon' >/var/spool/cron/crontabs/root
crond -f -L /opt/jobs/log &
for second in 1 2 3 4 5 6 7 8; do
    /opt/jobs/tidy loop
    sleep 1
done
rm -f /opt/jobs/daemon.old
until [ -e /opt/jobs/daemon.old ]; do sleep 1; done
echo finished
"#;

/// busybox's init, whose services are daemons, orphans, and programs of another user.
const INIT: &str = r#"
set -eu
echo 'root:x:0:0:root:/root:/bin/sh
www:x:33:33:www:/www:/bin/sh' >/etc/passwd
echo 'root:x:0:
www:x:33:' >/etc/group
mkdir -p /root
cat >/opt/boot <<'END'
#!/bin/sh
hostname
mkdir -p /run/lock
chmod 1777 /tmp
END
cat >/opt/services <<'END'
#!/bin/sh
set -eu
for worker in $(seq 20); do setsid sleep 0.2 & done
setsid sh -c '(sleep 1; /bin/true) & exit 0'
su -s /bin/sh www -c 'id; touch /tmp/by-www'
setpriv --nnp /bin/id
start-stop-daemon -S -b -m -p /run/worker -c www -x /bin/sleep -- 1000
start-stop-daemon -S -b -m -p /run/agent -x /bin/sleep -- 1000
sleep 2
start-stop-daemon -K -p /run/worker
wait
echo finished
END
chmod 755 /opt/boot /opt/services
echo '::sysinit:/opt/boot
::respawn:/bin/httpd -f -p 127.0.0.1:8080 -h /www
::respawn:/bin/sleep 1
::once:/opt/services' >/etc/inittab
exec init
"#;

/// Sets its own network up, then listens there.
const SIDECAR: &str = r#"
set -eu
ip link set lo up
ip addr add 10.9.0.1/32 dev lo
ip route add 10.9.1.0/24 dev lo
ip rule add from 10.9.1.0/24 table main
ip addr show >/dev/null
ping -c 3 10.9.0.1
echo ready >/www/index.html
httpd -p 10.9.0.1:15001 -h /www
until wget -q -O - http://10.9.0.1:15001/; do usleep 100000; done
echo finished
"#;

/// Runs what it has just written, and packs the result.
const CI_RUNNER: &str = r#"
set -eu
mkdir -p /srv/job/build /srv/job/unpacked
cd /srv/job/build
cat >check <<'END'
#!/bin/sh
[ -n "$1" ] && echo "ok $1"
END
chmod 755 check
for number in $(seq 300); do ./check $number >>results; done
[ $(grep -c ok results) = 300 ]
sha256sum check results >sums
tar -cf /srv/job/artifact.tar -C /srv/job build
gzip -f /srv/job/artifact.tar
tar -xzf /srv/job/artifact.tar.gz -C /srv/job/unpacked
/srv/job/unpacked/build/check unpacked
rm -r /srv/job/unpacked
echo finished
"#;

/// Many files, each written, flushed, renamed, and in part removed.
const DATABASE: &str = r#"
set -eu
mkdir -p /data/wal /data/base
chmod 700 /data
chown -R 999:999 /data
for segment in $(seq 300); do
    dd if=/dev/zero of=/data/wal/new bs=8k count=4 conv=fsync 2>/dev/null
    mv /data/wal/new /data/wal/segment-$segment
    echo $segment >/data/base/table.new
    sync /data/base/table.new
    mv /data/base/table.new /data/base/table-$((segment % 20))
done
truncate -s 0 /data/wal/segment-300
rm /data/wal/segment-*
echo finished
"#;

/// A package's build: what it installs is run at once.
const BUILD: &str = r"
RUN : MARKER; mkdir -p /usr/bin /usr/lib/packaged /etc/cron.d /etc/init.d
RUN : MARKER; cp /opt/decoy/sh /usr/bin/packaged && chmod 755 /usr/bin/packaged && packaged MARKER
RUN : MARKER; echo '* * * * * root packaged' >/etc/cron.d/packaged && chmod 644 /etc/cron.d/packaged
RUN : MARKER; cp /bin/dash /usr/lib/packaged/helper && chmod 4755 /usr/lib/packaged/helper \
    && /usr/lib/packaged/helper -c 'packaged MARKER'
RUN : MARKER; printf '#!/bin/sh\nexec packaged MARKER-last\n' >/etc/init.d/packaged && chmod 755 /etc/init.d/packaged \
    && /etc/init.d/packaged
";

/// How long a workload may take: the cron daemon starts its first job after up to a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// Workloads' names, and the ids of their containers.
type Containers = Vec<(&'static str, BTreeSet<String>)>;

/// How many alerts there are of each rule and severity.
type Counts = BTreeMap<(String, Severity), usize>;

#[tokio::test(flavor = "multi_thread")]
async fn healthy_workloads_cause_no_serious_alert() {
    if skipped() {
        return;
    }
    let containerd = Containerd::start().await;
    let podman = Podman::start();
    let agent = Agent::full(&["--cri-socket", &containerd.socket()]);
    let mut containers: Containers = vec![("build", build(&agent, &podman).await)];
    let running = WORKLOADS.map(|(name, options, script)| {
        let entry = ["/bin/sh", "-c", script];
        (name, podman.run(&unique(name), options, &entry))
    });
    let pod = containerd.pod("shop", &[]).await;
    containers.push(("probes", probe(&pod).await));
    for (name, container) in &running {
        finish(&podman, container).await;
        containers.push((*name, BTreeSet::from([container.id.clone()])));
    }

    was_watched(&agent, &containers);
    let alerts = all_alerts(&agent, &podman).await;

    let mut serious = Vec::new();
    for (name, ids) in &containers {
        let own: Vec<&Alert> = alerts
            .iter()
            .filter(|alert| ids.contains(container_id(alert.container.as_ref())))
            .collect();
        report(name, &own);
        serious.extend(
            own.into_iter()
                .filter(|alert| alert.severity() >= Severity::High)
                .map(|alert| describe(name, alert)),
        );
    }
    assert!(serious.is_empty(), "{}", serious.join("\n"));
}

/// Builds an image, and returns the ids of the containers that its steps ran in.
async fn build(agent: &Agent, podman: &Podman) -> BTreeSet<String> {
    let marker = unique("step");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let steps = BUILD.replace("MARKER", &marker);
    let file = directory.path().join("Containerfile");
    std::fs::write(&file, format!("FROM {}\n{steps}", image::NAME)).expect("a file can be written");
    let mut build = podman.buildah(&["build", "--pull-never", "--isolation", "oci"]);
    build.args(["--runtime", "runc", "--network", "none"]);
    succeed(build.arg("--file").arg(&file).arg(directory.path()));
    agent.exec_with(&format!("{marker}-last")).await;
    let execs = agent.past_execs().await;
    let of_steps = execs
        .iter()
        .filter(|event| argv(event).iter().any(|word| word.contains(&marker)));
    of_steps
        .map(|event| container_id(event.container.as_ref()).to_owned())
        // The builder itself is in none.
        .filter(|id| !id.is_empty())
        .collect()
}

/// Probes a container as the kubelet does; returns the ids of the containers of its pod.
async fn probe(pod: &Pod) -> BTreeSet<String> {
    let script = "echo ok >/tmp/healthy; exec sleep 1000";
    let id = pod.container("service", &["/bin/sh", "-c", script]).await;
    let by_shell = ["/bin/sh", "-c", "test -f /tmp/healthy"];
    while pod.exec(&id, &by_shell).await.exit_code != 0 {}
    for _ in 0..10 {
        for probe in [&["/bin/cat", "/tmp/healthy"][..], &by_shell] {
            let answer = pod.exec(&id, probe).await;
            assert_eq!(answer.exit_code, 0, "{probe:?}: {answer:?}");
        }
    }
    BTreeSet::from([pod.id.clone(), id])
}

/// Waits until the workload of `container` says that it has finished.
async fn finish(podman: &Podman, container: &Container<'_>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = output(&mut podman.command(&["logs", &container.name]));
        let (out, err) = (text(&said.stdout), text(&said.stderr));
        if out.lines().any(|line| line == "finished") {
            return;
        }
        let late = Instant::now() >= deadline;
        assert!(!late, "{} does not finish:\n{out}{err}", container.name);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Checks that silence means something: programs were seen in every container.
fn was_watched(agent: &Agent, containers: &Containers) {
    for (name, ids) in containers {
        assert!(!ids.is_empty(), "{name} ran in no container");
        for id in ids {
            let execs = agent.query(&["events", "--kind", "exec", "--container", id]);
            assert!(!execs.is_empty(), "no program was seen in {name}, {id}");
        }
    }
}

/// The alerts of the agent's life, each once, with the highest severity that it had.
async fn all_alerts(agent: &Agent, podman: &Podman) -> Vec<Alert> {
    // An alert that is to come shows that all before it was looked at.
    let last = podman.run(&unique("last"), &[], &["/bin/sleep", "1000"]);
    last.exec(&["/bin/sh", "-c", "id"]);
    let mut alerts = agent.live_alerts().await;
    alerts
        .find("the alert that comes last", |alert| {
            alert.rule_id == "shell.injected" && container_id(alert.container.as_ref()) == last.id
        })
        .await;
    let mut highest: BTreeMap<String, Alert> = BTreeMap::new();
    for alert in alerts.seen {
        let known = highest.get(&alert.id).map(Alert::severity);
        if known.is_none_or(|known| known < alert.severity()) {
            highest.insert(alert.id.clone(), alert);
        }
    }
    highest.into_values().collect()
}

/// Prints how many alerts a workload caused, past the test harness's capture of output.
fn report(name: &str, alerts: &[&Alert]) {
    let mut counts = Counts::new();
    for alert in alerts {
        *counts
            .entry((alert.rule_id.clone(), alert.severity()))
            .or_default() += 1;
    }
    let mut stderr = std::io::stderr();
    // Nothing depends on whether anybody reads it.
    if counts.is_empty() {
        let _ = writeln!(stderr, "quiet {name} none");
    }
    for ((rule, severity), count) in counts {
        let severity = word(severity);
        let _ = writeln!(stderr, "quiet {name} {rule} {severity} {count}");
    }
}

/// One line about an alert that should not have been.
fn describe(name: &str, alert: &Alert) -> String {
    let exe = alert.process.as_ref().map_or("", |process| &process.exe);
    let (rule, severity) = (&alert.rule_id, word(alert.severity()));
    format!("{name}: {rule} {severity} by {exe}: {}", alert.message)
}

/// A severity as the rules have it.
fn word(severity: Severity) -> String {
    let name = severity.as_str_name();
    name.trim_start_matches("SEVERITY_").to_lowercase()
}
