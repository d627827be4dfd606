//! `watchkeeper.v1.Alerts`

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    convert::{self, Context},
    filter::WantedAlerts,
    sources::Sources,
    watch::{self, Messages, Range, Told},
};
use crate::{
    detect::alert::Alert,
    proto::v1::{self, alerts_watch_response::Item},
    store::past::Narrow,
};

struct AlertMessages {
    wanted: WantedAlerts,
    context: Context,
}

impl Messages for AlertMessages {
    type Value = Alert;
    type Message = v1::AlertsWatchResponse;
    const CURSOR: char = convert::ALERT_CURSOR;

    fn is_undecided(&self, alert: &Alert) -> bool {
        alert
            .event
            .container()
            .is_some_and(|container| container.is_unnamed())
    }

    fn wants(&self, _: u64, alert: &Alert) -> bool {
        self.wanted.matches(alert)
    }

    fn is_past_end(&self, alert: &Alert) -> bool {
        self.wanted.wanted.is_past_end(alert.event.time)
    }

    fn narrow(&self) -> Narrow {
        self.wanted.wanted.narrow(&[])
    }

    fn message(&self, told: Told<'_, Alert>) -> Self::Message {
        v1::AlertsWatchResponse {
            item: Some(match told {
                Told::Value(number, alert, boot) => {
                    Item::Alert(self.context.of_boot(boot).alert(number, alert))
                }
                Told::Lost(lost) => Item::Lost(lost),
                Told::Amended(container) => Item::Amended(convert::amended(container)),
                Told::Heartbeat(heartbeat) => Item::Heartbeat(heartbeat),
            }),
        }
    }
}

#[tonic::async_trait]
impl v1::alerts_server::Alerts for Sources {
    type WatchStream = ReceiverStream<Result<v1::AlertsWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::AlertsWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let refused = Status::invalid_argument;
        let range = Range::new(
            request.cursor,
            (request.since, request.until),
            (request.limit, request.first),
            request.follow,
        )
        .map_err(refused)?;
        let messages = AlertMessages {
            wanted: WantedAlerts {
                wanted: self.wanted(request.filter, range.since, range.until)?,
                rules: request.rules,
                min_severity: request.min_severity,
            },
            context: self.context.clone(),
        };
        Ok(Response::new(watch::stream(
            self.alerts.clone(),
            &self.context,
            range,
            messages,
        )))
    }
}
