//! The detection thread: takes events from a bounded queue, asks the rules, publishes alerts.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use lru::LruCache;

use super::{
    alert::Alert,
    executable::{Candidate, Inspector},
    listening,
    shell::{self, Service},
};
use crate::{
    event::{Detail, Event},
    policy::catalogue::Catalogue,
    process::execution::{Process, ProcessKey},
    store::recent::Recent,
};

/// Events that may wait for detection.
const QUEUE: usize = 16_384;
/// Shells that are remembered, so that what they start is not another finding.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(8_192).expect("not zero");

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
    overloaded: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

impl Detector {
    /// Starts the thread. It ends when the detector is dropped, after what is in the queue.
    ///
    /// # Errors
    /// When the thread can't be created.
    pub fn start(catalogue: Catalogue, alerts: Arc<Recent<Alert>>) -> std::io::Result<Self> {
        let (queue, observations) = sync_channel(QUEUE);
        let inspector = Arc::new(Inspector::default());
        let mut rules = Rules {
            catalogue,
            alerts,
            inspector: Arc::clone(&inspector),
            shells: LruCache::new(REMEMBERED),
        };
        let thread = std::thread::Builder::new()
            .name("detect".to_owned())
            .spawn(move || rules.run(&observations))?;
        Ok(Self {
            queue: Some(queue),
            inspector,
            overloaded: AtomicU64::new(0),
            thread: Some(thread),
        })
    }

    /// Passes an event on; `init` is the first process of its container. Never waits: when the queue is full the
    /// event is counted and left out.
    pub fn observe(&self, event: &Arc<Event>, number: u64, init: Option<ProcessKey>) {
        let (Detail::Exec, Some(process), Some(_), Some(queue)) = (
            &event.detail,
            &event.process,
            event.container(),
            &self.queue,
        ) else {
            return;
        };
        let candidate = self.inspector.candidate(process, init);
        if let Candidate::Known(content) = &candidate
            && shell::recognise(&process.program, content).is_none()
        {
            return;
        }
        // Processes end quickly: what only procfs tells of them is asked for here, and only for what is a shell or
        // has not been seen before.
        let service = shell::service(event, |found| listening::port(found.key));
        let observation = Observation {
            event: Arc::clone(event),
            number,
            process: Arc::clone(process),
            candidate,
            service,
        };
        if queue.try_send(observation).is_err() {
            self.overloaded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events were left out since the last call.
    pub fn take_overloaded(&self) -> u64 {
        self.overloaded.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
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
    fn run(&mut self, observations: &Receiver<Observation>) {
        while let Ok(observation) = observations.recv() {
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
