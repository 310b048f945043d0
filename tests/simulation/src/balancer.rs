//! The balancer: which server a new connection goes to.

use crate::agenda::Happening;
use crate::network::Way;
use crate::scenario::Balancing;
use crate::world::World;

/// What the balancer thinks of each slot.
pub(crate) struct Balancer {
    ready: Vec<bool>,
    /// Answers in a row that contradict that.
    contrary: Vec<u32>,
    turn: usize,
}

impl Balancer {
    pub(crate) fn new(slots: usize) -> Self {
        Self { ready: vec![true; slots], contrary: vec![0; slots], turn: 0 }
    }

    /// A slot for a new connection: in turn, among those it takes for ready if it can, and
    /// not the one that just refused if there is another.
    pub(crate) fn choose(&mut self, refused_by: Option<u32>) -> u32 {
        let slots = self.ready.len();
        let candidates = (1..=slots).map(|step| (self.turn + step) % slots);
        let worth = |slot: &usize| (Some(*slot as u32) != refused_by, self.ready[*slot]);
        // The last of equal candidates is the maximum; the next in turn must win.
        let chosen = candidates.rev().max_by_key(worth).expect("there is a server");
        self.turn = chosen;
        chosen as u32
    }
}

impl World<'_> {
    /// Whether an open connection to this slot still carries new requests.
    pub(crate) fn carries_more(&self, slot: u32) -> bool {
        match self.scenario.balancing {
            Balancing::Probes { pooled: true, .. } => self.balancer.ready[slot as usize],
            Balancing::Passive | Balancing::Probes { .. } => true,
        }
    }

    pub(crate) fn takes_for_ready(&self, slot: u32) -> bool {
        self.balancer.ready[slot as usize]
    }

    pub(crate) fn begin_probes(&mut self) {
        if let Balancing::Probes { period, .. } = self.scenario.balancing {
            for slot in 0..self.slots.len() as u32 {
                let first = self.random.below(period);
                self.plan(first, Happening::Probe { slot });
            }
        }
    }

    pub(crate) fn probe(&mut self, slot: u32) {
        let Balancing::Probes { period, .. } = self.scenario.balancing else {
            return;
        };
        if self.over {
            return;
        }
        let arrives = self.now + self.scenario.path.delay(Way::Up, &mut self.random);
        self.plan(arrives, Happening::ProbeArrives { slot });
        self.plan(self.now + period, Happening::Probe { slot });
    }

    pub(crate) fn probe_arrives(&mut self, slot: u32) {
        let ready = self.servers[self.slots[slot as usize] as usize].answers_ready();
        let arrives = self.now + self.scenario.path.delay(Way::Down, &mut self.random);
        self.plan(arrives, Happening::ProbeAnswered { slot, ready });
    }

    pub(crate) fn probe_answered(&mut self, slot: u32, ready: bool) {
        let Balancing::Probes { threshold, .. } = self.scenario.balancing else {
            return;
        };
        let Balancer { ready: known, contrary, .. } = &mut self.balancer;
        let slot = slot as usize;
        contrary[slot] = if ready == known[slot] { 0 } else { contrary[slot] + 1 };
        if contrary[slot] >= threshold {
            known[slot] = ready;
            contrary[slot] = 0;
        }
    }
}
