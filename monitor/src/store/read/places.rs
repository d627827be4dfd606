//! Rows of places, containers and pods.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rusqlite::Row;

use super::{super::detail::unsigned, Reader, moment};
use crate::container::{
    model::{Container, Description, Details, Known, Metadata, NamespaceLabels, Pod, Workload},
    registry::Place,
    shape::Runtime,
};

impl Reader {
    /// The places whose container is wanted; `None` stands for the host and the unknown.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn places(
        &mut self,
        wanted: impl Fn(Option<&Container>) -> bool,
    ) -> anyhow::Result<Vec<i64>> {
        let rows: Vec<(i64, Option<i64>)> = self
            .connection
            .prepare_cached("SELECT id, nullif(container, 0) FROM place")?
            .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut places = Vec::new();
        for (id, container) in rows {
            let container = match container {
                Some(container) => Some(self.container(container)?),
                None => None,
            };
            if wanted(container.as_deref()) {
                places.push(id);
            }
        }
        Ok(places)
    }

    /// The containers.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn containers(&mut self) -> anyhow::Result<Vec<Arc<Container>>> {
        let ids: Vec<i64> = self
            .connection
            .prepare_cached("SELECT id FROM container WHERE id <> 0 ORDER BY id")?
            .query_map((), |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        ids.into_iter().map(|id| self.container(id)).collect()
    }

    /// Forgets what may have changed, once a second: more becomes known of a container while a segment is written.
    pub fn refresh(&mut self) {
        if self.refreshed.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.refreshed = Instant::now();
        self.containers.clear();
        self.places.clear();
        self.lines.clear();
    }

    pub(super) fn container(&mut self, id: i64) -> anyhow::Result<Arc<Container>> {
        if let Some(container) = self.containers.get(&id) {
            return Ok(Arc::clone(container));
        }
        let (mut known, labels, pod) = self
            .connection
            .prepare_cached(
                "SELECT c.container_id, c.runtime, c.cgroup_path, c.cgroup_id, c.init_pid, c.first_seen, c.ended, c.metadata,
                     c.reason, c.name, c.image, c.image_digest, c.sandbox, c.labels, p.uid, p.name, p.namespace, p.labels, p.workload,
                     p.namespace_labels
                 FROM container c LEFT JOIN pod p ON p.id = c.pod WHERE c.id = ?1",
            )?
            .query_row([id], container)
            .with_context(|| format!("reading container {id}"))?;
        let description = &mut known.details.description;
        description.labels = serde_json::from_str(&labels)?;
        if let Some((mut pod, labels, of_namespace)) = pod {
            pod.labels = serde_json::from_str(&labels)?;
            if let Some(labels) = of_namespace {
                pod.namespace_labels = NamespaceLabels::Known(serde_json::from_str(&labels)?);
            }
            description.pod = Some(pod);
        }
        let container = Arc::new(Container::restore(known));
        self.containers.insert(id, Arc::clone(&container));
        Ok(container)
    }

    pub(super) fn place(&mut self, id: i64) -> anyhow::Result<Place> {
        if let Some(place) = self.places.get(&id) {
            return Ok(place.clone());
        }
        let (location, container, path): (i64, Option<i64>, String) = self
            .connection
            .prepare_cached(
                "SELECT location, nullif(container, 0), cgroup_path FROM place WHERE id = ?1",
            )?
            .query_row([id], |row| row.try_into())
            .with_context(|| format!("reading place {id}"))?;
        let place = match (location, container) {
            (2, Some(container)) => Place::Container(self.container(container)?, path.into()),
            (1, _) => Place::Host(path.into()),
            _ => Place::Unknown,
        };
        self.places.put(id, place.clone());
        Ok(place)
    }
}

/// What a row of `container` says, with the labels of container, pod and namespace as they are stored.
type ContainerRow = (Known, String, Option<(Pod, String, Option<String>)>);

fn container(row: &Row<'_>) -> rusqlite::Result<ContainerRow> {
    let runtime = match row.get::<_, i64>(1)? {
        1 => Runtime::Containerd,
        2 => Runtime::CriO,
        3 => Runtime::Docker,
        4 => Runtime::Podman,
        5 => Runtime::Buildah,
        _ => Runtime::Unknown,
    };
    let pod = match row.get::<_, Option<String>>(14)? {
        Some(uid) => Some((
            Pod {
                uid,
                name: row.get(15)?,
                namespace: row.get(16)?,
                workload: row
                    .get::<_, Option<String>>(18)?
                    .and_then(|text| Workload::parse(&text)),
                ..Pod::default()
            },
            row.get(17)?,
            row.get(19)?,
        )),
        None => None,
    };
    let known = Known {
        id: row.get(0)?,
        cgroup_path: row.get(2)?,
        cgroup_id: unsigned(row.get(3)?),
        first_seen: moment(row.get(5)?),
        details: Details {
            metadata: match row.get::<_, i64>(7)? {
                1 => Metadata::Complete,
                2 => Metadata::Pending,
                _ => Metadata::Unavailable(row.get(8)?),
            },
            description: Description {
                runtime: Some(runtime),
                name: row.get(9)?,
                image: row.get(10)?,
                image_digest: row.get(11)?,
                sandbox: row.get(12)?,
                ..Description::default()
            },
            init_pid: row.get(4)?,
            ended: row.get::<_, Option<i64>>(6)?.map(moment),
        },
    };
    Ok((known, row.get(13)?, pod))
}
