//! What a rendered manifest asks of a runtime: its one container, in the words of CRI, with everything taken from there.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};
use serde_json::Value;
use tempfile::TempDir;
use watchkeeper::proto::cri::{
    Capability, ContainerConfig, ImageSpec, Int64Value, KeyValue, LinuxContainerConfig,
    LinuxContainerResources, LinuxContainerSecurityContext, Mount, MountPropagation, NamespaceMode,
    NamespaceOption, SecurityProfile, security_profile::ProfileType,
};

use super::containerd;
use super::kubernetes::ControlPlane;
use super::mounts::Tracefs;

/// What the kubelet hides of /proc and /sys, and what it makes read-only (`procMount: Default`).
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The DaemonSet of a rendered overlay, with places on this host for what it mounts.
pub(crate) struct Manifest {
    documents: Vec<Value>,
    /// Where ConfigMaps and empty directories are.
    directory: TempDir,
    /// Paths of the node that are elsewhere on this host.
    moved: HashMap<String, PathBuf>,
    /// What the service account gives the pod.
    account: Option<(Mount, [KeyValue; 2])>,
    _tracefs: Tracefs,
}

impl Manifest {
    /// Reads what `cargo xtask manifests` rendered of an overlay.
    pub(crate) fn of(overlay: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../target/manifests")
            .join(format!("{overlay}.yaml"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!(
                "{}: {error}: render it with `cargo xtask manifests`",
                path.display()
            )
        });
        let documents = serde_saphyr::from_multiple(&text).expect("it is YAML");
        let directory = tempfile::Builder::new()
            .prefix("watchkeeper-pod-")
            .tempdir()
            .expect("a temporary directory can be made");
        Self {
            documents,
            directory,
            moved: HashMap::new(),
            account: None,
            _tracefs: Tracefs::ensure(),
        }
    }

    /// Whether the pod gets a token of its service account.
    pub(crate) fn asks_the_api_server(&self) -> bool {
        self.pod()["automountServiceAccountToken"] == true
    }

    /// The objects that say what the service account may do.
    pub(crate) fn access(&self) -> Vec<Value> {
        const KINDS: [&str; 4] = [
            "Namespace",
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
        ];
        let all = self.documents.iter();
        all.filter(|document| KINDS.contains(&text(&document["kind"])))
            .cloned()
            .collect()
    }

    /// Makes the service account in a cluster, and gives the pod its token in the way that the API server and the kubelet do.
    pub(crate) fn with_account_in(mut self, plane: &ControlPlane) -> Self {
        plane.apply(&self.access());
        let place = self.directory.path().join("account");
        fs::create_dir_all(&place).expect("a directory can be made");
        let token = plane.token("watchkeeper", text(&self.pod()["serviceAccountName"]));
        fs::write(place.join("token"), token).expect("a file can be written");
        fs::copy(plane.authority(), place.join("ca.crt")).expect("a file can be copied");
        fs::write(place.join("namespace"), "watchkeeper").expect("a file can be written");
        let mount = Mount {
            container_path: "/var/run/secrets/kubernetes.io/serviceaccount".to_owned(),
            host_path: place.display().to_string(),
            readonly: true,
            propagation: MountPropagation::PropagationPrivate.into(),
        };
        let variable = |key: &str, value: String| KeyValue {
            key: key.to_owned(),
            value,
        };
        let variables = [
            variable("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
            variable("KUBERNETES_SERVICE_PORT", plane.port().to_string()),
        ];
        self.account = Some((mount, variables));
        self
    }

    /// Says that a path of the node is elsewhere on this host.
    pub(crate) fn moves(mut self, path: &str, to: &Path) -> Self {
        self.moved.insert(path.to_owned(), to.to_owned());
        self
    }

    /// The state directory of the agent, as this host sees it.
    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn pod(&self) -> &Value {
        let mut all = self.documents.iter();
        let set = all.find(|document| document["kind"] == "DaemonSet");
        &set.expect("there is a DaemonSet")["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        let containers = self.pod()["containers"].as_array();
        match containers.map(Vec::as_slice) {
            Some([container]) => container,
            other => panic!("one container is expected: {other:?}"),
        }
    }

    /// The namespaces of the pod. Its network is the host's here, as there is no CNI.
    pub(crate) fn namespaces(&self) -> NamespaceOption {
        let pid = if self.pod()["hostPID"] == true {
            NamespaceMode::Node
        } else {
            NamespaceMode::Container
        };
        NamespaceOption {
            pid: pid.into(),
            ..containerd::namespaces()
        }
    }

    /// What the kubelet asks the container for, to know how it is: port and service of each gRPC probe.
    pub(crate) fn probes(&self) -> Vec<(u16, &str)> {
        let probes = ["startupProbe", "livenessProbe", "readinessProbe"];
        let asked = probes.map(|probe| &self.container()[probe]["grpc"]);
        let asked = asked.iter().map(|probe| {
            let port = probe["port"].as_u64().and_then(|port| port.try_into().ok());
            (port.expect("a port"), text(&probe["service"]))
        });
        asked.collect()
    }

    /// The container as the kubelet asks a runtime for it, of this image.
    pub(crate) fn config(&self, image: &str) -> ContainerConfig {
        let container = self.container();
        ContainerConfig {
            image: Some(ImageSpec {
                image: image.to_owned(),
            }),
            command: texts(&container["command"]),
            args: texts(&container["args"]),
            envs: self.environment(),
            mounts: self.mounts(),
            linux: Some(LinuxContainerConfig {
                resources: Some(resources(&container["resources"]["limits"])),
                security_context: Some(self.security()),
            }),
            ..containerd::named(text(&container["name"]))
        }
    }

    fn environment(&self) -> Vec<KeyValue> {
        let variables = self.container()["env"].as_array().into_iter().flatten();
        let of_account = self.account.iter().flat_map(|(_, variables)| variables);
        variables
            .map(|variable| {
                let field = text(&variable["valueFrom"]["fieldRef"]["fieldPath"]);
                let value = match (variable["value"].as_str(), field) {
                    (Some(value), _) => value,
                    (None, "spec.nodeName") => "node-of-the-test",
                    other => panic!("where this is from is not known: {other:?}"),
                };
                KeyValue {
                    key: text(&variable["name"]).to_owned(),
                    value: value.to_owned(),
                }
            })
            .chain(of_account.cloned())
            .collect()
    }

    fn mounts(&self) -> Vec<Mount> {
        let mounts = self.container()["volumeMounts"].as_array();
        let mounts = mounts.into_iter().flatten();
        mounts
            .map(|mount| {
                let mut host = self.volume(text(&mount["name"]));
                if let Some(part) = mount["subPath"].as_str() {
                    host.push(part);
                }
                let propagation = match mount["mountPropagation"].as_str() {
                    None | Some("None") => MountPropagation::PropagationPrivate,
                    Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
                    Some(other) => panic!("a propagation {other} is not expected"),
                };
                Mount {
                    container_path: text(&mount["mountPath"]).to_owned(),
                    host_path: host.display().to_string(),
                    readonly: mount["readOnly"] == true,
                    propagation: propagation.into(),
                }
            })
            .chain(self.account.iter().map(|(mount, _)| mount.clone()))
            .collect()
    }

    /// Where a volume is on this host.
    fn volume(&self, name: &str) -> PathBuf {
        let mut volumes = self.pod()["volumes"].as_array().into_iter().flatten();
        let volume = volumes
            .find(|volume| volume["name"] == name)
            .unwrap_or_else(|| panic!("there is no volume {name}"));
        if let Some(path) = volume["hostPath"]["path"].as_str() {
            let path = self.moved.get(path).cloned();
            return path.unwrap_or_else(|| PathBuf::from(text(&volume["hostPath"]["path"])));
        }
        let place = self.directory.path().join(name);
        fs::create_dir_all(&place).expect("a directory can be made");
        if let Some(map) = volume["configMap"]["name"].as_str() {
            let mut maps = self.documents.iter();
            let found = maps.find(|document| {
                document["kind"] == "ConfigMap" && document["metadata"]["name"] == map
            });
            let found = found.unwrap_or_else(|| panic!("there is no ConfigMap {map}"));
            for (file, content) in found["data"].as_object().into_iter().flatten() {
                fs::write(place.join(file), text(content)).expect("a file can be written");
            }
        } else {
            assert!(
                volume["emptyDir"].is_object(),
                "a volume of this kind is not expected: {volume}"
            );
        }
        place
    }

    fn security(&self) -> LinuxContainerSecurityContext {
        let wanted = &self.container()["securityContext"];
        let number = |name: &str| wanted[name].as_i64().map(|value| Int64Value { value });
        let wanted_profile = &wanted["seccompProfile"];
        let (profile, path) = match wanted_profile["type"].as_str() {
            Some("RuntimeDefault") => (ProfileType::RuntimeDefault, String::new()),
            Some("Localhost") => {
                assert_eq!(wanted_profile["localhostProfile"], "watchkeeper/agent.json");
                let path =
                    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/seccomp/agent.json");
                let path = path.canonicalize().expect("the profile is there");
                (ProfileType::Localhost, path.display().to_string())
            }
            other => panic!("a seccomp profile {other:?} is not expected"),
        };
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        LinuxContainerSecurityContext {
            capabilities: Some(Capability {
                add_capabilities: had(texts(&wanted["capabilities"]["add"])),
                drop_capabilities: texts(&wanted["capabilities"]["drop"]),
            }),
            privileged: wanted["privileged"] == true,
            namespace_options: Some(self.namespaces()),
            run_as_user: number("runAsUser"),
            run_as_group: number("runAsGroup"),
            readonly_rootfs: wanted["readOnlyRootFilesystem"] == true,
            no_new_privs: wanted["allowPrivilegeEscalation"] == false,
            masked_paths: owned(&MASKED),
            readonly_paths: owned(&READ_ONLY),
            seccomp: Some(SecurityProfile {
                profile_type: profile.into(),
                localhost_ref: path,
            }),
        }
    }
}

/// Those capabilities that this host has itself: nobody can give another one.
fn had(wanted: Vec<String>) -> Vec<String> {
    let is_had = |name: &String| {
        let capability = CapabilitySet::from_name(name);
        let capability = capability.unwrap_or_else(|| panic!("there is no capability {name}"));
        capability_is_in_bounding_set(capability).unwrap_or(false)
    };
    let (had, missing): (Vec<_>, Vec<_>) = wanted.into_iter().partition(is_had);
    if !missing.is_empty() {
        eprintln!("this host has no {}", missing.join(", "));
    }
    had
}

/// The limits, in the kernel's terms.
fn resources(limits: &Value) -> LinuxContainerResources {
    const PERIOD: i64 = 100_000;
    let memory = text(&limits["memory"]);
    let mebibytes = memory
        .strip_suffix("Mi")
        .and_then(|number| number.parse::<i64>().ok());
    let cpus = limits["cpu"]
        .as_str()
        .and_then(|text| text.parse::<i64>().ok())
        .or_else(|| limits["cpu"].as_i64());
    LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_quota: cpus.expect("whole CPUs are expected") * PERIOD,
        memory_limit_in_bytes: mebibytes.expect("mebibytes are expected") << 20,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    let words = value.as_array().into_iter().flatten();
    words.map(|word| text(word).to_owned()).collect()
}
