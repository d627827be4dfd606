//! A containerd of a test's own, with pods made through CRI.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::Channel;
use watchkeeper::proto::cri::runtime_service_client::RuntimeServiceClient;
use watchkeeper::proto::cri::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ExecSyncRequest, ExecSyncResponse,
    ImageSpec, LinuxContainerConfig, LinuxContainerSecurityContext, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, ListPodSandboxRequest, NamespaceMode, NamespaceOption,
    PodSandboxConfig, PodSandboxMetadata, RemoveContainerRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StartContainerRequest, StopContainerRequest, StopPodSandboxRequest,
};

use super::watch::connect;
use super::{LIMIT, cgroup, command, eventually, image, mounts, processes, unique, within};

/// Where a containerd has everything, known before it runs.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("watchkeeper-containerd-")
            .tempdir()
            .expect("a temporary directory can be made");
        Self { directory }
    }

    /// Its CRI socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("containerd.sock")
    }

    /// Lets mounts below it come and go in containers that mount it.
    pub(crate) fn shared(self) -> Self {
        mounts::share(self.directory.path());
        self
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the containerd, with the tests' image in it.
    pub(crate) async fn start(self) -> Containerd {
        let path = self.directory.path().display();
        // A sandbox without a network needs no CNI; lowering the OOM score takes a capability that may be missing.
        let configuration = format!(
            "version = 2\n\
             root = \"{path}/root\"\n\
             state = \"{path}/state\"\n\
             [grpc]\n\
             address = \"{path}/containerd.sock\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\n\
             path = \"{path}/opt\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\n\
             sandbox_image = \"{}\"\n\
             restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
             conf_dir = \"{path}/cni\"\n\
             bin_dir = \"{path}/cni-bin\"\n",
            image::NAME
        );
        fs::write(self.file("config.toml"), configuration).expect("a file can be written");
        fs::write(self.file("image.tar"), image::archive()).expect("the archive can be written");
        let log = File::create(self.file("log")).expect("a file can be made");
        let child = Command::new("containerd")
            .arg("--config")
            .arg(self.file("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("containerd is installed");
        let containerd = Containerd { child, place: self };
        eventually("containerd answers", || {
            let mut version = containerd.ctr(&["version"]);
            command::output(&mut version).status.success().then_some(())
        });
        containerd.import(&containerd.place.file("image.tar"));
        containerd
    }
}

/// A running containerd. Dropping it ends its pods and removes what they left.
pub(crate) struct Containerd {
    child: Child,
    place: Place,
}

impl Containerd {
    /// Starts one in a place of its own.
    pub(crate) async fn start() -> Self {
        Place::new().start().await
    }

    /// Its CRI socket, as an argument.
    pub(crate) fn socket(&self) -> String {
        self.place.socket().display().to_string()
    }

    fn ctr(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.place.socket())
            .args(["--namespace", "k8s.io"])
            .args(arguments);
        command
    }

    /// Takes the images of an archive.
    pub(crate) fn import(&self, archive: &Path) {
        command::succeed(self.ctr(&["images", "import"]).arg(archive));
    }

    /// Runs a pod's sandbox, as the kubelet does.
    pub(crate) async fn pod(&self, namespace: &str, labels: &[(&str, &str)]) -> Pod {
        self.pod_in(namespace, labels, namespaces()).await
    }

    /// The same in these namespaces.
    pub(crate) async fn pod_in(
        &self,
        namespace: &str,
        labels: &[(&str, &str)],
        namespaces: NamespaceOption,
    ) -> Pod {
        let uid = uuid::Uuid::now_v7().to_string();
        self.pod_of(&unique("pod"), namespace, &uid, labels, namespaces)
            .await
    }

    /// The same for a pod that has a name and a uid.
    pub(crate) async fn pod_of(
        &self,
        name: &str,
        namespace: &str,
        uid: &str,
        labels: &[(&str, &str)],
        namespaces: NamespaceOption,
    ) -> Pod {
        let labels: HashMap<String, String> = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .chain(
                [
                    ("io.kubernetes.pod.name", name),
                    ("io.kubernetes.pod.namespace", namespace),
                    ("io.kubernetes.pod.uid", uid),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
            )
            .collect();
        let cgroup = format!("/kubepods/besteffort/pod{uid}");
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: uid.to_owned(),
                namespace: namespace.to_owned(),
                attempt: 0,
            }),
            labels: labels.clone(),
            log_directory: self.place.file("logs").display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: cgroup.clone(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces),
                }),
            }),
            ..Default::default()
        };
        let mut client = RuntimeServiceClient::new(connect(&self.place.socket()).await);
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
        };
        let response = within("RunPodSandbox", client.run_pod_sandbox(request)).await;
        Pod {
            id: response
                .expect("a sandbox can run")
                .into_inner()
                .pod_sandbox_id,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
            labels,
            cgroup,
            config,
            client,
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let socket = self.place.socket();
        // A runtime can't be entered within the test's: this one has a thread of its own.
        let pods = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .map(|runtime| runtime.block_on(remove_pods(&socket)))
                })
                .join()
        });
        if std::thread::panicking() {
            let log = fs::read_to_string(self.place.file("log")).unwrap_or_default();
            let trouble = log.lines().filter(|line| line.contains("level=error"));
            let trouble: Vec<&str> = trouble.collect();
            eprintln!("--- containerd's errors\n{}\n---", trouble.join("\n"));
            for log in fs::read_dir(self.place.file("logs"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let text = fs::read_to_string(log.path()).unwrap_or_default();
                eprintln!("--- {}\n{text}\n---", log.file_name().display());
            }
        }
        // Normally there are no shims left.
        for shim in processes::with_argument(&socket) {
            if shim.program.ends_with("containerd-shim-runc-v2") {
                shim.kill();
            }
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It fails only when it has ended already, as waiting does.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
        mounts::unmount_below(self.place.directory.path());
        for uid in pods.ok().and_then(Result::ok).unwrap_or_default() {
            cgroup::remove_everywhere(&format!("/kubepods/besteffort/pod{uid}"));
        }
        cgroup::remove_if_empty("/kubepods/besteffort");
        cgroup::remove_if_empty("/kubepods");
    }
}

/// Removes all pods and returns their UIDs.
async fn remove_pods(socket: &Path) -> Vec<String> {
    let work = async {
        let mut client = RuntimeServiceClient::new(connect(socket).await);
        let pods = client
            .list_pod_sandbox(ListPodSandboxRequest::default())
            .await;
        let mut uids = Vec::new();
        for pod in pods.map(|pods| pods.into_inner().items).unwrap_or_default() {
            let stop = StopPodSandboxRequest {
                pod_sandbox_id: pod.id.clone(),
            };
            let remove = RemovePodSandboxRequest {
                pod_sandbox_id: pod.id,
            };
            // What is left is killed and unmounted next.
            let _ = client.stop_pod_sandbox(stop).await;
            let _ = client.remove_pod_sandbox(remove).await;
            uids.extend(pod.metadata.map(|metadata| metadata.uid));
        }
        uids
    };
    tokio::time::timeout(LIMIT, work).await.unwrap_or_default()
}

/// A container with this name, of which nothing else is said.
pub(crate) fn named(name: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        labels: HashMap::from([("io.kubernetes.container.name".to_owned(), name.to_owned())]),
        log_path: format!("{name}.log"),
        ..Default::default()
    }
}

/// The host's network: there is no CNI here.
pub(crate) fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Node.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
    }
}

/// A pod.
pub(crate) struct Pod {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) labels: HashMap<String, String>,
    /// Where its containers' cgroups are.
    pub(crate) cgroup: String,
    config: PodSandboxConfig,
    client: RuntimeServiceClient<Channel>,
}

impl Pod {
    /// Starts a container and returns its id.
    pub(crate) async fn container<S: AsRef<str>>(&self, name: &str, entry: &[S]) -> String {
        self.run(ContainerConfig {
            image: Some(ImageSpec {
                image: image::NAME.to_owned(),
            }),
            command: entry.iter().map(|word| word.as_ref().to_owned()).collect(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..named(name)
        })
        .await
    }

    /// Starts a container of this configuration and returns its id.
    pub(crate) async fn run(&self, mut config: ContainerConfig) -> String {
        let uid = ("io.kubernetes.pod.uid".to_owned(), self.uid.clone());
        config.labels.extend([uid]);
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let mut client = self.client.clone();
        let response = within("CreateContainer", client.create_container(request)).await;
        let id = response
            .expect("a container can be created")
            .into_inner()
            .container_id;
        let request = StartContainerRequest {
            container_id: id.clone(),
        };
        within("StartContainer", client.start_container(request))
            .await
            .expect("a container can be started");
        id
    }

    /// Runs a command in a container, as `kubectl exec` does.
    pub(crate) async fn exec(&self, container: &str, command: &[&str]) -> ExecSyncResponse {
        let request = ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 30,
        };
        let mut client = self.client.clone();
        let response = within("ExecSync", client.exec_sync(request)).await;
        response.expect("a command can be run").into_inner()
    }

    /// Stops and removes a container, which may have ended already.
    pub(crate) async fn remove(&self, container: &str) {
        let mut client = self.client.clone();
        // containerd hears of the end a moment later, and until then finds nothing to stop and nothing to remove.
        within("RemoveContainer", async {
            loop {
                let stop = StopContainerRequest {
                    container_id: container.to_owned(),
                    timeout: 0,
                };
                let stopped = client.stop_container(stop).await;
                let remove = RemoveContainerRequest {
                    container_id: container.to_owned(),
                };
                if stopped.is_ok() && client.remove_container(remove).await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}
