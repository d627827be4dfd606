//! `watchkeeper.v1.Processes`

use std::{collections::HashSet, ops::ControlFlow, sync::Arc, time::SystemTime};

use tonic::{Request, Response, Status};

use super::{
    filter::{self, Wanted},
    sources::Sources,
    tree::{Builder, Key, Subject},
};
use crate::{
    container::model::Container,
    detect::alert::Alert,
    event::Event,
    process::execution::ProcessKey,
    proto::v1::{self, processes_tree_request::About},
    store::{
        past::{Kept, Narrow, Past},
        recent::Item,
    },
};

/// Most processes of a tree when nothing is said, and at most.
const PROCESSES: (u32, u32) = (2_000, 50_000);
/// Most events that are looked at.
const MAX_EVENTS: u64 = 3_000_000;
/// Elements that are read at a time.
const STEP: usize = 1_024;

#[tonic::async_trait]
impl v1::processes_server::Processes for Sources {
    async fn tree(
        &self,
        request: Request<v1::ProcessesTreeRequest>,
    ) -> Result<Response<v1::ProcessesTreeResponse>, Status> {
        let request = request.into_inner();
        let refused = Status::invalid_argument;
        let since = filter::time("since", request.since).map_err(refused)?;
        let until = filter::time("until", request.until).map_err(refused)?;
        let most = match request.max_processes {
            0 => PROCESSES.0,
            most if most <= PROCESSES.1 => most,
            _ => return Err(refused(format!("max_processes: at most {}", PROCESSES.1))),
        };
        let about = request.about.ok_or_else(|| {
            refused("about: name a process, an alert, a pod or a container".to_owned())
        })?;
        let alert = match &about {
            About::AlertId(id) => Some(self.find_alert(id).await?.1),
            _ => None,
        };
        if let Some(store) = &self.store {
            store
                .flush(self.events.recent.last(), self.alerts.recent.last())
                .await;
        }
        let place = self.place_for_a_question().await?;
        let sources = self.clone();
        let tree = tokio::task::spawn_blocking(move || {
            let range = (since, until);
            let tree = sources.tree_of(&about, alert.as_deref(), range, most as usize);
            drop(place);
            tree
        });
        let tree = tree
            .await
            .map_err(|error| Status::internal(error.to_string()))??;
        Ok(Response::new(tree))
    }
}

impl Sources {
    fn tree_of(
        &self,
        about: &About,
        alert: Option<&Alert>,
        range: (Option<SystemTime>, Option<SystemTime>),
        most: usize,
    ) -> Result<v1::ProcessesTreeResponse, Status> {
        let (subject, home) = match about {
            About::Pod(pod) => self.containers_of(&v1::Filter {
                pods: vec![pod.clone()],
                ..v1::Filter::default()
            })?,
            About::Container(name) => self.containers_of(&v1::Filter {
                containers: vec![name.clone()],
                ..v1::Filter::default()
            })?,
            About::AlertId(_) => {
                let alert = alert.ok_or_else(|| Status::not_found("there is no such alert"))?;
                let home = alert
                    .event
                    .container()
                    .map(|container| container.id.clone());
                (
                    Subject::Process(self.key(alert.process.key)),
                    home.into_iter().collect(),
                )
            }
            About::Pid(pid) => {
                let (key, home) =
                    self.find_process(&|key| key.pid == *pid, None)
                        .ok_or_else(|| {
                            Status::not_found(format!("no process {pid} is in this node's history"))
                        })?;
                (Subject::Process(key), home.into_iter().collect())
            }
            About::ExecId(id) => {
                let (boot, wanted) = parse_exec_id(id).ok_or_else(|| {
                    Status::invalid_argument(format!("`{id}` is no id of an execution"))
                })?;
                let (key, home) = self
                    .find_process(&|key| key == wanted, Some(boot))
                    .ok_or_else(|| {
                        Status::not_found(format!("no execution {id} is in this node's history"))
                    })?;
                (Subject::Process(key), home.into_iter().collect())
            }
        };
        // What a container's process did, it did in the container; what the host's did may be anywhere.
        let narrow = Narrow {
            containers: (!home.is_empty()).then(|| {
                Arc::new(move |container: Option<&Container>| {
                    container.is_some_and(|container| home.contains(&container.id))
                }) as Arc<_>
            }),
            kinds: Vec::new(),
        };
        let mut builder = Builder::new(subject);
        let mut count = 0;
        let wanted = Wanted::new(None, range.0, range.1).map_err(Status::invalid_argument)?;
        let mut gaps = self.each(&narrow, range, &mut |number, event: &Event, boot| {
            if wanted.is_at(event.time) {
                builder.add(&self.context.of_boot(boot), number, event);
            }
            count += 1;
            if count < MAX_EVENTS {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        if count >= MAX_EVENTS {
            gaps.push(format!(
                "only the first {MAX_EVENTS} events were looked at: give a shorter time"
            ));
        }
        self.each(
            &Narrow::default(),
            (None, None),
            &mut |_, alert: &Alert, boot| {
                builder.alert(&self.context.of_boot(boot), alert);
                ControlFlow::Continue(())
            },
        );
        if let Some(store) = &self.store {
            let mut past = Past::new(Arc::clone(store), Narrow::default());
            builder.end(&mut |(boot, key)| past.end_of(boot, *key));
        }
        let mut tree = builder.finish(&self.context, most);
        if tree.processes.is_empty() && tree.left_out == 0 {
            return Err(Status::not_found(
                "nothing is known of it for that time; a longer one may show it",
            ));
        }
        tree.gaps = gaps;
        Ok(tree)
    }

    fn key(&self, key: ProcessKey) -> Key {
        (self.context.boot_id.as_str().into(), key)
    }

    /// The containers that a filter asks for, those that are gone included.
    fn containers_of(&self, filter: &v1::Filter) -> Result<(Subject, HashSet<String>), Status> {
        let wanted =
            Wanted::new(Some(filter.clone()), None, None).map_err(Status::invalid_argument)?;
        let mut ids: HashSet<String> = self
            .containers
            .all()
            .into_iter()
            .filter(|container| wanted.place(Some(container)))
            .map(|container| container.id.clone())
            .collect();
        if let Some(store) = &self.store {
            ids.extend(
                Past::new(Arc::clone(store), Narrow::default())
                    .containers(&|container| wanted.place(Some(container)))
                    .into_iter()
                    .map(|container| container.id.clone()),
            );
        }
        if ids.is_empty() {
            let name = filter.pods.first().or(filter.containers.first());
            return Err(Status::not_found(format!(
                "no container of {} is in this node's history",
                name.map_or("that name", String::as_str)
            )));
        }
        Ok((Subject::Containers(ids.clone()), ids))
    }

    /// The newest process of which that holds, and the container it is in.
    fn find_process(
        &self,
        holds: &dyn Fn(ProcessKey) -> bool,
        boot: Option<&str>,
    ) -> Option<(Key, Option<String>)> {
        let this_boot = boot.is_none_or(|boot| self.context.boot_id.starts_with(boot));
        let recent = this_boot
            .then(|| {
                self.events.recent.find(|event| {
                    let process = event.process.as_ref();
                    process.is_some_and(|process| holds(process.key))
                })
            })
            .flatten();
        if let Some((_, event)) = recent {
            let process = event.process.as_ref()?;
            let home = event.container().map(|container| container.id.clone());
            return Some((self.key(process.key), home));
        }
        let mut past = Past::new(Arc::clone(self.store.as_ref()?), Narrow::default());
        let (boot, line) = past.process(holds, boot)?;
        let home = line
            .membership
            .as_ref()
            .map(|membership| membership.container.id.clone());
        Some(((boot, line.process.key), home))
    }

    /// Calls `take` with each element of a sequence, from disk and then from memory, until it has enough. Returns what is
    /// missing.
    fn each<T: Kept>(
        &self,
        narrow: &Narrow,
        (since, until): (Option<SystemTime>, Option<SystemTime>),
        take: &mut Take<'_, T>,
    ) -> Vec<String>
    where
        Self: Keeps<T>,
    {
        let sequence = self.sequence();
        let mut gaps = Vec::new();
        let mut after = sequence.recent.oldest_number().saturating_sub(1);
        let mut end_in_time = u64::MAX;
        let mut past = sequence
            .store
            .as_ref()
            .map(|store| (store, Past::new(Arc::clone(store), narrow.clone())));
        if let Some((store, past)) = &mut past {
            let settled = T::settled(&store.settled().borrow());
            after = match since {
                Some(since) if T::BY_TIME => past.before(since).unwrap_or(settled),
                _ => past.beginning::<T>().unwrap_or(settled),
            };
            // Only where all that memory has now is on disk: what is later is not wanted then.
            if let Some(until) = until.filter(|_| T::BY_TIME && settled >= sequence.recent.last()) {
                end_in_time = past.up_to(until).unwrap_or(0);
            }
        }
        loop {
            let batch = sequence.recent.after(Some(after), STEP);
            if batch.missed > 0 {
                let until = after + batch.missed;
                let Some((store, past)) = &mut past else {
                    return gaps;
                };
                // What memory has let go of since the last look is on disk by now, or missing.
                let settled = T::settled(&store.settled().borrow());
                let end = settled.min(until);
                if end <= after {
                    gaps.push("what memory has let go of is not written".to_owned());
                    after = until;
                    continue;
                }
                let last = end_in_time.min(end);
                if last <= after {
                    after = end;
                    continue;
                }
                let slice = past.read::<T>(after, last, STEP);
                gaps.extend(slice.gaps.into_iter().map(|gap| gap.to_string()));
                for (number, value) in &slice.items {
                    if take(*number, value, slice.boot_id.as_deref()).is_break() {
                        return gaps;
                    }
                }
                after = slice.scanned;
                continue;
            }
            if batch.items.is_empty() {
                return gaps;
            }
            for (number, item) in batch.items {
                after = number;
                if let Item::Value(value) = item
                    && take(number, &value, None).is_break()
                {
                    return gaps;
                }
            }
        }
    }
}

/// What is done with each element: its number, itself, and the id of its boot where that is not this one.
type Take<'a, T> = dyn FnMut(u64, &T, Option<&str>) -> ControlFlow<()> + 'a;

/// Who has a sequence.
trait Keeps<T> {
    fn sequence(&self) -> &super::watch::Sequence<T>;
}

impl Keeps<Event> for Sources {
    fn sequence(&self) -> &super::watch::Sequence<Event> {
        &self.events
    }
}

impl Keeps<Alert> for Sources {
    fn sequence(&self) -> &super::watch::Sequence<Alert> {
        &self.alerts
    }
}

/// Boot and process in the id of an execution; see `Process.exec_id` in the API.
fn parse_exec_id(id: &str) -> Option<(&str, ProcessKey)> {
    let mut parts = id.split('-');
    let boot = parts.next().filter(|boot| boot.len() == 8)?;
    let key = ProcessKey {
        pid: parts.next()?.parse().ok()?,
        start_ticks: parts.next()?.parse().ok()?,
    };
    parts.next()?.parse::<u64>().ok()?;
    parts.next().is_none().then_some((boot, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_executions_are_read() {
        let (boot, key) = parse_exec_id("0123abcd-42-777-123456789").expect("one");
        assert_eq!((boot, key.pid, key.start_ticks), ("0123abcd", 42, 777));
        for id in [
            "",
            "0123abcd-42-777",
            "0123abcd-42-777-1-1",
            "0123abc-42-777-1",
            "0123abcd-x-777-1",
        ] {
            assert!(parse_exec_id(id).is_none(), "{id}");
        }
    }
}
