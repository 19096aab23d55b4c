//! What became of the messages of each client and topic.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::outbox::{Lateness, Outbox, Tally};
use crate::foxglove::Subprotocol;
use crate::recording::ChannelId;

/// What became of the messages that were meant for clients.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Of each channel that somebody was subscribed to, for all clients together.
    pub topics: BTreeMap<ChannelId, Tally>,
    /// How late messages were written to any client.
    pub lateness: Lateness,
    /// The clients, in the order in which they left, and then those that are still there.
    pub clients: Vec<ClientRecord>,
    /// How many clients are not among them, since there were too many.
    pub beyond: u64,
}

/// What became of the messages that were meant for a client.
#[derive(Clone, Debug)]
pub struct ClientRecord {
    /// Where it came from.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Subprotocol,
    /// For how long it was connected.
    pub connected: Duration,
    /// Why it left, if it did.
    pub left: Option<String>,
    /// Of each channel that it was subscribed to.
    pub topics: BTreeMap<ChannelId, Tally>,
    /// How late messages were written to it.
    pub lateness: Lateness,
}

impl ClientRecord {
    /// All its topics together.
    pub fn total(&self) -> Tally {
        self.topics.values().fold(Tally::default(), |mut sum, tally| {
            sum += *tally;
            sum
        })
    }
}

/// What became of the messages of all clients together.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub topics: BTreeMap<ChannelId, Tally>,
    pub lateness: Lateness,
}

impl Sums {
    /// Counts those of a client.
    pub fn add(&mut self, topics: &BTreeMap<ChannelId, Tally>, lateness: &Lateness) {
        for (channel, tally) in topics {
            *self.topics.entry(*channel).or_default() += *tally;
        }
        self.lateness.add(lateness);
    }
}

/// Remembers clients that have left.
#[derive(Debug, Default)]
pub(super) struct Archives {
    sums: Sums,
    /// The last clients that left.
    clients: VecDeque<ClientRecord>,
    /// How many clients may be remembered one by one.
    limit: usize,
    beyond: u64,
}

impl Archives {
    /// Remembers at most so many clients one by one, and of all others what they got together.
    pub fn new(limit: usize) -> Self {
        Archives { limit, ..Archives::default() }
    }

    pub fn remember(&mut self, client: ClientRecord) {
        self.sums.add(&client.topics, &client.lateness);
        self.clients.push_back(client);
        if self.clients.len() > self.limit {
            self.clients.pop_front();
            self.beyond += 1;
        }
    }

    /// What all those got together that have left.
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    /// What is remembered, and what became of the messages of those who are still there.
    pub fn records(&self, present: impl IntoIterator<Item = ClientRecord>) -> Records {
        let mut clients: Vec<ClientRecord> = self.clients.iter().cloned().collect();
        let mut sums = self.sums.clone();
        for client in present {
            sums.add(&client.topics, &client.lateness);
            clients.push(client);
        }
        let Sums { topics, lateness } = sums;
        Records { topics, lateness, clients, beyond: self.beyond }
    }
}

/// A client, with what its outbox knows.
pub(super) fn record(
    address: SocketAddr,
    protocol: Subprotocol,
    connected: Duration,
    left: Option<String>,
    outbox: &Outbox,
) -> ClientRecord {
    ClientRecord { address, protocol, connected, left, topics: outbox.tallies(), lateness: outbox.lateness() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16, sent: u64) -> ClientRecord {
        let tally = Tally { sent, dropped: 1, ..Tally::default() };
        ClientRecord {
            address: ([127, 0, 0, 1], port).into(),
            protocol: Subprotocol::SdkV1,
            connected: Duration::ZERO,
            left: None,
            topics: BTreeMap::from([(ChannelId(3), tally)]),
            lateness: Lateness::default(),
        }
    }

    #[test]
    fn of_too_many_clients_the_sums_are_kept() {
        let mut archives = Archives::new(2);
        (1..=5).for_each(|port| archives.remember(client(port, u64::from(port))));
        let records = archives.records([client(6, 6)]);
        assert_eq!(records.beyond, 3);
        assert_eq!(records.clients.iter().map(|client| client.address.port()).collect::<Vec<_>>(), [4, 5, 6]);
        let all = records.topics[&ChannelId(3)];
        assert_eq!((all.sent, all.dropped), (21, 6));
        assert_eq!(records.clients[2].total().sent, 6);
        assert_eq!(archives.sums().topics[&ChannelId(3)].sent, 15);
    }
}
