//! What is asked of the dispatcher is answered between two inputs of the engine.

use super::Dispatch;
use super::questions::{LaneView, Question, Standing};
use crate::domain::engine::Input;

impl Dispatch {
    pub(super) fn answer(&mut self, question: Question) {
        let now = self.now();
        // The asker may have gone away.
        match question {
            Question::Lane(no, reply) => {
                let lane = self.engine.lane(no, now);
                let _ = reply.send(lane.map(|lane| LaneView::of(lane, now)));
            }
            Question::InFlight(no, event, reply) => {
                let _ = reply.send(self.engine.is_in_flight(no, event));
            }
            Question::Transport(reply) => {
                let _ = reply.send(self.workers.transport());
            }
            Question::Reconfigure(settings) => {
                let max_in_flight = settings.max_in_flight;
                if let Some(transports) = settings.transports {
                    self.workers.set_transports(transports);
                }
                self.tallies.want(settings.tally);
                self.tell(Input::Limits { max_in_flight });
            }
            Question::OpenBreakers(reply) => {
                let _ = reply.send(self.engine.open_breakers().collect());
            }
            Question::Standings(endpoints, reply) => {
                let standing = |no| Standing::of(self.engine.lane(no, now), self.tallies.of(no));
                let _ = reply.send(endpoints.into_iter().map(standing).collect());
            }
        }
    }
}
