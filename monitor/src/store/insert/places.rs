//! Where things happen, containers and pods, as rows.

use std::sync::Arc;

use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    super::{detail::signed, nanoseconds},
    Inserter, NONE,
};
use crate::{
    container::{
        model::{Container, Metadata, Pod},
        registry::Place,
        shape::Runtime,
    },
    proto::v1,
};

impl Inserter {
    pub(super) fn place(&mut self, connection: &Connection, place: &Place) -> anyhow::Result<i64> {
        let (location, container, path) = match place {
            Place::Host(path) => (v1::Location::Host, None, Arc::clone(path)),
            Place::Container(container, path) => {
                (v1::Location::Container, Some(container), Arc::clone(path))
            }
            Place::Unknown => (v1::Location::Unknown, None, Arc::from("")),
        };
        let slot = container.map_or(0, |container| container.slot);
        let key = (slot, path);
        if let Some(id) = self.places.get(&key) {
            return Ok(*id);
        }
        let container = match container {
            Some(container) => self.container(connection, container)?,
            None => NONE,
        };
        connection
            .prepare_cached(
                "INSERT INTO place (location, container, cgroup_path) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![i32::from(location), container, &*key.1])?;
        let id = connection.last_insert_rowid();
        self.places.put(key, id);
        Ok(id)
    }

    pub(super) fn container(
        &mut self,
        connection: &Connection,
        container: &Container,
    ) -> anyhow::Result<i64> {
        if let Some(id) = self.containers.get(&container.slot) {
            return Ok(*id);
        }
        let id = self.write_container(connection, container)?;
        self.containers.put(container.slot, id);
        Ok(id)
    }

    /// Writes what is known of a container by now, where the segment has it.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn amend(&mut self, connection: &Connection, container: &Container) -> anyhow::Result<()> {
        let known = connection
            .prepare_cached("SELECT 1 FROM container WHERE container_id = ?1 AND cgroup_id = ?2")?
            .exists(params![container.id, signed(container.cgroup_id)])?;
        if known {
            self.write_container(connection, container)?;
        }
        Ok(())
    }

    fn write_container(
        &mut self,
        connection: &Connection,
        container: &Container,
    ) -> anyhow::Result<i64> {
        let details = container.details();
        let description = &details.description;
        let pod = match &description.pod {
            Some(pod) => write_pod(connection, pod)?,
            None => NONE,
        };
        let (metadata, reason) = match &details.metadata {
            Metadata::Complete => (v1::Metadata::Complete, ""),
            Metadata::Pending => (v1::Metadata::Pending, ""),
            Metadata::Unavailable(reason) => (v1::Metadata::Unavailable, reason.as_str()),
        };
        let runtime = match container.runtime() {
            Runtime::Unknown => 0,
            Runtime::Containerd => 1,
            Runtime::CriO => 2,
            Runtime::Docker => 3,
            Runtime::Podman => 4,
            Runtime::Buildah => 5,
        };
        connection
            .prepare_cached(
                "INSERT INTO container (container_id, runtime, cgroup_path, cgroup_id, init_pid, first_seen, ended, metadata,
                     reason, name, image, image_digest, labels, sandbox, pod)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
                 ON CONFLICT (container_id, cgroup_id) DO UPDATE SET runtime = ?2, init_pid = ?5, ended = coalesce(?7, ended), metadata = ?8,
                     reason = ?9, name = ?10, image = ?11, image_digest = ?12, labels = ?13, sandbox = ?14, pod = ?15
                 RETURNING id",
            )?
            .query_row(
                params![
                    container.id,
                    runtime,
                    container.cgroup_path,
                    signed(container.cgroup_id),
                    details.init_pid,
                    nanoseconds(container.first_seen),
                    details.ended.map(nanoseconds),
                    i32::from(metadata),
                    reason,
                    description.name,
                    description.image,
                    description.image_digest,
                    serde_json::to_string(&description.labels)?,
                    description.sandbox,
                    pod,
                ],
                |row| row.get(0),
            )
            .context("writing a container")
    }
}

fn write_pod(connection: &Connection, pod: &Pod) -> anyhow::Result<i64> {
    let labels = serde_json::to_string(&pod.labels)?;
    let workload = pod.workload.as_ref().map(ToString::to_string);
    let namespace_labels = match pod.namespace_labels.known() {
        Some(labels) => Some(serde_json::to_string(labels)?),
        None => None,
    };
    let told = params![
        pod.uid,
        pod.name,
        pod.namespace,
        labels,
        workload,
        namespace_labels
    ];
    let found = connection
        .prepare_cached(
            "SELECT id FROM pod WHERE uid = ?1 AND name = ?2 AND namespace = ?3 AND labels = ?4 AND workload IS ?5
                 AND namespace_labels IS ?6",
        )?
        .query_row(told, |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    let title = if pod.name.is_empty() {
        pod.uid.clone()
    } else {
        format!("{}/{}", pod.namespace, pod.name)
    };
    connection
        .prepare_cached(
            "INSERT INTO pod (uid, name, namespace, labels, workload, namespace_labels, title)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            pod.uid,
            pod.name,
            pod.namespace,
            labels,
            workload,
            namespace_labels,
            title
        ])?;
    Ok(connection.last_insert_rowid())
}
