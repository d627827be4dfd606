//! Which workload a pod belongs to. A pod names who made it, which often was made by something else in turn: that is told by how
//! controllers name what they make, so that nobody has to be allowed to read more than pods.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::model::Workload;

/// Between a time that a CronJob was due at, and when its last pod was made: a Job may be tried again, or held back.
const LATEST_SECONDS: i64 = 7 * 24 * 3_600;

/// Labels by which controllers tell apart the ReplicaSets that they make, each named `NAME-HASH`, and the kinds of these controllers:
/// Kubernetes' Deployment, and Argo's Rollout.
const HASHES: [(&str, &str); 2] = [
    ("pod-template-hash", "Deployment"),
    ("rollouts-pod-template-hash", "Rollout"),
];

/// On pods that OpenShift's deployer made: the DeploymentConfig.
const DEPLOYMENT_CONFIG: &str = "openshift.io/deployment-config.name";

/// The workload of a pod, by its metadata; a pod that nothing made is its own.
pub(super) fn workload(pod: &ObjectMeta) -> Workload {
    let made_by = pod
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true));
    let Some(owner) = made_by else {
        return Workload {
            kind: "Pod".to_owned(),
            name: pod.name.clone().unwrap_or_default(),
        };
    };
    let behind = match owner.kind.as_str() {
        "ReplicaSet" => of_replica_set(pod, &owner.name),
        "ReplicationController" => of_replication_controller(pod),
        "Job" => of_job(pod, &owner.name),
        _ => None,
    };
    let (kind, name) = behind.unwrap_or((&owner.kind, &owner.name));
    Workload {
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

fn of_replica_set<'a>(pod: &ObjectMeta, name: &'a str) -> Option<(&'a str, &'a str)> {
    HASHES.iter().find_map(|(label, kind)| {
        let hash = pod.labels.as_ref()?.get(*label)?;
        let made_by = name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
        (!made_by.is_empty()).then_some((*kind, made_by))
    })
}

fn of_replication_controller(pod: &ObjectMeta) -> Option<(&str, &str)> {
    let name = pod.annotations.as_ref()?.get(DEPLOYMENT_CONFIG)?;
    Some(("DeploymentConfig", name))
}

/// CronJobs name their Jobs `NAME-TIME`, by the time that they were due at: minutes since 1970 from Kubernetes 1.21 on, seconds before.
fn of_job<'a>(pod: &ObjectMeta, name: &'a str) -> Option<(&'a str, &'a str)> {
    let (made_by, time) = name.rsplit_once('-')?;
    let time: i64 = time.parse().ok()?;
    let created = pod.creation_timestamp.as_ref()?.0.as_second();
    let was_due = [time.checked_mul(60)?, time]
        .into_iter()
        .any(|due| (due..due.saturating_add(LATEST_SECONDS)).contains(&created));
    (was_due && !made_by.is_empty()).then_some(("CronJob", made_by))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01 00:02:00 UTC; due two minutes before.
    fn pod(kind: &str, name: &str, rest: &serde_json::Value) -> ObjectMeta {
        let mut metadata = serde_json::json!({
            "name": "the-pod",
            "creationTimestamp": "2026-01-01T00:02:00Z",
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Other", "name": "no-controller", "uid": "1"},
                {"apiVersion": "v1", "kind": kind, "name": name, "uid": "2", "controller": true},
            ],
        });
        let more = rest.as_object().cloned().unwrap_or_default();
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.extend(more);
        }
        serde_json::from_value(metadata).expect("metadata")
    }

    fn of(kind: &str, name: &str, rest: &serde_json::Value) -> String {
        workload(&pod(kind, name, rest)).to_string()
    }

    #[test]
    fn who_made_what_made_the_pod_is_told() {
        let hash = serde_json::json!({"labels": {"pod-template-hash": "5d4f8c7b9"}});
        assert_eq!(of("ReplicaSet", "web-5d4f8c7b9", &hash), "Deployment/web");
        let rollout = serde_json::json!({"labels": {"rollouts-pod-template-hash": "5d4f"}});
        assert_eq!(of("ReplicaSet", "web-5d4f", &rollout), "Rollout/web");
        let nothing = serde_json::json!({});
        assert_eq!(of("ReplicaSet", "by-hand", &hash), "ReplicaSet/by-hand");
        assert_eq!(of("ReplicaSet", "by-hand", &nothing), "ReplicaSet/by-hand");
        assert_eq!(of("StatefulSet", "db", &nothing), "StatefulSet/db");
        assert_eq!(of("DaemonSet", "log", &hash), "DaemonSet/log");
        assert_eq!(of("Node", "node-1", &nothing), "Node/node-1");
        let deployer =
            serde_json::json!({"annotations": {"openshift.io/deployment-config.name": "web"}});
        assert_eq!(
            of("ReplicationController", "web-3", &deployer),
            "DeploymentConfig/web"
        );
        assert_eq!(
            of("ReplicationController", "web-3", &nothing),
            "ReplicationController/web-3"
        );
    }

    #[test]
    fn a_job_is_of_a_cron_job_when_its_name_is_the_time_that_it_was_due_at() {
        let nothing = serde_json::json!({});
        // 1767225600 is 2026-01-01 00:00:00 UTC.
        assert_eq!(of("Job", "nightly-29453760", &nothing), "CronJob/nightly");
        assert_eq!(of("Job", "nightly-1767225600", &nothing), "CronJob/nightly");
        for job in [
            "nightly",
            "nightly-7",
            "nightly-29453763",
            "-29453760",
            "nightly-99999999999999999999",
        ] {
            assert_eq!(of("Job", job, &nothing), format!("Job/{job}"));
        }
    }

    #[test]
    fn a_pod_that_nothing_made_is_its_own_workload() {
        let alone: ObjectMeta = serde_json::from_value(serde_json::json!({
            "name": "the-pod",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "1"}],
        }))
        .expect("metadata");
        assert_eq!(workload(&alone).to_string(), "Pod/the-pod");
    }
}
