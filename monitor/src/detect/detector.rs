//! The detection thread: takes events from a bounded queue, asks the rules, publishes alerts.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    alert::Alert,
    evaluator::{Evaluator, Undecided, Verdict},
    executable::{Candidate, Content, Inspector},
    figures::Figures,
    fold::Folds,
    listeners::Listeners,
    shell,
};
use crate::{
    event::{Detail, Event},
    heartbeat::{self, Heartbeats},
    policy::set::RuleSet,
    process::execution::{Process, ProcessKey, Recognised},
    proto::v1::EventKind,
    store::recent::Recent,
};

/// Events that may wait for detection.
pub(super) const QUEUE: usize = 4_096;
/// Events that are passed on at a time, at most: in a flood the thread is not to wait for the end of it.
const AT_A_TIME: usize = 256;
/// Cgroups whose left out events are counted apart.
const MAX_COUNTED: usize = 1_024;
/// How long a finding waits for what the runtime knows of a new container: as long as a container counts as new.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often those that wait are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Findings that may wait.
pub(super) const MAX_WAITING: usize = 4_096;

/// An event on its way to the rules.
struct Observation {
    event: Arc<Event>,
    number: u64,
    /// Of an exec: the executable.
    candidate: Option<Candidate>,
}

/// What the detection thread is sent.
enum Message {
    /// Events.
    Events(Vec<Observation>),
    /// Rules that replace the ones before.
    Rules(Arc<RuleSet>),
    /// There will be no more; whoever may change the rules still could.
    End,
}

/// The entrance of the detection stage.
pub struct Detector {
    queue: Option<Sender<Message>>,
    /// Events that are collected, to be sent at once.
    collected: Vec<Observation>,
    figures: Arc<Figures>,
    inspector: Arc<Inspector>,
    /// Events that found no room in the queue, by cgroup.
    overloaded: HashMap<u64, u64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Changes the rules of a detector that runs.
#[derive(Clone)]
pub struct RulesChanger(Sender<Message>);

impl RulesChanger {
    /// Replaces the rules, from the next event on.
    pub fn replace(&self, set: Arc<RuleSet>) {
        // The thread is gone when the agent stops anyway.
        let _ = self.0.send(Message::Rules(set));
    }
}

impl Detector {
    /// Starts the thread. It ends when the detector is dropped. `earlier` are alerts of an earlier run that may come
    /// again. What a workload does on the network within `learning` is usual. Heartbeats that come by are noted.
    ///
    /// # Errors
    /// When the thread can't be created.
    pub fn start(
        set: Arc<RuleSet>,
        alerts: Arc<Recent<Alert>>,
        earlier: &[Arc<Alert>],
        learning: Duration,
        heartbeats: Arc<Heartbeats>,
        figures: Arc<Figures>,
    ) -> std::io::Result<Self> {
        let (queue, messages) = channel();
        let inspector = Arc::new(Inspector::default());
        let stop = Arc::new(AtomicBool::new(false));
        let listeners = Listeners::live();
        let mut folds = Folds::default();
        for alert in earlier {
            folds.restore(alert, &set, &listeners);
        }
        let mut stage = Stage {
            evaluator: Evaluator::new(set, listeners).with_learning(learning),
            folds,
            alerts,
            heartbeats,
            inspector: Arc::clone(&inspector),
            undecided: VecDeque::new(),
            verdicts: Vec::new(),
            figures: Arc::clone(&figures),
            inspecting: Duration::ZERO,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("detect".to_owned())
            .spawn(move || stage.run(&messages, &stopped))?;
        Ok(Self {
            queue: Some(queue),
            collected: Vec::new(),
            figures,
            inspector,
            overloaded: HashMap::new(),
            stop,
            thread: Some(thread),
        })
    }

    /// Who may change the rules; `None` when it has ended.
    #[must_use]
    pub fn rules_changer(&self) -> Option<RulesChanger> {
        self.queue.clone().map(RulesChanger)
    }

    /// Takes an event; `init` is the first process of its container. Never waits: when the queue is full the
    /// event is counted for its cgroup and left out.
    pub fn observe(
        &mut self,
        event: &Arc<Event>,
        cgroup_id: u64,
        number: u64,
        init: Option<ProcessKey>,
    ) {
        if event.detail.kind() == EventKind::Fork {
            return;
        }
        let waiting = self.figures.waiting.load(Ordering::Relaxed);
        if waiting + self.collected.len() >= QUEUE {
            let counted =
                self.overloaded.len() < MAX_COUNTED || self.overloaded.contains_key(&cgroup_id);
            let cgroup_id = if counted { cgroup_id } else { 0 };
            *self.overloaded.entry(cgroup_id).or_default() += 1;
            return;
        }
        // Processes end quickly: their executables are taken hold of here.
        let candidate = match (&event.detail, &event.process, event.container()) {
            (Detail::Exec, Some(process), Some(container)) => {
                Some(self.inspector.candidate(process, container.slot, init))
            }
            _ => None,
        };
        self.collected.push(Observation {
            event: Arc::clone(event),
            number,
            candidate,
        });
        if self.collected.len() == AT_A_TIME {
            self.pass_on();
        }
    }

    /// Passes on what was taken.
    pub fn pass_on(&mut self) {
        if self.collected.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.collected);
        let count = events.len();
        let waiting = &self.figures.waiting;
        waiting.fetch_add(count, Ordering::Relaxed);
        let sent = match &self.queue {
            Some(queue) => queue.send(Message::Events(events)),
            None => return,
        };
        if let Err(refused) = sent {
            waiting.fetch_sub(count, Ordering::Relaxed);
            if let Message::Events(events) = refused.0 {
                for candidate in events.into_iter().filter_map(|event| event.candidate) {
                    self.inspector.discard(candidate);
                }
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

impl Drop for Detector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(queue) = self.queue.take() {
            // It may have ended by itself.
            let _ = queue.send(Message::End);
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the detection thread panicked");
        }
    }
}

/// The state of the detection thread.
struct Stage {
    evaluator: Evaluator,
    folds: Folds,
    alerts: Arc<Recent<Alert>>,
    heartbeats: Arc<Heartbeats>,
    inspector: Arc<Inspector>,
    /// Findings that wait until more is known of their container.
    undecided: VecDeque<Waiting>,
    verdicts: Vec<Verdict>,
    figures: Arc<Figures>,
    /// How long executables of this batch were looked into.
    inspecting: Duration,
}

/// A finding that waits.
struct Waiting {
    since: Instant,
    finding: Undecided,
    event: Arc<Event>,
    number: u64,
}

impl Stage {
    fn run(&mut self, messages: &Receiver<Message>, stop: &AtomicBool) {
        loop {
            let message = if self.undecided.is_empty() {
                messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                messages.recv_timeout(LOOK)
            };
            if stop.load(Ordering::Relaxed) {
                return;
            }
            match message {
                Ok(Message::Events(events)) => self.observe_all(events),
                Ok(Message::Rules(set)) => self.evaluator.replace(set),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.decide();
            self.figures.undecided.set(self.undecided.len());
        }
    }

    /// Observes a batch, and sums up what that took.
    fn observe_all(&mut self, events: Vec<Observation>) {
        let began = Instant::now();
        for observation in events {
            self.figures.waiting.fetch_sub(1, Ordering::Relaxed);
            self.observe(observation);
        }
        let inspection = std::mem::take(&mut self.inspecting);
        let evaluation = began.elapsed().saturating_sub(inspection);
        let figures = &self.figures;
        figures.add(self.evaluator.take_asked(), evaluation, inspection);
        figures.alerts.set(self.folds.len());
        figures.executables.set(self.inspector.len());
        self.evaluator.report(figures);
    }

    fn observe(&mut self, observation: Observation) {
        let Observation {
            event,
            number,
            candidate,
        } = observation;
        if let (Some(candidate), Some(process)) = (candidate, &event.process) {
            self.recognise(candidate, process);
        }
        let mut verdicts = std::mem::take(&mut self.verdicts);
        self.evaluator.evaluate(&event, number, &mut verdicts);
        for verdict in verdicts.drain(..) {
            self.take(verdict, &event, number, None);
        }
        self.verdicts = verdicts;
        if let Some(number) = event.detail.heartbeat() {
            self.heartbeats.reached(heartbeat::Stage::Rules, number);
        }
    }

    /// Finds out what kind of program a process runs.
    fn recognise(&mut self, candidate: Candidate, process: &Process) {
        let began = Instant::now();
        let content = self.inspector.content(candidate);
        self.inspecting += began.elapsed();
        // The same program was recognised before where its process was forked.
        let _ = process.program.recognised.set(match &content {
            Content::Miner(name) => Recognised::Miner((*name).to_owned()),
            other => shell::recognise(&process.program, other)
                .map_or(Recognised::Other, Recognised::Shell),
        });
    }

    fn take(&mut self, verdict: Verdict, event: &Arc<Event>, number: u64, since: Option<Instant>) {
        match verdict {
            Verdict::Found {
                rule,
                finding,
                fold,
            } => {
                rule.found.count_finding();
                if let Some(alert) = self.folds.take(&rule, finding, fold, event, number) {
                    rule.found.count_alert(alert.severity);
                    self.alerts.push(Arc::clone(&alert), alert.size());
                }
            }
            Verdict::Excepted(rule, exception) => {
                exception.hit(event.time);
                tracing::debug!("{}: excepted: {}", rule.rule.id, exception.reason);
            }
            Verdict::NotYet(finding) => {
                if self.undecided.len() == MAX_WAITING {
                    // The earliest has to do without.
                    self.decide_first();
                }
                self.undecided.push_back(Waiting {
                    since: since.unwrap_or_else(Instant::now),
                    finding,
                    event: Arc::clone(event),
                    number,
                });
            }
        }
    }

    /// Decides on what has waited, as far as it can be decided.
    fn decide(&mut self) {
        for _ in 0..self.undecided.len() {
            let Some(first) = self.undecided.front() else {
                return;
            };
            let is_over = first.since.elapsed() >= PATIENCE;
            let is_known = first
                .event
                .container()
                .is_none_or(|container| !container.is_unsettled());
            if is_over || is_known {
                self.decide_first();
            } else {
                self.undecided.rotate_left(1);
            }
        }
    }

    fn decide_first(&mut self) {
        let Some(first) = self.undecided.pop_front() else {
            return;
        };
        let mut verdicts = Vec::new();
        self.evaluator
            .decide(first.finding, &first.event, first.number, &mut verdicts);
        for verdict in verdicts {
            self.take(verdict, &first.event, first.number, Some(first.since));
        }
    }
}
