//! What pods may ask of a node.

use std::net::SocketAddr;

use serde_json::Value;

use super::documents::{self, Container, Pod, at, list, named, text};

/// Capabilities that a container may have, at most. `SYS_MODULE`, `SYS_RAWIO`, `DAC_OVERRIDE` and the like are not among them.
const CAPABILITIES: [&str; 7] = [
    "BPF",
    "PERFMON",
    "NET_ADMIN",
    "SYS_PTRACE",
    "DAC_READ_SEARCH",
    "SYS_RESOURCE",
    "SYS_ADMIN",
];

/// The only directory of the node that is written to.
const WRITABLE: &str = "/var/lib/watchkeeper";

/// Directories of the node that are read.
const READABLE: [&str; 4] = [
    "/sys/kernel/tracing",
    "/sys/fs/cgroup",
    "/run/containerd",
    "/run/crio",
];

/// See the module.
pub(super) fn violations(all: &[Value], token: bool) -> Vec<String> {
    let mut found = Vec::new();
    for pod in documents::pods(all) {
        let title = documents::title(pod.document);
        found.extend(
            of_pod(pod, all, token)
                .into_iter()
                .map(|violation| format!("{title}: {violation}")),
        );
        for container in pod.containers() {
            let mut violations = of_container(container);
            violations.extend(of_mounts(container, all));
            violations.extend(of_configuration(container, all));
            let title = container.title();
            found.extend(
                violations
                    .into_iter()
                    .map(|violation| format!("{title}: {violation}")),
            );
        }
    }
    if found.is_empty() && documents::pods(all).next().is_none() {
        found.push("there are no pods in it".to_owned());
    }
    found
}

fn of_pod(pod: Pod<'_>, all: &[Value], token: bool) -> Vec<String> {
    let mut found = Vec::new();
    for field in ["hostNetwork", "hostIPC"] {
        if pod.spec[field] == true {
            found.push(format!("{field} is true"));
        }
    }
    if pod.spec["hostPID"] != true {
        found.push("hostPID is not true, without which the agent refuses to start".to_owned());
    }
    // Left out, it would be mounted.
    if pod.spec["automountServiceAccountToken"] != token {
        found.push(format!("automountServiceAccountToken is not {token}"));
    }
    let account = text(pod.spec, "/serviceAccountName");
    if named(all, "ServiceAccount", account).is_none() {
        found.push(format!("there is no service account `{account}`"));
    }
    for volume in list(pod.spec, "/volumes") {
        found.extend(of_volume(volume));
    }
    found
}

fn of_volume(volume: &Value) -> Option<String> {
    let name = text(volume, "/name");
    let path = text(volume, "/hostPath/path");
    if volume["hostPath"].is_object() {
        if path != WRITABLE && !READABLE.contains(&path) {
            return Some(format!("volume {name} is {path} of the node"));
        }
        // Without a type, a path that is not there becomes an empty directory.
        return text(volume, "/hostPath/type")
            .is_empty()
            .then(|| format!("volume {name} has no type"));
    }
    if volume["emptyDir"].is_object() {
        return at(volume, "/emptyDir/sizeLimit")
            .is_null()
            .then(|| format!("volume {name} has no size limit"));
    }
    (!volume["configMap"].is_object())
        .then(|| format!("volume {name} is of a kind that is not needed"))
}

fn of_container(container: Container<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let mut expect = |holds: bool, violation: &str| {
        if !holds {
            found.push(violation.to_owned());
        }
    };
    let security = container.at("/securityContext");
    expect(security["privileged"] != true, "it is privileged");
    expect(
        security["allowPrivilegeEscalation"] == false,
        "it may gain privileges",
    );
    expect(
        security["readOnlyRootFilesystem"] == true,
        "its root filesystem can be written to",
    );
    expect(
        list(security, "/capabilities/drop").any(|name| name == "ALL"),
        "it keeps the runtime's default capabilities",
    );
    let profile = match at(security, "/seccompProfile/type") {
        Value::Null => at(container.pod.spec, "/securityContext/seccompProfile/type"),
        own => own,
    };
    expect(
        profile == "RuntimeDefault" || profile == "Localhost",
        "it has no seccomp profile",
    );
    for resource in [
        "/requests/cpu",
        "/requests/memory",
        "/limits/cpu",
        "/limits/memory",
    ] {
        expect(
            !container.at(&format!("/resources{resource}")).is_null(),
            &format!("its resources have no {resource}"),
        );
    }
    for name in list(security, "/capabilities/add") {
        let allowed = CAPABILITIES.iter().any(|allowed| name == allowed);
        expect(allowed, &format!("it has the capability {name}"));
    }
    found.extend(of_image(container.at("/image").as_str().unwrap_or("")));
    found
}

/// An image is named by its digest, or by a tag that says which version it is: ours, where it is our own.
fn of_image(image: &str) -> Option<String> {
    if image.contains("@sha256:") {
        return None;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        None | Some((_, "")) => Some(format!("the image {image} has no tag")),
        Some((_, "latest")) => Some(format!("the image {image} is whatever is the latest")),
        Some(("watchkeeper", tag)) if tag != env!("CARGO_PKG_VERSION") => Some(format!(
            "the image is {image}, and this is version {}",
            env!("CARGO_PKG_VERSION")
        )),
        Some(_) => None,
    }
}

fn of_mounts(container: Container<'_>, all: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for mount in container.list("/volumeMounts") {
        let path = text(mount, "/mountPath");
        let Some(volume) = container.pod.volume(text(mount, "/name")) else {
            found.push(format!("{path} is of a volume that is not there"));
            continue;
        };
        let of_node = text(volume, "/hostPath/path");
        if !of_node.is_empty() && of_node != WRITABLE && mount["readOnly"] != true {
            found.push(format!("{path} can be written to on the node"));
        }
        if mount["mountPropagation"] == "Bidirectional" {
            found.push(format!(
                "what is mounted below {path} is mounted on the node"
            ));
        }
        if volume["configMap"].is_object()
            && let Some(missing) = missing_key(volume, mount, all)
        {
            found.push(format!("{path}: {missing}"));
        }
    }
    found
}

/// What a mount of a ConfigMap wants and is not there.
fn missing_key(volume: &Value, mount: &Value, all: &[Value]) -> Option<String> {
    let name = text(volume, "/configMap/name");
    let Some(map) = named(all, "ConfigMap", name) else {
        return Some(format!("there is no ConfigMap {name}"));
    };
    let sub_path = text(mount, "/subPath");
    let items = list(volume, "/configMap/items").map(|item| text(item, "/key"));
    items
        .chain(Some(sub_path).filter(|key| !key.is_empty()))
        .find(|key| map["data"][*key].is_null())
        .map(|key| format!("the ConfigMap {name} has no {key}"))
}

/// The configuration that the agent is started with is there, and what it names is mounted.
fn of_configuration(container: Container<'_>, all: &[Value]) -> Vec<String> {
    let arguments: Vec<&str> = container.list("/args").filter_map(Value::as_str).collect();
    let Some(position) = arguments
        .iter()
        .position(|argument| *argument == "--config")
    else {
        return vec!["it is started without --config".to_owned()];
    };
    let path = arguments.get(position + 1).copied().unwrap_or_default();
    let volume = |path: &str| {
        let mount = container
            .list("/volumeMounts")
            .find(|mount| mount["mountPath"] == path)?;
        container.pod.volume(text(mount, "/name"))
    };
    let configuration = volume(path)
        .and_then(|volume| named(all, "ConfigMap", text(volume, "/configMap/name")))
        .and_then(|map| map["data"][path.rsplit('/').next()?].as_str());
    let configuration: Value = match configuration.map(serde_saphyr::from_str) {
        Some(Ok(configuration)) => configuration,
        Some(Err(error)) => return vec![format!("{path}: {error}")],
        None => return vec![format!("no ConfigMap is mounted at {path}")],
    };
    let mut found = Vec::new();
    for (field, kind) in [
        ("/stateDirectory", "emptyDir"),
        ("/history/directory", "hostPath"),
        ("/policies/directory", "configMap"),
    ] {
        let directory = text(&configuration, field);
        if volume(directory).is_none_or(|volume| !volume[kind].is_object()) {
            found.push(format!("{path}: {field} `{directory}` is no {kind}"));
        }
    }
    for name in ["metrics", "health"] {
        let listen = text(&configuration, &format!("/{name}/listen"));
        // The pod's address is not known beforehand.
        let address: Option<SocketAddr> = listen.parse().ok();
        let address = address.filter(|address| address.ip().is_unspecified());
        if address.is_none_or(|address| container_port(container, name) != address.port()) {
            found.push(format!("{path}: no port `{name}` is at {listen}"));
        }
    }
    found.extend(of_probes(container));
    found
}

/// The number of a port by its name; null where there is none.
fn container_port(container: Container<'_>, name: &str) -> Value {
    let mut ports = container.list("/ports");
    let named = ports.find(|port| port["name"] == name);
    named.map_or(Value::Null, |port| port["containerPort"].clone())
}

/// The kubelet asks for health where it is told, for what it wants to know.
fn of_probes(container: Container<'_>) -> Vec<String> {
    let probes = [
        ("startupProbe", "liveness"),
        ("livenessProbe", "liveness"),
        ("readinessProbe", "readiness"),
    ];
    let port = container_port(container, "health");
    let is_right = |(probe, service): &(&str, &str)| {
        let grpc = container.at(&format!("/{probe}/grpc"));
        grpc["service"] == *service && grpc["port"] == port
    };
    let wrong = probes.into_iter().filter(|probe| !is_right(probe));
    wrong
        .map(|(probe, service)| format!("{probe} does not ask for {service} at the port `health`"))
        .collect()
}
