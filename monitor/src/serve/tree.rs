//! The tree of processes, put together from events: as it was, whatever has ended since.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use super::convert::{self, Context};
use crate::{
    container::{membership::Origin, model::Container, registry::Place},
    detect::alert::Alert,
    event::{Detail, Event},
    interpret::exit::exit,
    process::{
        execution::{Process, ProcessKey},
        procfs,
    },
    proto::v1,
    store::detail,
};

/// Most processes that are kept while events are read.
const MAX_PROCESSES: usize = 50_000;
/// Most programs of a process.
const MAX_EXECUTIONS: usize = 64;
/// Most activities of a process.
const MAX_ACTIVITIES: usize = 64;
/// About the most bytes of all processes and activities.
const MAX_BYTES: usize = 128 << 20;

/// A process of some boot of the node.
pub type Key = (Arc<str>, ProcessKey);

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A process, with what descends from it.
    Process(Key),
    /// All processes of containers, by the runtime's ids.
    Containers(HashSet<String>),
}

/// See the module.
#[derive(Debug)]
pub struct Builder {
    subject: Subject,
    nodes: HashMap<Key, Node>,
    refused: u32,
    bytes: usize,
}

#[derive(Debug)]
struct Node {
    started: SystemTime,
    parent: Option<ProcessKey>,
    executions: Vec<Ran>,
    ended: Option<(SystemTime, u32)>,
    container: Option<Arc<Container>>,
    /// It was seen in a cgroup that is known.
    on_host: bool,
    activities: Vec<Activity>,
    /// Where each is, by kind and content.
    known: HashMap<(i32, Vec<u8>), usize>,
    left_out: u32,
    alerts: Vec<v1::TreeAlert>,
}

/// A program that a process ran.
#[derive(Debug)]
struct Ran {
    process: Arc<Process>,
    origin: Option<Origin>,
    parent: Option<Arc<Process>>,
}

#[derive(Debug)]
struct Activity {
    event: v1::Event,
    count: u32,
    last: SystemTime,
}

impl Builder {
    /// A tree of what is asked for.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        Self {
            subject,
            nodes: HashMap::new(),
            refused: 0,
            bytes: 0,
        }
    }

    /// Whether an event is one of the process that is asked for, or of one that descends from it.
    fn concerns(&self, context: &Context, event: &Event) -> bool {
        let Subject::Process((boot, key)) = &self.subject else {
            return true;
        };
        let process = event.process.iter();
        let ancestors = event.ancestors.iter().map(|ancestor| &ancestor.process);
        **boot == *context.boot_id && process.chain(ancestors).any(|found| found.key == *key)
    }

    /// Takes an event in.
    pub fn add(&mut self, context: &Context, number: u64, event: &Event) {
        if !self.concerns(context, event) {
            return;
        }
        let boot: Arc<str> = context.boot_id.as_str().into();
        let ancestors = &event.ancestors;
        for (index, ancestor) in ancestors.iter().enumerate() {
            let parent = ancestors.get(index + 1).map(|above| &above.process);
            let membership = ancestor.membership.as_ref();
            let Some(node) = self.node(&boot, &ancestor.process) else {
                continue;
            };
            node.parent = node.parent.or(parent.map(|parent| parent.key));
            node.runs(
                &ancestor.process,
                membership.map(|membership| membership.origin),
                parent,
            );
            if let Some(membership) = membership {
                node.container
                    .get_or_insert_with(|| Arc::clone(&membership.container));
            }
        }
        let Some(process) = &event.process else {
            return;
        };
        let parent = ancestors.first().map(|ancestor| &ancestor.process);
        let Some(node) = self.node(&boot, process) else {
            return;
        };
        node.parent = node.parent.or(parent.map(|parent| parent.key));
        node.runs(process, event.origin, parent);
        match &event.place {
            Place::Container(container, _) => node.container = Some(Arc::clone(container)),
            Place::Host(_) => node.on_host = true,
            Place::Unknown => {}
        }
        match &event.detail {
            Detail::Exec => {}
            Detail::Exit { status } => node.ended = Some((event.time, *status)),
            Detail::Fork { child, started } => {
                let parent = process.key;
                let place = (node.container.clone(), node.on_host);
                if let Some(child) = self.insert(&boot, *child, *started) {
                    child.parent = child.parent.or(Some(parent));
                    child.container = child.container.take().or(place.0);
                    child.on_host |= place.1;
                }
            }
            _ => {
                let bytes = self.bytes;
                let node = self.nodes.get_mut(&(boot, process.key));
                self.bytes += node.map_or(0, |node| node.does(context, number, event, bytes));
            }
        }
    }

    /// Takes an alert in.
    pub fn alert(&mut self, context: &Context, alert: &Alert) {
        let boot: Arc<str> = context.boot_id.as_str().into();
        if let Some(node) = self.nodes.get_mut(&(boot, alert.process.key)) {
            let rule = &alert.rule;
            node.alerts.push(v1::TreeAlert {
                id: alert.id.clone(),
                rule_id: rule.id.clone(),
                severity: convert::severity(alert.severity).into(),
                title: rule.title.clone(),
            });
        }
    }

    /// Fills in ends that the events did not tell: an ancestor's may be elsewhere.
    pub fn end(&mut self, end_of: &mut dyn FnMut(&Key) -> Option<(SystemTime, u32)>) {
        for (key, node) in &mut self.nodes {
            if node.ended.is_none() && !node.executions.is_empty() {
                node.ended = end_of(key);
            }
        }
    }

    fn node(&mut self, boot: &Arc<str>, process: &Process) -> Option<&mut Node> {
        self.insert(boot, process.key, process.started)
    }

    fn insert(
        &mut self,
        boot: &Arc<str>,
        key: ProcessKey,
        started: SystemTime,
    ) -> Option<&mut Node> {
        let key = (Arc::clone(boot), key);
        let full = self.nodes.len() >= MAX_PROCESSES || self.bytes >= MAX_BYTES;
        if full && !self.nodes.contains_key(&key) {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        let bytes = &mut self.bytes;
        Some(self.nodes.entry(key).or_insert_with(|| {
            *bytes += size_of::<Node>() + size_of::<Key>();
            Node {
                started,
                parent: None,
                executions: Vec::new(),
                ended: None,
                container: None,
                on_host: false,
                activities: Vec::new(),
                known: HashMap::new(),
                left_out: 0,
                alerts: Vec::new(),
            }
        }))
    }

    /// The tree of what is asked for, of at most `most` processes.
    #[must_use]
    pub fn finish(self, context: &Context, most: usize) -> v1::ProcessesTreeResponse {
        let mut children: HashMap<Key, BTreeSet<(SystemTime, ProcessKey)>> = HashMap::new();
        for ((boot, key), node) in &self.nodes {
            if let Some(parent) = node.parent {
                children
                    .entry((Arc::clone(boot), parent))
                    .or_default()
                    .insert((node.started, *key));
            }
        }
        let asked = self.asked(&children);
        // With their ancestors, as far as they are known.
        let mut shown: HashSet<Key> = HashSet::new();
        for key in &asked {
            let mut next = Some(key.clone());
            while let Some(key) = next
                && self.nodes.contains_key(&key)
                && shown.insert(key.clone())
            {
                next = self.nodes[&key]
                    .parent
                    .map(|parent| (Arc::clone(&key.0), parent));
            }
        }
        let mut roots: Vec<&Key> = shown
            .iter()
            .filter(|key| {
                let parent = self.nodes[*key].parent;
                parent.is_none_or(|parent| !shown.contains(&(Arc::clone(&key.0), parent)))
            })
            .collect();
        roots.sort_by_key(|key| (self.nodes[*key].started, key.1));
        let mut processes = Vec::new();
        let mut left_out = self.refused;
        // Depth first; the last of the list is next.
        let mut next: Vec<(Key, u32)> = roots
            .into_iter()
            .rev()
            .map(|key| (key.clone(), 0))
            .collect();
        // Only a damaged record makes a circle.
        let mut seen = HashSet::new();
        while let Some((key, parent)) = next.pop() {
            if !seen.insert(key.clone()) {
                continue;
            }
            if processes.len() >= most {
                left_out = left_out.saturating_add(1);
                continue;
            }
            let node = &self.nodes[&key];
            processes.push(node.message(context, &key, parent, asked.contains(&key)));
            let place = u32::try_from(processes.len()).unwrap_or(u32::MAX);
            for (_, child) in children.get(&key).into_iter().flatten().rev() {
                let child = (Arc::clone(&key.0), *child);
                if shown.contains(&child) {
                    next.push((child, place));
                }
            }
        }
        v1::ProcessesTreeResponse {
            processes,
            left_out,
            gaps: Vec::new(),
        }
    }

    fn asked(&self, children: &HashMap<Key, BTreeSet<(SystemTime, ProcessKey)>>) -> HashSet<Key> {
        match &self.subject {
            Subject::Containers(ids) => self
                .nodes
                .iter()
                .filter(|(_, node)| {
                    let container = node.container.as_ref();
                    container.is_some_and(|container| ids.contains(&container.id))
                })
                .map(|(key, _)| key.clone())
                .collect(),
            Subject::Process(key) => {
                let mut asked = HashSet::new();
                let mut next = vec![key.clone()];
                while let Some(key) = next.pop() {
                    let below = children.get(&key).into_iter().flatten();
                    let below: Vec<Key> = below
                        .map(|(_, child)| (Arc::clone(&key.0), *child))
                        .collect();
                    if self.nodes.contains_key(&key) && asked.insert(key) {
                        next.extend(below);
                    }
                }
                asked
            }
        }
    }
}

/// Whether a process runs now.
fn runs(context: &Context, (boot, key): &Key) -> bool {
    **boot == *context.boot_id && procfs::start_ticks(key.pid) == Some(key.start_ticks)
}

impl Node {
    /// Notes the program that the process runs.
    fn runs(
        &mut self,
        process: &Arc<Process>,
        origin: Option<Origin>,
        parent: Option<&Arc<Process>>,
    ) {
        let exec_ns = process.program.exec_ns;
        let known = self
            .executions
            .iter()
            .any(|ran| ran.process.program.exec_ns == exec_ns);
        if !known && self.executions.len() < MAX_EXECUTIONS {
            self.executions.push(Ran {
                process: Arc::clone(process),
                origin,
                parent: parent.cloned(),
            });
            self.executions
                .sort_by_key(|ran| ran.process.program.exec_ns);
        }
    }

    /// Notes what the process did; returns how many bytes that took. `bytes` are taken by now.
    fn does(&mut self, context: &Context, number: u64, event: &Event, bytes: usize) -> usize {
        let fixed = detail::parts(event).fixed;
        let mut content = Vec::new();
        if let Some(fixed) = &fixed {
            fixed.encode(&mut content);
        }
        let size = 2 * content.len() + size_of::<Activity>();
        let key = (i32::from(event.detail.kind()), content);
        if let Some(activity) = self
            .known
            .get(&key)
            .and_then(|index| self.activities.get_mut(*index))
        {
            activity.count = activity.count.saturating_add(1);
            activity.last = activity.last.max(event.time);
            return 0;
        }
        if self.activities.len() >= MAX_ACTIVITIES || bytes >= MAX_BYTES {
            self.left_out = self.left_out.saturating_add(1);
            return 0;
        }
        self.known.insert(key, self.activities.len());
        let whole = context.event(number, event);
        self.activities.push(Activity {
            event: v1::Event {
                process: None,
                ancestors: Vec::new(),
                container: None,
                ..whole
            },
            count: 1,
            last: event.time,
        });
        size
    }

    fn message(
        &self,
        context: &Context,
        key: &Key,
        parent: u32,
        asked_for: bool,
    ) -> v1::TreeProcess {
        let end_unseen = self.ended.is_none() && !runs(context, key);
        let context = context.of_boot(Some(&key.0));
        let container = self.container.as_deref();
        v1::TreeProcess {
            parent,
            pid: key.1.pid,
            start_time: Some(convert::timestamp(self.started)),
            end_time: self.ended.map(|(time, _)| convert::timestamp(time)),
            exit: self.ended.map(|(_, status)| exit(status)),
            asked_for,
            executions: self
                .executions
                .iter()
                .map(|ran| context.process(&ran.process, ran.origin, ran.parent.as_deref()))
                .collect(),
            location: match (container, self.on_host) {
                (Some(_), _) => v1::Location::Container,
                (None, true) => v1::Location::Host,
                (None, false) => v1::Location::Unknown,
            }
            .into(),
            container: container.map(convert::container),
            activities: self
                .activities
                .iter()
                .map(|activity| v1::Activity {
                    event: Some(activity.event.clone()),
                    count: activity.count,
                    last: Some(convert::timestamp(activity.last)),
                })
                .collect(),
            activities_left_out: self.left_out,
            end_unseen,
            alerts: self.alerts.clone(),
        }
    }
}
