//! What is sent to peers.

use super::Member;
use crate::assign::GatewayId;
use crate::event::Stage;
use crate::message::{Message, Report};

impl Member {
    /// The next message to a peer whose session can take one; none while there is nothing to say.
    ///
    /// What a peer has not taken is not kept: what is sent in the end says what is then. Of the groups one message is under
    /// way at a time, so that many moves in a row are few messages.
    pub fn poll_message(&mut self, id: GatewayId) -> Option<Message> {
        let out = &mut self.peers.get_mut(&id).filter(|peer| peer.connected)?.out;
        if let Some(number) = out.applied.take() {
            return Some(Message::Applied { number });
        }
        if let Some(incarnation) = out.duplicate.take() {
            return Some(Message::Duplicate { incarnation });
        }
        // First all groups, then the report: with it the receiver knows all.
        if out.report && out.told_all {
            out.report = false;
            return Some(Message::Report(self.report()));
        }
        if out.in_flight {
            return None;
        }
        let Some(range) = out.serves.take() else {
            out.told_all = true;
            return if out.report { self.poll_message(id) } else { None };
        };
        let (serves, rest) = self.groups.tell(id, out.number, range);
        out.serves = rest;
        out.in_flight = true;
        Some(Message::Serves(serves))
    }

    fn report(&self) -> Report {
        let mut health = self.health.clone();
        health.healthy &= self.unfit.is_none();
        Report {
            joined: self.stage == Stage::Serving,
            leaving: matches!(self.stage, Stage::Leaving | Stage::Left),
            weight: self.settings.weight.0,
            health,
        }
    }

    /// Our report is another.
    pub(super) fn report_to_all(&mut self) {
        self.peers.values_mut().for_each(|peer| peer.out.report = true);
    }

    /// What has changed of our groups is to be told.
    pub(super) fn spread(&mut self) {
        let Some((first, last)) = self.groups.take_changed() else { return };
        for peer in self.peers.values_mut().filter(|peer| peer.connected) {
            let (from, to) = peer.out.serves.unwrap_or((first, last));
            peer.out.serves = Some((from.min(first), to.max(last)));
        }
    }
}
