//! Every check finds what it is there for: each case spoils one thing of manifests that have nothing against them.

use std::path::Path;

use serde_json::{Value, json};

use super::{Documented, complaints, documents, relative, violations};

fn fixture() -> Vec<Value> {
    documents::parse(include_str!("fixture.yaml")).expect("the fixture is YAML")
}

/// The fixture with `value` at `pointer` of the first document of a kind; a null takes away what is there.
fn spoilt(kind: &str, pointer: &str, value: Value) -> Vec<Value> {
    let mut all = fixture();
    let document = all
        .iter_mut()
        .find(|document| document["kind"] == kind)
        .expect(kind);
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    match document.pointer_mut(parent).expect(pointer) {
        Value::Array(list) => match name.parse::<usize>() {
            Ok(index) if value.is_null() => drop(list.remove(index)),
            Ok(index) => list[index] = value,
            Err(_) => list.push(value),
        },
        Value::Object(map) if value.is_null() => {
            map.remove(name).expect(pointer);
        }
        Value::Object(map) => {
            map.insert(name.to_owned(), value);
        }
        other => panic!("{pointer} is below {other}"),
    }
    all
}

#[track_caller]
fn found_in(all: &[Value], enriched: bool, expected: &str) {
    let found = violations(all, enriched);
    assert!(
        found.iter().any(|violation| violation.contains(expected)),
        "`{expected}` was to be found, not {found:#?}"
    );
}

#[test]
fn there_is_nothing_against_the_fixture() {
    assert_eq!(violations(&fixture(), false), Vec::<String>::new());
}

#[test]
fn a_container_that_asks_for_too_much_is_found() {
    let cases = [
        ("securityContext/privileged", json!(true), "privileged"),
        (
            "securityContext/allowPrivilegeEscalation",
            json!(true),
            "may gain privileges",
        ),
        (
            "securityContext/allowPrivilegeEscalation",
            Value::Null,
            "may gain privileges",
        ),
        (
            "securityContext/readOnlyRootFilesystem",
            Value::Null,
            "root filesystem",
        ),
        (
            "securityContext/capabilities/drop",
            json!(["KILL"]),
            "default capabilities",
        ),
        (
            "securityContext/capabilities/add/-",
            json!("SYS_MODULE"),
            "SYS_MODULE",
        ),
        (
            "securityContext/capabilities/add/-",
            json!("ALL"),
            "the capability \"ALL\"",
        ),
        ("securityContext/seccompProfile", Value::Null, "seccomp"),
        (
            "securityContext/seccompProfile/type",
            json!("Unconfined"),
            "seccomp",
        ),
        ("resources/limits/memory", Value::Null, "/limits/memory"),
        ("resources/limits/cpu", Value::Null, "/limits/cpu"),
        ("resources/requests", Value::Null, "/requests/memory"),
        ("image", json!("watchkeeper"), "no tag"),
        (
            "image",
            json!("registry.example:5000/watchkeeper"),
            "no tag",
        ),
        (
            "image",
            json!("registry.example/watchkeeper:latest"),
            "latest",
        ),
        ("image", json!("watchkeeper:0.0.9"), "this is version"),
        (
            "volumeMounts/4/readOnly",
            Value::Null,
            "/sys/fs/cgroup can be written to",
        ),
        (
            "volumeMounts/4/mountPropagation",
            json!("Bidirectional"),
            "mounted on the node",
        ),
        (
            "volumeMounts/4/name",
            json!("none"),
            "a volume that is not there",
        ),
        (
            "volumeMounts/0/subPath",
            json!("other.yaml"),
            "has no other.yaml",
        ),
        ("args", json!(["agent"]), "without --config"),
        (
            "args/2",
            json!("/etc/other.yaml"),
            "no ConfigMap is mounted at /etc/other.yaml",
        ),
        ("volumeMounts/2", Value::Null, "/stateDirectory"),
        ("volumeMounts/3", Value::Null, "/history/directory"),
        ("volumeMounts/1", Value::Null, "/policies/directory"),
        ("ports/0/containerPort", json!(80), "no port `metrics`"),
        ("ports/1/name", json!("web"), "no port `health`"),
        ("startupProbe", Value::Null, "startupProbe does not ask"),
        (
            "livenessProbe/grpc/service",
            json!("readiness"),
            "livenessProbe does not ask for liveness",
        ),
        (
            "readinessProbe/grpc/port",
            json!(9464),
            "readinessProbe does not ask for readiness at the port `health`",
        ),
    ];
    for (pointer, value, expected) in cases {
        let pointer = format!("/spec/template/spec/containers/0/{pointer}");
        found_in(&spoilt("DaemonSet", &pointer, value), false, expected);
    }
}

#[test]
fn an_address_that_nobody_else_reaches_is_found() {
    let pointer = "/data/config.yaml";
    let all = fixture();
    let maps = all.iter().filter_map(|document| document.pointer(pointer));
    let text = maps.filter_map(Value::as_str).next().expect(pointer);
    let own = text.replace("[::]:9465", "127.0.0.1:9465");
    assert_ne!(text, own);
    let all = spoilt("ConfigMap", pointer, json!(own));
    found_in(&all, false, "no port `health` is at 127.0.0.1:9465");
}

#[test]
fn an_image_may_be_named_by_its_digest() {
    let image = json!("registry.example/watchkeeper@sha256:00");
    let all = spoilt("DaemonSet", "/spec/template/spec/containers/0/image", image);
    assert_eq!(violations(&all, false), Vec::<String>::new());
}

#[test]
fn a_pod_that_asks_for_too_much_is_found() {
    let cases = [
        ("hostNetwork", json!(true), "hostNetwork"),
        ("hostIPC", json!(true), "hostIPC"),
        ("hostPID", Value::Null, "hostPID"),
        (
            "automountServiceAccountToken",
            json!(true),
            "automountServiceAccountToken",
        ),
        (
            "automountServiceAccountToken",
            Value::Null,
            "automountServiceAccountToken",
        ),
        (
            "serviceAccountName",
            json!("default"),
            "no service account `default`",
        ),
        ("volumes/4/hostPath/path", json!("/"), "/ of the node"),
        ("volumes/4/hostPath/type", Value::Null, "no type"),
        ("volumes/2/emptyDir/sizeLimit", Value::Null, "no size limit"),
        (
            "volumes/-",
            json!({"name": "token", "projected": {}}),
            "not needed",
        ),
        (
            "volumes/-",
            json!({"name": "keys", "secret": {"secretName": "x"}}),
            "not needed",
        ),
        (
            "volumes/1/configMap/name",
            json!("gone"),
            "no ConfigMap gone",
        ),
        (
            "volumes/1/configMap/items",
            json!([{"key": "two.yaml", "path": "x"}]),
            "has no two.yaml",
        ),
        (
            "initContainers",
            json!([{"name": "first", "securityContext": {"privileged": true}}]),
            "container first: it is privileged",
        ),
    ];
    for (pointer, value, expected) in cases {
        let pointer = format!("/spec/template/spec/{pointer}");
        found_in(&spoilt("DaemonSet", &pointer, value), false, expected);
    }
}

#[test]
fn what_lets_others_in_or_asks_for_more_of_the_cluster_is_found() {
    let cases = [
        ("Service", "/spec/clusterIP", Value::Null, "not headless"),
        (
            "Service",
            "/spec/type",
            json!("NodePort"),
            "from outside of the cluster",
        ),
        (
            "Service",
            "/spec/ports/0/targetPort",
            json!("grpc"),
            "has a port \"grpc\"",
        ),
        (
            "Service",
            "/spec/selector/app",
            json!("other"),
            "has a port",
        ),
        ("PodMonitor", "/apiVersion", json!("v1"), "its version"),
        (
            "PodMonitor",
            "/spec/podMetricsEndpoints",
            json!([]),
            "no endpoints",
        ),
        (
            "PodMonitor",
            "/spec/podMetricsEndpoints/0/port",
            json!("web"),
            "has a port \"web\"",
        ),
        (
            "NetworkPolicy",
            "/spec/policyTypes",
            json!(["Ingress"]),
            "Egress is not restricted",
        ),
        (
            "NetworkPolicy",
            "/spec/ingress/0/ports",
            Value::Null,
            "more than metrics",
        ),
        (
            "NetworkPolicy",
            "/spec/ingress/0/ports/-",
            json!({"port": 22}),
            "more than metrics",
        ),
        (
            "NetworkPolicy",
            "/spec/ingress/0/from",
            Value::Null,
            "from outside of the cluster",
        ),
        (
            "NetworkPolicy",
            "/spec/egress",
            json!([{}]),
            "something gets out",
        ),
        (
            "NetworkPolicy",
            "/spec/podSelector/matchLabels/app",
            json!("x"),
            "no network policy",
        ),
        ("Role", "/rules/0/verbs", json!(["*"]), "it allows"),
        ("Role", "/rules/0/resourceNames", Value::Null, "it allows"),
        (
            "Role",
            "/rules/-",
            json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}),
            "secrets",
        ),
        (
            "Role",
            "/kind",
            json!("ClusterRole"),
            "nothing is asked of the API server",
        ),
        (
            "RoleBinding",
            "/roleRef/name",
            json!("cluster-admin"),
            "no Role cluster-admin",
        ),
        (
            "RoleBinding",
            "/subjects/-",
            json!({"kind": "Group", "name": "system:authenticated"}),
            "system:authenticated",
        ),
        (
            "RoleBinding",
            "/subjects/0/namespace",
            json!("other"),
            "it is for",
        ),
        ("Service", "/kind", json!("Secret"), "nothing of this kind"),
    ];
    for (kind, pointer, value, expected) in cases {
        found_in(&spoilt(kind, pointer, value), false, expected);
    }
}

#[test]
fn constraints_that_grant_other_things_than_the_pods_ask_for_are_found() {
    let cases = [
        ("/allowHostNetwork", json!(true), "allowHostNetwork"),
        (
            "/allowPrivilegedContainer",
            json!(true),
            "allowPrivilegedContainer",
        ),
        (
            "/allowPrivilegeEscalation",
            Value::Null,
            "allowPrivilegeEscalation",
        ),
        (
            "/readOnlyRootFilesystem",
            json!(false),
            "readOnlyRootFilesystem",
        ),
        ("/allowedCapabilities/-", json!("*"), "allowedCapabilities"),
        ("/allowedCapabilities/0", Value::Null, "allowedCapabilities"),
        (
            "/requiredDropCapabilities",
            json!([]),
            "default capabilities",
        ),
        ("/volumes/-", json!("*"), "volumes"),
        ("/volumes/0", Value::Null, "volumes"),
        ("/runAsUser", json!({"type": "RunAsAny"}), "runAsUser"),
        ("/seLinuxContext", json!({"type": "RunAsAny"}), "SELinux"),
        (
            "/seccompProfiles",
            json!([]),
            "seccomp profile runtime/default",
        ),
        (
            "/users",
            json!(["system:serviceaccount:watched:agent"]),
            "/users",
        ),
        ("/groups", json!(["system:authenticated"]), "/groups"),
        ("/allowPrivileged", json!(false), "no field allowPrivileged"),
    ];
    for (pointer, value, expected) in cases {
        found_in(
            &spoilt("SecurityContextConstraints", pointer, value),
            false,
            expected,
        );
    }
}

#[test]
fn enrichment_wants_a_token_and_the_api_server() {
    found_in(&fixture(), true, "automountServiceAccountToken is not true");
    found_in(&fixture(), true, "the API server can't be asked");
    let everything = spoilt("NetworkPolicy", "/spec/egress", json!([{}]));
    found_in(&everything, true, "everything gets out");
    let mut all = spoilt("Role", "/kind", json!("ClusterRole"));
    found_in(&all, true, "it allows");
    all.retain(|document| document["kind"] != "DaemonSet");
    found_in(&all, true, "there are no pods");
}

#[test]
fn a_kind_without_schema_is_only_let_pass_where_it_is_known() {
    let output = "INFO x.yaml passed for resource service/a against version 1.37\n\
                  WARN x.yaml Couldn't find schema for kind PodMonitor with api version m/v1 for kubernetes version 1.37\n\
                  WARN x.yaml Couldn't find schema for kind Demonset with api version apps/v1 for kubernetes version 1.37\n\
                  ERROR x.yaml did not validate for resource daemonset/a against version 1.37: spec: wrong\n";
    let found = complaints(output);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("Demonset") && found[1].starts_with("ERROR"));
}

#[test]
fn a_path_is_reached_over_the_root() {
    assert_eq!(
        relative(Path::new("/a/b"), Path::new("/a/c/d")),
        "../../a/c/d"
    );
}

#[test]
fn the_readme_explains_what_the_manifests_ask_for_and_nothing_else() {
    let readme = "## Mounts\n| path | why |\n| --- | --- |\n| `/run/x` | because |\n\n## Capabilities\n| `BPF` | x |\n\
                  | `SYS_ADMIN` | y |\n## Sizing\n| `KILL` | z |\n";
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let same = Documented {
        capabilities: set(&["BPF", "SYS_ADMIN"]),
        mounts: set(&["/run/x"]),
    };
    assert!(same.differences(readme).is_empty());
    let other = Documented {
        capabilities: set(&["BPF", "KILL"]),
        mounts: set(&["/run/x", "/run/y"]),
    };
    let found = other.differences(readme);
    assert_eq!(found.len(), 3, "{found:?}");
}
