//! `watchkeeper.v1.Policies`

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    convert,
    filter::{self, Wanted},
    sources::Sources,
};
use crate::{
    detect::rehearsal::{Rehearsal, Tally},
    event::Event,
    policy::{
        file::PolicyFile,
        rule::{ActiveRule, Exception, Logic, names},
        set::RuleSet,
        source::{Lists, Source},
    },
    problem::Problem,
    proto::v1,
    store::past::{Kept as _, Past},
};

/// Most files of a request, and most bytes of one.
const MAX_FILES: usize = 256;
const MAX_FILE: usize = 1 << 20;
/// Events that are read at a time.
const STEP: usize = 512;
/// How often a dry run tells how far it has come.
const PROGRESS: Duration = Duration::from_millis(500);

type DryRunSender = mpsc::Sender<Result<v1::PoliciesDryRunResponse, Status>>;

#[tonic::async_trait]
impl v1::policies_server::Policies for Sources {
    type DryRunStream = ReceiverStream<Result<v1::PoliciesDryRunResponse, Status>>;

    async fn list(
        &self,
        _: Request<v1::PoliciesListRequest>,
    ) -> Result<Response<v1::PoliciesListResponse>, Status> {
        let set = self.policies.set();
        Ok(Response::new(v1::PoliciesListResponse {
            rules: set.rules().iter().map(|active| rule(active)).collect(),
            exceptions: set
                .exceptions()
                .iter()
                .map(|found| exception(found))
                .collect(),
            digest: set.digest().to_string(),
            since: Some(convert::timestamp(self.policies.since())),
            files: set.files().to_vec(),
            problems: self.policies.problems().iter().map(problem).collect(),
        }))
    }

    async fn check(
        &self,
        request: Request<v1::PoliciesCheckRequest>,
    ) -> Result<Response<v1::PoliciesCheckResponse>, Status> {
        let sources = sources(request.into_inner().files)?;
        let checked = tokio::task::spawn_blocking(move || RuleSet::of(&sources))
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        let problems = match checked {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(problem).collect(),
        };
        Ok(Response::new(v1::PoliciesCheckResponse { problems }))
    }

    async fn dry_run(
        &self,
        request: Request<v1::PoliciesDryRunRequest>,
    ) -> Result<Response<Self::DryRunStream>, Status> {
        let request = request.into_inner();
        let refused = Status::invalid_argument;
        let since = filter::time("since", request.since).map_err(refused)?;
        let until = filter::time("until", request.until).map_err(refused)?;
        let wanted = self.wanted(request.filter, since, until)?;
        let sources = sources(request.files)?;
        let (store, lacks) = self.up_to_now().await?;
        let place = self.place_for_a_question().await?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || {
            let result = Run::new(&sources, request.all_rules).map(|mut run| {
                let mut past = Past::new(Arc::clone(&store), wanted.narrow(&[]));
                let settled = Event::settled(&store.settled().borrow());
                let after = match since {
                    Some(since) => past.before(since),
                    None => past.beginning::<Event>(),
                };
                let end = match until {
                    Some(until) => past.up_to(until).unwrap_or(0),
                    None => settled,
                };
                run.over(
                    &mut past,
                    after.unwrap_or(settled),
                    end.min(settled),
                    &wanted,
                    &sender,
                );
                run.result(lacks)
            });
            // The client may be gone.
            let _ = sender.blocking_send(result.map(|result| v1::PoliciesDryRunResponse {
                item: Some(v1::policies_dry_run_response::Item::Result(result)),
            }));
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// A dry run under way.
struct Run {
    rehearsal: Rehearsal,
    /// Rules that are told of; all when `None`.
    about: Option<HashSet<String>>,
    gaps: Vec<String>,
}

impl Run {
    fn new(sources: &[Source], all_rules: bool) -> Result<Self, Status> {
        let loaded = RuleSet::of(sources).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Status::invalid_argument(lines.join("\n"))
        })?;
        let about = (!all_rules).then(|| touched(sources, &loaded.set));
        Ok(Self {
            rehearsal: Rehearsal::new(Arc::new(loaded.set)),
            about,
            gaps: Vec::new(),
        })
    }

    fn over(
        &mut self,
        past: &mut Past,
        mut after: u64,
        end: u64,
        wanted: &Wanted,
        sender: &DryRunSender,
    ) {
        let mut told = Instant::now();
        while after < end && !sender.is_closed() {
            let slice = past.read::<Event>(after, end, STEP);
            after = slice.scanned;
            for (number, event) in &slice.items {
                let is_wanted = wanted.is_at(event.time)
                    && wanted.place(event.container().map(|container| &**container));
                if is_wanted {
                    self.rehearsal.observe(event, *number);
                }
            }
            self.gaps
                .extend(slice.gaps.into_iter().map(|gap| gap.to_string()));
            self.gaps.dedup();
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let progress = v1::DryRunProgress {
                    events: self.rehearsal.events,
                    time: self.rehearsal.span.map(|span| convert::timestamp(span.1)),
                };
                // A client that does not read hears of the next.
                let _ = sender.try_send(Ok(v1::PoliciesDryRunResponse {
                    item: Some(v1::policies_dry_run_response::Item::Progress(progress)),
                }));
            }
        }
    }

    fn result(&self, lacks: Option<String>) -> v1::DryRunResult {
        let span = self.rehearsal.span;
        v1::DryRunResult {
            events: self.rehearsal.events,
            first: span.map(|span| convert::timestamp(span.0)),
            last: span.map(|span| convert::timestamp(span.1)),
            rules: self
                .rehearsal
                .tallies()
                .into_iter()
                .filter(|tally| {
                    let id = &tally.rule.rule.id;
                    self.about.as_ref().is_none_or(|about| about.contains(id))
                })
                .map(tally)
                .collect(),
            gaps: self.gaps.iter().cloned().chain(lacks).collect(),
        }
    }
}

/// The rules that files define, change, or except from.
fn touched(sources: &[Source], set: &RuleSet) -> HashSet<String> {
    let files: Vec<PolicyFile> = sources
        .iter()
        .filter_map(|source| source.parse().ok())
        .collect();
    let wanted: Vec<&str> = files
        .iter()
        .flat_map(|file| {
            let own = file.rules.iter().map(|rule| rule.id.value.as_str());
            let excepted = file
                .exceptions
                .iter()
                .flat_map(|exception| exception.rules.iter().map(|rule| rule.value.as_str()));
            let changed = file
                .overrides
                .iter()
                .filter_map(|change| change.rule.as_ref())
                .map(|rule| rule.value.as_str());
            own.chain(excepted).chain(changed)
        })
        .collect();
    set.rules()
        .iter()
        .map(|rule| &rule.rule.id)
        .filter(|id| wanted.iter().any(|wanted| names(wanted, id)))
        .cloned()
        .collect()
}

fn tally(tally: &Tally) -> v1::DryRunRule {
    let rule = &tally.rule.rule;
    v1::DryRunRule {
        rule_id: rule.id.clone(),
        title: rule.title.clone(),
        severity: convert::severity(tally.severity).into(),
        alerts: tally.alerts,
        findings: tally.findings,
        excepted: tally.excepted,
        first: tally.span.map(|span| convert::timestamp(span.0)),
        last: tally.span.map(|span| convert::timestamp(span.1)),
        places: tally
            .places()
            .into_iter()
            .map(|(place, findings)| v1::DryRunPlace {
                place: place.to_owned(),
                findings,
            })
            .collect(),
        messages: tally.messages.clone(),
        silent: tally.rule.silent,
    }
}

/// Policies of a request.
fn sources(files: Vec<v1::PolicyFile>) -> Result<Vec<Source>, Status> {
    let too_large = files.len() > MAX_FILES
        || files.iter().any(|file| {
            file.text.len() > MAX_FILE || file.lists.values().any(|list| list.len() > MAX_FILE)
        });
    if too_large {
        return Err(Status::invalid_argument(format!(
            "at most {MAX_FILES} files of {MAX_FILE} bytes are taken"
        )));
    }
    Ok(files
        .into_iter()
        .map(|file| Source {
            name: file.name,
            text: file.text,
            lists: Lists::Given(file.lists.into_iter().collect::<BTreeMap<_, _>>()),
        })
        .collect())
}

fn problem(problem: &Problem) -> v1::Problem {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    v1::Problem {
        file: problem.file.clone(),
        line: number(problem.line),
        column: number(problem.column),
        message: problem.message.clone(),
    }
}

/// A rule.
#[must_use]
pub fn rule(active: &ActiveRule) -> v1::Rule {
    let rule = &active.rule;
    v1::Rule {
        id: rule.id.clone(),
        title: rule.title.clone(),
        severity: convert::severity(rule.severity).into(),
        events: active.events.clone(),
        condition: active.condition.clone(),
        detector: match &active.logic {
            Logic::Detector(name) => name.clone(),
            Logic::Condition(..) | Logic::Score(_) => String::new(),
        },
        score: match &active.logic {
            Logic::Score(score) => Some(v1::Score {
                at_least: score.at_least,
                within_seconds: score.within.as_secs(),
                of: score.of.iter().cloned().collect(),
            }),
            Logic::Condition(..) | Logic::Detector(_) => None,
        },
        attack: rule.attack.iter().map(convert::attack).collect(),
        description: rule.description.clone(),
        triage: rule.triage.clone(),
        benign: rule.benign.clone(),
        policy: rule.policy.clone(),
        silent: active.silent,
    }
}

/// An exception.
#[must_use]
pub fn exception(exception: &Exception) -> v1::Exception {
    let (hits, last): (u64, Option<SystemTime>) = exception.hits();
    v1::Exception {
        rules: exception.rules.clone(),
        condition: exception.text.clone(),
        reason: exception.reason.clone(),
        until: exception.until.map(convert::timestamp),
        policy: exception.policy.clone(),
        hits,
        last_hit: last.map(convert::timestamp),
    }
}
