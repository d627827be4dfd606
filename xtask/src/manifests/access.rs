//! Who may reach the pods, what they may ask of the API server, and the kinds that Kubernetes has no schema of.

use std::collections::BTreeSet;

use serde_json::Value;

use super::documents::{self, Pod, at, list, named, of_kind, text, title};

/// Fields of SecurityContextConstraints (openshift/api, security/v1/types.go); a mistyped one would grant or refuse nothing.
const CONSTRAINTS: [&str; 28] = [
    "apiVersion",
    "kind",
    "metadata",
    "priority",
    "allowPrivilegedContainer",
    "defaultAddCapabilities",
    "requiredDropCapabilities",
    "allowedCapabilities",
    "allowHostDirVolumePlugin",
    "volumes",
    "allowedFlexVolumes",
    "allowHostNetwork",
    "allowHostPorts",
    "allowHostPID",
    "allowHostIPC",
    "userNamespaceLevel",
    "defaultAllowPrivilegeEscalation",
    "allowPrivilegeEscalation",
    "seLinuxContext",
    "runAsUser",
    "supplementalGroups",
    "fsGroup",
    "readOnlyRootFilesystem",
    "users",
    "groups",
    "seccompProfiles",
    "allowedUnsafeSysctls",
    "forbiddenSysctls",
];

/// See the module.
pub(super) fn violations(all: &[Value], enriched: bool) -> Vec<String> {
    let mut found = Vec::new();
    for document in all {
        let violations = match text(document, "/kind") {
            "Namespace" | "ServiceAccount" | "ConfigMap" | "DaemonSet" | "ResourceQuota" => {
                Vec::new()
            }
            "Service" => of_service(document, all),
            "PodMonitor" => of_pod_monitor(document, all),
            "NetworkPolicy" => of_network_policy(document, all, enriched),
            "Role" | "ClusterRole" => of_role(document, enriched),
            "RoleBinding" | "ClusterRoleBinding" => of_binding(document, all),
            "SecurityContextConstraints" => of_constraints(document, all),
            _ => vec!["nothing of this kind is expected".to_owned()],
        };
        let title = title(document);
        found.extend(
            violations
                .into_iter()
                .map(|violation| format!("{title}: {violation}")),
        );
    }
    for pod in documents::pods(all) {
        let guarded = of_kind(all, "NetworkPolicy")
            .any(|policy| selects(at(policy, "/spec/podSelector/matchLabels"), pod));
        if !guarded {
            found.push(format!(
                "{}: no network policy is about its pods",
                title(pod.document)
            ));
        }
    }
    found
}

/// Whether pods have all of these labels, of which there must be some.
fn selects(labels: &Value, pod: Pod<'_>) -> bool {
    labels.as_object().is_some_and(|labels| {
        !labels.is_empty()
            && labels.iter().all(|(name, value)| {
                pod.template
                    .pointer("/metadata/labels")
                    .is_some_and(|own| own.get(name) == Some(value))
            })
    })
}

/// Whether the pods that `labels` select have a port of this name.
fn has_port(labels: &Value, port: &Value, all: &[Value]) -> bool {
    documents::pods(all)
        .filter(|pod| selects(labels, *pod))
        .flat_map(Pod::containers)
        .flat_map(|container| container.list("/ports"))
        .any(|known| known["name"] == *port)
}

fn of_service(service: &Value, all: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    // One address for all would answer for any node.
    if at(service, "/spec/clusterIP") != "None" {
        found.push("it is not headless".to_owned());
    }
    if !matches!(text(service, "/spec/type"), "" | "ClusterIP") {
        found.push("it can be reached from outside of the cluster".to_owned());
    }
    let selector = at(service, "/spec/selector");
    for port in list(service, "/spec/ports") {
        let target = &port["targetPort"];
        if !has_port(selector, target, all) {
            found.push(format!("no pod that it selects has a port {target}"));
        }
    }
    found
}

fn of_pod_monitor(monitor: &Value, all: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    if monitor["apiVersion"] != "monitoring.coreos.com/v1" {
        found.push(format!("its version is {}", monitor["apiVersion"]));
    }
    let selector = at(monitor, "/spec/selector/matchLabels");
    let mut endpoints = list(monitor, "/spec/podMetricsEndpoints").peekable();
    if endpoints.peek().is_none() {
        found.push("it has no endpoints".to_owned());
    }
    for endpoint in endpoints {
        let port = &endpoint["port"];
        if !has_port(selector, port, all) {
            found.push(format!("no pod that it selects has a port {port}"));
        }
    }
    found
}

fn of_network_policy(policy: &Value, all: &[Value], enriched: bool) -> Vec<String> {
    let mut found = Vec::new();
    for direction in ["Ingress", "Egress"] {
        if !list(policy, "/spec/policyTypes").any(|known| known == direction) {
            found.push(format!("{direction} is not restricted"));
        }
    }
    for rule in list(policy, "/spec/ingress") {
        let mut ports = list(rule, "/ports").peekable();
        let only_metrics = ports.peek().is_some() && ports.all(|port| port["port"] == "metrics");
        if !only_metrics {
            found.push("more than metrics can be reached".to_owned());
        }
        if list(rule, "/from").next().is_none() {
            found.push("metrics can be reached from outside of the cluster".to_owned());
        }
    }
    match (list(policy, "/spec/egress").next(), enriched) {
        (Some(_), false) => found.push("something gets out".to_owned()),
        (None, true) => found.push("the API server can't be asked".to_owned()),
        _ => {}
    }
    if list(policy, "/spec/egress").any(|rule| list(rule, "/ports").next().is_none()) {
        found.push("everything gets out".to_owned());
    }
    let selector = at(policy, "/spec/podSelector/matchLabels");
    if !documents::pods(all).any(|pod| selects(selector, pod)) {
        found.push("it is about none of the pods".to_owned());
    }
    found
}

fn of_role(role: &Value, enriched: bool) -> Vec<String> {
    let mut found = Vec::new();
    let of_cluster = role["kind"] == "ClusterRole";
    if of_cluster && !enriched {
        found.push("without enrichment nothing is asked of the API server".to_owned());
    }
    for rule in list(role, "/rules") {
        let names = |field: &str| -> BTreeSet<&str> {
            list(rule, field).filter_map(Value::as_str).collect()
        };
        let (verbs, resources) = (names("/verbs"), names("/resources"));
        let reads = of_cluster
            && verbs.is_subset(&BTreeSet::from(["get", "list", "watch"]))
            && resources.is_subset(&BTreeSet::from(["pods", "namespaces"]))
            && names("/apiGroups") == BTreeSet::from([""]);
        let uses_constraints = !of_cluster
            && verbs == BTreeSet::from(["use"])
            && resources == BTreeSet::from(["securitycontextconstraints"])
            && names("/resourceNames") == BTreeSet::from(["watchkeeper"]);
        if !reads && !uses_constraints {
            found.push(format!("it allows {verbs:?} on {resources:?}"));
        }
    }
    found
}

fn of_binding(binding: &Value, all: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let (kind, name) = (
        text(binding, "/roleRef/kind"),
        text(binding, "/roleRef/name"),
    );
    if named(all, kind, name).is_none() {
        found.push(format!("there is no {kind} {name}"));
    }
    for subject in list(binding, "/subjects") {
        let account = named(all, "ServiceAccount", text(subject, "/name"));
        let same_namespace = account.is_some_and(|account| {
            subject["kind"] == "ServiceAccount"
                && subject["namespace"] == account["metadata"]["namespace"]
        });
        if !same_namespace {
            found.push(format!("it is for {subject}"));
        }
    }
    found
}

/// Constraints grant what the pods ask for, and nothing more.
fn of_constraints(constraints: &Value, all: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for field in constraints
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys())
    {
        if !CONSTRAINTS.contains(&field.as_str()) {
            found.push(format!("there is no field {field}"));
        }
    }
    for (field, wanted) in [
        ("allowHostPID", true),
        ("allowHostDirVolumePlugin", true),
        ("readOnlyRootFilesystem", true),
        ("allowHostIPC", false),
        ("allowHostNetwork", false),
        ("allowHostPorts", false),
        ("allowPrivilegedContainer", false),
        ("allowPrivilegeEscalation", false),
    ] {
        if constraints[field] != wanted {
            found.push(format!("{field} is not {wanted}"));
        }
    }
    for field in ["/users", "/groups"] {
        if list(constraints, field).next().is_some() {
            found.push(format!("{field} are named, and not only by roles"));
        }
    }
    if !list(constraints, "/requiredDropCapabilities").any(|name| name == "ALL") {
        found.push("the runtime's default capabilities are kept".to_owned());
    }
    for pod in documents::pods(all) {
        let types: BTreeSet<&str> = list(pod.spec, "/volumes")
            .filter_map(Value::as_object)
            .flat_map(|volume| volume.keys())
            .map(String::as_str)
            .filter(|key| *key != "name")
            // A token is mounted by a volume that the API server adds.
            .chain((pod.spec["automountServiceAccountToken"] == true).then_some("projected"))
            .collect();
        same(
            &mut found,
            "volumes",
            &names(constraints, "/volumes"),
            &types,
        );
        for container in pod.containers() {
            let security = container.at("/securityContext");
            same(
                &mut found,
                "allowedCapabilities",
                &names(constraints, "/allowedCapabilities"),
                &names(security, "/capabilities/add"),
            );
            if at(constraints, "/runAsUser/uid") != at(security, "/runAsUser") {
                found.push("runAsUser is another".to_owned());
            }
            let label = at(constraints, "/seLinuxContext/seLinuxOptions");
            if label.is_null() || label != &security["seLinuxOptions"] {
                found.push("the SELinux label is another".to_owned());
            }
            let profile = match text(security, "/seccompProfile/type") {
                "RuntimeDefault" => "runtime/default".to_owned(),
                _ => format!(
                    "localhost/{}",
                    text(security, "/seccompProfile/localhostProfile")
                ),
            };
            if !names(constraints, "/seccompProfiles").contains(&*profile) {
                found.push(format!("the seccomp profile {profile} is not allowed"));
            }
        }
    }
    found
}

fn names<'a>(value: &'a Value, pointer: &str) -> BTreeSet<&'a str> {
    list(value, pointer).filter_map(Value::as_str).collect()
}

fn same(found: &mut Vec<String>, what: &str, granted: &BTreeSet<&str>, asked: &BTreeSet<&str>) {
    if granted != asked {
        found.push(format!(
            "{what} are {granted:?}, and the pods ask for {asked:?}"
        ));
    }
}
