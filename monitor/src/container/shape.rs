//! From the path of a cgroup to the container it belongs to, by the shapes that runtimes give their paths.
//!
//! Sources: cri-o `internal/config/cgmgr`, containerd `internal/cri/server/helpers.go`, crun
//! `src/libcrun/cgroup-systemd.c`, kubelet `pkg/kubelet/cm/pod_container_manager_linux.go`, and the runtimes
//! themselves. A path that has none of the shapes is no container's: nothing is guessed.

/// The runtime, as far as a path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// The path does not tell.
    Unknown,
    /// containerd, through CRI or nerdctl.
    Containerd,
    /// CRI-O.
    CriO,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// Buildah.
    Buildah,
}

/// A container, as recognised by the path of its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The runtime's id of the container.
    pub id: String,
    /// The runtime.
    pub runtime: Runtime,
    /// The pod's uid as the cgroup carries it: for a static pod it is the hash of its manifest.
    pub pod_uid: Option<String>,
    /// Bytes of the path up to and including the container's own cgroup.
    pub length: usize,
}

/// Prefixes of a container's own cgroup, with the runtime that gives it. The monitors beside containers
/// (`crio-conmon-`, `libpod-conmon-`) don't match: an id follows the prefix at once.
const PREFIXES: [(&str, Runtime); 6] = [
    ("cri-containerd-", Runtime::Containerd),
    ("nerdctl-", Runtime::Containerd),
    ("crio-", Runtime::CriO),
    ("docker-", Runtime::Docker),
    ("libpod-payload-", Runtime::Podman),
    ("libpod-", Runtime::Podman),
];

/// Directories that hold containers under their bare ids, with the cgroupfs driver.
const PARENTS: [(&str, Runtime); 2] = [
    ("docker", Runtime::Docker),
    ("actions_job", Runtime::Docker),
];

/// Recognises the container that a cgroup is, or lies in.
///
/// Of nested containers it is the outermost (a runtime within a container starts processes of that container),
/// except that below Kubernetes' own directory it is the one next to the pod: a node may itself
/// be a container.
#[must_use]
pub fn recognise(path: &str) -> Option<Shape> {
    let components = components(path);
    let pod = components
        .iter()
        .position(|(_, component)| is_kubepods(component))
        .and_then(|kubepods| {
            components
                .iter()
                .enumerate()
                .skip(kubepods)
                .find_map(|(index, (_, component))| Some((index, pod_uid(component)?)))
        });
    match pod {
        Some((index, uid)) => {
            if let Some(shape) = systemd_colon(&components, index, &uid) {
                return Some(shape);
            }
            components.iter().skip(index + 1).find_map(|component| {
                of_component(component, Parent::Pod(components[index].1)).map(|shape| Shape {
                    pod_uid: Some(uid.clone()),
                    ..shape
                })
            })
        }
        None => components
            .iter()
            .enumerate()
            .find_map(|(index, component)| {
                let parent = index
                    .checked_sub(1)
                    .and_then(|parent| components.get(parent))
                    .map_or("", |(_, parent)| *parent);
                of_component(component, Parent::Other(parent))
            }),
    }
}

/// Components of a path, each with the offset of its end.
fn components(path: &str) -> Vec<(usize, &str)> {
    let mut end = 0;
    path.split('/')
        .map(|component| {
            end += component.len();
            let component = (end, component);
            end += 1;
            component
        })
        .filter(|(_, component)| !component.is_empty())
        .collect()
}

/// Whether a component is the directory that the kubelet keeps pods in: `kubepods`, `kubepods.slice`, or
/// with a prefix of its own as in `kubelet-kubepods.slice`.
fn is_kubepods(component: &str) -> bool {
    let name = component.strip_suffix(".slice").unwrap_or(component);
    name == "kubepods" || name.ends_with("-kubepods") || name.contains("kubepods-")
}

/// The uid in a pod's directory: `pod<uid>` with the cgroupfs driver, and with the systemd driver
/// `kubepods[-<qos>]-pod<uid>.slice`, where the uid has `_` for `-`.
fn pod_uid(component: &str) -> Option<String> {
    // Without the systemd cgroup driver, containerd under systemd makes `<slice>:cri-containerd:<id>`.
    let component = component.split(':').next()?;
    let name = match component.strip_suffix(".slice") {
        Some(slice) => &slice[slice.rfind("-pod")? + 1..],
        None => component,
    };
    let uid = name.strip_prefix("pod")?.replace('_', "-");
    let plausible = uid.len() >= 8
        && uid
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    plausible.then_some(uid)
}

/// containerd given a systemd path while it uses the cgroupfs driver: `…-pod<uid>.slice:cri-containerd:<id>`.
fn systemd_colon(components: &[(usize, &str)], index: usize, uid: &str) -> Option<Shape> {
    let (end, component) = components.get(index)?;
    let mut parts = component.split(':');
    let (_, runtime, id) = (parts.next()?, parts.next()?, parts.next()?);
    let runtime = match runtime {
        "cri-containerd" => Runtime::Containerd,
        "crio" => Runtime::CriO,
        "docker" => Runtime::Docker,
        _ => return None,
    };
    is_id(id).then(|| Shape {
        id: id.to_owned(),
        runtime,
        pod_uid: Some(uid.to_owned()),
        length: *end,
    })
}

/// Where a component lies.
#[derive(Clone, Copy)]
enum Parent<'a> {
    /// Below the directory of a pod.
    Pod(&'a str),
    /// Next to another directory.
    Other(&'a str),
}

/// The container whose own cgroup a component is.
fn of_component((end, component): &(usize, &str), parent: Parent<'_>) -> Option<Shape> {
    let scope = component.strip_suffix(".scope");
    let name = scope.unwrap_or(component);
    let shape = |id: &str, runtime| {
        Some(Shape {
            id: id.to_owned(),
            runtime,
            pod_uid: None,
            length: *end,
        })
    };
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = name.strip_prefix(prefix)
            && is_id(id)
        {
            // Among the scopes of the systemd driver CRI-O makes an empty directory `crio-<sandbox>`, for
            // statistics: no container.
            let placeholder = runtime == Runtime::CriO
                && scope.is_none()
                && matches!(parent, Parent::Pod(pod) if pod.ends_with(".slice"));
            return if placeholder {
                None
            } else {
                shape(id, runtime)
            };
        }
    }
    if let Some(id) = buildah_id(name) {
        return shape(id, Runtime::Buildah);
    }
    if scope.is_none() && is_id(name) {
        return match parent {
            Parent::Pod(_) => shape(name, Runtime::Unknown),
            Parent::Other(directory) => PARENTS
                .iter()
                .find(|(known, _)| *known == directory)
                .and_then(|(_, runtime)| shape(name, *runtime)),
        };
    }
    None
}

/// Buildah runs a build step as container `buildah-buildah<number>`; with the systemd driver the OCI
/// runtime puts its own name before that.
fn buildah_id(name: &str) -> Option<&str> {
    let name = ["crun-", "runc-"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let id = name.strip_prefix("buildah-")?;
    let number = id.strip_prefix("buildah")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(id)
}

/// An id as runtimes make them: 64 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "6b83e4665ae8bd6de8ffe203d16658a69e4735c210bf36c45816dbe502416c10";
    const UID: &str = "11111111-2222-3333-4444-555555555555";
    const UNDERSCORED: &str = "11111111_2222_3333_4444_555555555555";
    const HASH: &str = "0123456789abcdef0123456789abcdef";

    /// `$ID`, `$UID`, `$_` and `$HASH` stand for the constants above.
    fn expand(path: &str) -> String {
        path.replace("$ID", ID)
            .replace("$UID", UID)
            .replace("$_", UNDERSCORED)
            .replace("$HASH", HASH)
    }

    #[test]
    fn every_runtime_and_driver_is_recognised() {
        use Runtime::{Containerd, CriO, Docker, Podman, Unknown};
        let cases = [
            // (path, runtime, pod uid)
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$_.slice/crio-$ID.scope",
                CriO,
                UID,
            ),
            (
                "/kubepods.slice/kubepods-pod$_.slice/crio-$ID.scope/container",
                CriO,
                UID,
            ),
            (
                "/kubepods.slice/kubepods-pod$_.slice/crio-$ID.scope/container/init.scope",
                CriO,
                UID,
            ),
            ("/kubepods/besteffort/pod$UID/crio-$ID", CriO, UID),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod$_.slice/cri-containerd-$ID.scope",
                Containerd,
                UID,
            ),
            (
                "/kubepods-besteffort-pod$_.slice:cri-containerd:$ID",
                Containerd,
                UID,
            ),
            (
                "/system.slice/containerd.service/kubepods-besteffort-pod$_.slice:cri-containerd:$ID",
                Containerd,
                UID,
            ),
            ("/kubepods/burstable/pod$UID/$ID", Unknown, UID),
            ("/kubepods/pod$UID/$ID/nested/deeper", Unknown, UID),
            ("/kubepods/pod$HASH/$ID", Unknown, HASH),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$HASH.slice/cri-containerd-$ID.scope",
                Containerd,
                HASH,
            ),
            (
                "/kubepods.slice/kubepods-pod$_.slice/docker-$ID.scope",
                Docker,
                UID,
            ),
            ("/system.slice/docker-$ID.scope", Docker, ""),
            ("/docker/$ID", Docker, ""),
            ("/docker/$ID/docker/$ID", Docker, ""),
            ("/actions_job/$ID", Docker, ""),
            ("/system.slice/nerdctl-$ID.scope", Containerd, ""),
            ("/machine.slice/libpod-$ID.scope", Podman, ""),
            ("/machine.slice/libpod-$ID.scope/container", Podman, ""),
            ("/machine.slice/libpod-payload-$ID", Podman, ""),
            ("/libpod_parent/libpod-$ID", Podman, ""),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-$ID.scope/container",
                Podman,
                "",
            ),
        ];
        for (path, runtime, uid) in cases {
            let path = expand(path);
            let shape = recognise(&path).unwrap_or_else(|| panic!("{path} is a container's"));
            assert_eq!(shape.id, ID, "{path}");
            assert_eq!(shape.runtime, runtime, "{path}");
            assert_eq!(shape.pod_uid.as_deref().unwrap_or(""), uid, "{path}");
        }
    }

    #[test]
    fn build_steps_are_recognised() {
        for path in [
            "/buildah-buildah1170995302",
            "/user.slice/session-2.scope/buildah-buildah42",
            "/machine.slice/crun-buildah-buildah42.scope",
        ] {
            let shape = recognise(path).expect("a container's");
            assert_eq!(shape.runtime, Runtime::Buildah, "{path}");
            assert!(shape.id.starts_with("buildah"), "{path}");
        }
    }

    #[test]
    fn what_is_no_container_is_not_guessed() {
        for path in [
            "/",
            "",
            "/system.slice/sshd.service",
            "/kubepods.slice",
            "/kubepods.slice/kubepods-burstable.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$_.slice",
            "/kubepods/besteffort/pod$UID",
            // Monitors of containers.
            "/kubepods.slice/kubepods-pod$_.slice/crio-conmon-$ID.scope",
            "/machine.slice/libpod-conmon-$ID.scope",
            // CRI-O's empty directory for statistics.
            "/kubepods.slice/kubepods-pod$_.slice/crio-$ID",
            // Not ids.
            "/docker/buildkit",
            "/docker/abcdef",
            "/system.slice/docker-abcdef.scope",
            "/buildah-work",
            // An id where no runtime puts one.
            "/user.slice/$ID",
            "/$ID",
        ] {
            let path = expand(path);
            assert_eq!(recognise(&path), None, "{path}");
        }
    }

    #[test]
    fn a_node_that_is_a_container_shows_its_pods() {
        let other = ID.replace('6', "7");
        let path = expand(
            "/docker/$ID/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod$_.slice/cri-containerd-",
        ) + &other
            + ".scope";
        let shape = recognise(&path).expect("a container's");
        assert_eq!(shape.id, other);
        assert_eq!(shape.pod_uid.as_deref(), Some(UID));
    }

    #[test]
    fn the_length_ends_at_the_containers_own_cgroup() {
        let path = expand("/kubepods/pod$UID/$ID/nested");
        let shape = recognise(&path).expect("a container's");
        assert_eq!(&path[..shape.length], expand("/kubepods/pod$UID/$ID"));
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "\\PC{0,200}") {
            let _ = recognise(&path);
        }

        #[test]
        fn the_length_is_on_a_component(parts in proptest::collection::vec("[a-z]{0,3}|docker|kubepods|pod11111111|[0-9a-f]{64}|libpod-[0-9a-f]{64}", 0..6)) {
            let path = format!("/{}", parts.join("/"));
            if let Some(shape) = recognise(&path) {
                prop_assert!(shape.length == path.len() || path[shape.length..].starts_with('/'));
                prop_assert!(path[..shape.length].contains(&shape.id));
            }
        }
    }
}
