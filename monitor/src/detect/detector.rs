//! The detection thread: takes events from a bounded queue, asks the rules, publishes alerts.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use lru::LruCache;

use super::{
    alert::Alert,
    executable::{Candidate, Content, Inspector},
    listening::Listening,
    shell::{self, Service},
};
use crate::{
    event::{Detail, Event},
    policy::catalogue::Catalogue,
    process::execution::{Process, ProcessKey},
    store::recent::Recent,
};

/// Events that may wait for detection.
const QUEUE: usize = 4_096;
/// Cgroups whose left out events are counted apart.
const MAX_COUNTED: usize = 1_024;
/// Shells that are remembered, so that what they start is not another finding.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// An event on its way to the rules.
struct Observation {
    event: Arc<Event>,
    number: u64,
    process: Arc<Process>,
    candidate: Candidate,
    service: Option<Service>,
}

/// The entrance of the detection stage.
pub struct Detector {
    queue: Option<SyncSender<Observation>>,
    inspector: Arc<Inspector>,
    listening: Listening,
    /// Events that found no room in the queue, by cgroup.
    overloaded: HashMap<u64, u64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Detector {
    /// Starts the thread. It ends when the detector is dropped. `earlier` are alerts of an earlier run about processes that
    /// still run.
    ///
    /// # Errors
    /// When the thread can't be created.
    pub fn start(
        catalogue: Catalogue,
        alerts: Arc<Recent<Alert>>,
        earlier: Vec<Arc<Alert>>,
    ) -> std::io::Result<Self> {
        let (queue, observations) = sync_channel(QUEUE);
        let inspector = Arc::new(Inspector::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut rules = Rules {
            catalogue,
            alerts,
            inspector: Arc::clone(&inspector),
            shells: LruCache::new(REMEMBERED),
        };
        for alert in earlier {
            rules.shells.put(alert.process.key, alert);
        }
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("detect".to_owned())
            .spawn(move || rules.run(&observations, &stopped))?;
        Ok(Self {
            queue: Some(queue),
            inspector,
            listening: Listening::default(),
            overloaded: HashMap::new(),
            stop,
            thread: Some(thread),
        })
    }

    /// Passes an event on; `init` is the first process of its container. Never waits: when the queue is full the
    /// event is counted for its cgroup and left out.
    pub fn observe(
        &mut self,
        event: &Arc<Event>,
        cgroup_id: u64,
        number: u64,
        init: Option<ProcessKey>,
    ) {
        let (Detail::Exec, Some(process), Some(container), Some(queue)) = (
            &event.detail,
            &event.process,
            event.container(),
            &self.queue,
        ) else {
            return;
        };
        let candidate = self.inspector.candidate(process, container.slot, init);
        if is_no_shell(process, &candidate) {
            return;
        }
        // Processes end quickly: what only procfs tells of them is asked for here, and only for what is a shell or
        // has not been seen before.
        let listening = &mut self.listening;
        let service = shell::service(event, |found| listening.port(found.key, container.slot));
        let observation = Observation {
            event: Arc::clone(event),
            number,
            process: Arc::clone(process),
            candidate,
            service,
        };
        if let Err(TrySendError::Full(refused) | TrySendError::Disconnected(refused)) =
            queue.try_send(observation)
        {
            self.inspector.discard(refused.candidate);
            if self.overloaded.len() < MAX_COUNTED || self.overloaded.contains_key(&cgroup_id) {
                *self.overloaded.entry(cgroup_id).or_default() += 1;
            } else {
                *self.overloaded.entry(0).or_default() += 1;
            }
        }
    }

    /// How many events were left out since the last call, by cgroup; 0 stands for further ones.
    pub fn take_overloaded(&mut self) -> HashMap<u64, u64> {
        std::mem::take(&mut self.overloaded)
    }

    /// Whether the thread has ended, which it never should.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// Whether it is certain by now that a process runs no shell.
fn is_no_shell(process: &Process, candidate: &Candidate) -> bool {
    match candidate {
        Candidate::Known(content) => shell::recognise(&process.program, content).is_none(),
        Candidate::Lost(reason) => {
            let content = Content::Unreadable(reason.clone());
            shell::recognise(&process.program, &content).is_none()
        }
        Candidate::Held(_) | Candidate::Waiting(_) => false,
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the detection thread panicked");
        }
    }
}

/// The state of the detection thread.
struct Rules {
    catalogue: Catalogue,
    alerts: Arc<Recent<Alert>>,
    inspector: Arc<Inspector>,
    /// Alerts of shells, by the shell's process.
    shells: LruCache<ProcessKey, Arc<Alert>>,
}

impl Rules {
    fn run(&mut self, observations: &Receiver<Observation>, stop: &AtomicBool) {
        while let Ok(observation) = observations.recv() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            self.shell(observation);
        }
    }

    fn shell(&mut self, observation: Observation) {
        let Observation {
            event,
            number,
            process,
            candidate,
            service,
        } = observation;
        let content = self.inspector.content(candidate);
        let Some(shell) = shell::recognise(&process.program, &content) else {
            return;
        };
        let Some(finding) = shell::judge(&event, &process, &shell, service.as_ref()) else {
            return;
        };
        let Some(rule) = self.catalogue.get(finding.rule) else {
            return;
        };
        let rule = Arc::clone(rule);
        if let Some(alert) = self.earlier(&event, &process, finding.rule) {
            alert.repeat(event.time, number);
            self.shells.put(process.key, alert);
            return;
        }
        let key = process.key;
        let alert = Arc::new(Alert::new(finding, rule, event, process, number));
        self.shells.put(key, Arc::clone(&alert));
        self.alerts.push(Arc::clone(&alert), alert.size());
    }

    /// The alert of the same rule about this process or the nearest shell above it: what a shell starts is part of
    /// the same finding.
    fn earlier(&mut self, event: &Event, process: &Process, rule: &str) -> Option<Arc<Alert>> {
        std::iter::once(process.key)
            .chain(event.ancestors.iter().map(|found| found.process.key))
            .find_map(|key| self.shells.get(&key).cloned())
            .filter(|alert| alert.rule.rule.id == rule)
    }
}
