//! Credentials and secrets.

use super::Technique;
use watchkeeper::proto::v1::Severity::{Critical, High, Low, Medium};

pub(super) const TECHNIQUES: &[Technique] = &[
    Technique::new(
        "shadow-by-applet",
        "b cat /etc/shadow",
        &[("secret.shadow", Medium)],
    ),
    Technique::new(
        "shadow-under-another-name",
        "b ln /etc/shadow /root/notes; b cat /root/notes",
        &[("secret.shadow", Medium)],
    ),
    Technique::new(
        "private-key",
        "b mkdir -p /root/.ssh; echo k > /root/.ssh/id_rsa; b cat /root/.ssh/id_rsa",
        &[("secret.ssh-keys", Medium)],
    ),
    Technique::new(
        "cloud-credentials",
        "b mkdir -p /root/.aws; echo k > /root/.aws/credentials; b cat /root/.aws/credentials",
        &[("secret.cloud-files", Medium)],
    ),
    Technique::new(
        "kubeconfig",
        "b mkdir -p /root/.kube; echo k > /root/.kube/config; b cat /root/.kube/config",
        &[("secret.kubeconfig", Medium)],
    ),
    Technique::new(
        "vault-token",
        "echo k > /root/.vault-token; b cat /root/.vault-token",
        &[("secret.vault-token", Medium)],
    ),
    Technique::new(
        "service-account-token",
        "d=/var/run/secrets/kubernetes.io/serviceaccount; b mkdir -p $d/..1; echo t > $d/..1/token; b cat $d/..1/token",
        &[("secret.serviceaccount-token", Medium)],
    ),
    Technique::new(
        "harvest",
        "b mkdir -p /root/.aws /root/.kube; echo k > /root/.aws/credentials; echo k > /root/.kube/config; echo k > /root/.vault-token; b cat /root/.aws/credentials; b cat /root/.kube/config; b cat /root/.vault-token; b cat /etc/shadow",
        &[("secret.harvest", High)],
    ),
    Technique::new(
        "environment-of-another",
        "b cat /proc/1/environ",
        &[("secret.environ", Medium)],
    ),
    Technique::new(
        "secret-in-arguments",
        "/bin/true --password=hunter2hunter2",
        &[("secret.in-arguments", Low)],
    ),
    Technique::new(
        "metadata-service",
        "b ip addr add 169.254.169.254/32 dev lo; b mkdir -p /root/w; echo x > /root/w/role; \
         b httpd -p 169.254.169.254:80 -h /root/w; b wget -q -O /root/role http://169.254.169.254/role",
        &[("secret.cloud-metadata", Medium)],
    )
    .with(&["--cap-add", "NET_ADMIN"]),
    Technique::new(
        "harvest-and-metadata-service",
        "b mkdir -p /root/.kube; echo k > /root/.kube/config; echo k > /root/.vault-token; \
         b cat /root/.kube/config /root/.vault-token /etc/shadow; \
         b ip addr add 169.254.169.254/32 dev lo; b nc -w 1 169.254.169.254 80",
        &[("secret.harvest", High), ("secret.harvest-metadata", Critical)],
    )
    .with(&["--cap-add", "NET_ADMIN"]),
    Technique::new(
        "kubelet",
        "b ip addr add 10.0.0.4/32 dev lo; b nc -w 1 10.0.0.4 10250",
        &[("secret.kubelet-api", Medium)],
    )
    .with(&["--cap-add", "NET_ADMIN"]),
    Technique::new(
        "etcd",
        "b ip addr add 10.0.0.4/32 dev lo; b nc -w 1 10.0.0.4 2379",
        &[("secret.etcd", High)],
    )
    .with(&["--cap-add", "NET_ADMIN"]),
    Technique::new(
        "secret-of-another-pod",
        "b cat /host/kubelet/pods/3f0c2d5e-8a41-4c1e-9b57-1f7f0c9f2a11/volumes/kubernetes.io~secret/db/password",
        &[("secret.other-pod-token", Critical)],
    )
    .with(&["-v", "DIRECTORY:/host/kubelet"])
    .after(
        "d=DIRECTORY/pods/3f0c2d5e-8a41-4c1e-9b57-1f7f0c9f2a11/volumes/kubernetes.io~secret/db; \
         mkdir -p $d; echo x > $d/password",
    ),
    Technique::new(
        "token-of-another-pod",
        "b cat /host/kubelet/pods/3f0c2d5e-8a41-4c1e-9b57-1f7f0c9f2a11/volumes/kubernetes.io~projected/kube-api-access-x/..1/token",
        &[("secret.other-pod-token", Critical)],
    )
    .with(&["-v", "DIRECTORY:/host/kubelet"])
    .after(
        "d=DIRECTORY/pods/3f0c2d5e-8a41-4c1e-9b57-1f7f0c9f2a11/volumes/kubernetes.io~projected/kube-api-access-x/..1; \
         mkdir -p $d; echo x > $d/token",
    ),
    Technique::new(
        "search",
        "for i in $(b seq 20); do b mkdir -p /root/$i/.aws; echo k > /root/$i/.aws/credentials; done; b cat /root/*/.aws/credentials",
        &[("secret.search", Low)],
    ),
    Technique::new(
        "shadow-by-a-forked-shell",
        "(while read -r line; do :; done < /etc/shadow)",
        &[("secret.shadow", Medium)],
    ),
];
