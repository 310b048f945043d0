//! A small reference model, written from the contract and not from the machine: what is
//! known of each thing, the deadlines as sums, the verdicts as counts. It foresees every
//! refusal and every phase, and checks that each effect was due.

use std::collections::{BTreeMap, BTreeSet};

use lameduck::{
    Cause, ConnectionId, Effect, Event, Grace, HookId, JobId, JobOutcome, JobSource, ListenerId,
    Machine, NewRequests, OnDrain, Outcome, Phase, Policy, Protocol, Readiness, Refused, RequestId,
    RequestKind, Stage,
};

use super::known::{Connection, Counts, Hook, HookState, Job, Request};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// What the contract says of one shutdown so far.
pub struct Model {
    policy: Policy,
    grace: Option<u64>,
    pub clock: u64,
    /// A deadline found late does not come before it.
    last_event: u64,
    phase: Phase,
    t0: u64,
    severity: u8,
    fatal: bool,
    /// The end of the window that nobody has changed.
    window_end: u64,
    emptying: bool,
    insisted_drain: Option<u64>,
    insisted_close: Option<u64>,
    insisted_flush: Option<u64>,
    /// When a connection or a request came last.
    last_arrival: u64,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Open listeners, and when each was fenced.
    listeners: BTreeMap<ListenerId, Option<u64>>,
    jobs: BTreeMap<JobId, Job>,
    hooks: BTreeMap<HookId, Hook>,
    counts: Counts,
    forced_at: Option<u64>,
    lost: bool,
    unready: usize,
    exit: Option<u8>,
    ran: BTreeSet<HookId>,
}

fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).expect("short")
}

impl Model {
    pub fn new(policy: &Policy) -> Self {
        let grace = match policy.grace.value {
            Grace::Limited(span) => Some(nanos(span)),
            Grace::Unlimited => None,
        };
        Self {
            policy: policy.clone(),
            grace,
            clock: 0,
            last_event: 0,
            phase: Phase::Serving,
            t0: 0,
            severity: 0,
            fatal: false,
            window_end: 0,
            emptying: false,
            insisted_drain: None,
            insisted_close: None,
            insisted_flush: None,
            last_arrival: 0,
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            jobs: BTreeMap::new(),
            hooks: BTreeMap::new(),
            counts: Counts::default(),
            forced_at: None,
            lost: false,
            unready: 0,
            exit: None,
            ran: BTreeSet::new(),
        }
    }

    // The timeline, as sums.

    /// T, less `span`, but not before the request to stop.
    fn before_t(&self, span: u64) -> Option<u64> {
        let budget = self.grace?.saturating_sub(nanos(self.policy.margin.value));
        Some((self.t0 + budget).saturating_sub(span).max(self.t0))
    }

    fn reserve(&self) -> u64 {
        nanos(self.policy.reserve.value)
    }

    fn t1(&self) -> u64 {
        if self.emptying {
            return self.window_end;
        }
        self.t2().map_or(self.window_end, |t2| t2.min(self.window_end))
    }

    fn t2(&self) -> Option<u64> {
        self.before_t(self.reserve()).into_iter().chain(self.insisted_drain).min()
    }

    fn close_end(&self) -> Option<u64> {
        let kept = (self.reserve() / 4).min(SECOND);
        self.before_t(kept).into_iter().chain(self.insisted_close).min()
    }

    fn flush_end(&self) -> Option<u64> {
        let kept = (self.reserve() / 8).min(100 * MS);
        self.before_t(kept).into_iter().chain(self.insisted_flush).min()
    }

    fn passed(&self, at: Option<u64>) -> bool {
        at.is_some_and(|at| at <= self.clock)
    }

    // Events

    /// Takes the event as the machine should, or says why not.
    pub fn event(&mut self, event: &Event, now: u64) -> Result<(), Refused> {
        let before = self.clock;
        self.clock = self.clock.max(now);
        let taken = self.legal(event).and_then(|()| self.apply(event));
        match taken {
            Ok(()) => self.last_event = self.clock,
            Err(_) => self.clock = before,
        }
        taken
    }

    /// The phases in words: nothing of requests while Serving, nothing new in Closing,
    /// nothing at all when Done.
    fn legal(&self, event: &Event) -> Result<(), Refused> {
        let shutdown_only = !matches!(
            event,
            Event::HookRegistered { .. }
                | Event::JobFinished { .. }
                | Event::JobStarted { .. }
                | Event::ListenerClosed { .. }
                | Event::ListenerFailed { .. }
                | Event::ListenerOpened { .. }
                | Event::Shutdown { .. }
        );
        let news = matches!(
            event,
            Event::ConnectionAdopted { .. }
                | Event::ConnectionBusy { .. }
                | Event::ConnectionDescribed { .. }
                | Event::ConnectionOpened { .. }
                | Event::ConnectionUpgraded { .. }
                | Event::HookRegistered { .. }
                | Event::JobStarted { .. }
                | Event::ListenerOpened { .. }
                | Event::RequestDescribed { .. }
                | Event::RequestStarted { .. }
        );
        match self.phase {
            Phase::Serving if shutdown_only => Err(Refused::Serving),
            Phase::Draining => match event {
                Event::ListenerOpened { .. }
                | Event::HookRegistered { stage: Stage::Drain, .. }
                | Event::JobStarted { source: JobSource::Background, .. } => Err(Refused::Draining),
                _ => Ok(()),
            },
            Phase::Closing if news => Err(Refused::Closing),
            Phase::Done => Err(Refused::Done),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, event: &Event) -> Result<(), Refused> {
        let now = self.clock;
        match event {
            Event::ConnectionAdopted { connection, protocol, in_flight, announced } => {
                if *in_flight > 65_535 {
                    return Err(Refused::TooMany);
                }
                let requests = (0..*in_flight).map(|id| (RequestId(id), Request::default()));
                let requests = requests.collect();
                self.insert(*connection, *protocol, requests, *announced, self.t0)?;
                self.counts.adopted += u64::from(*in_flight);
            }
            Event::ConnectionBusy { connection } => {
                let connection = self.standing(*connection)?;
                if !connection.idle() {
                    return Err(Refused::NotIdle);
                }
                if connection.allowed {
                    return Err(Refused::AllowanceSpent);
                }
                (connection.allowed, connection.closing) = (true, None);
            }
            Event::ConnectionClosed { connection } => self.gone(*connection)?,
            Event::ConnectionDescribed { connection, .. } => {
                self.connections.get(connection).ok_or(Refused::UnknownConnection)?;
            }
            Event::ConnectionOpened { connection, protocol } => {
                self.insert(*connection, *protocol, BTreeMap::new(), false, now)?;
                self.last_arrival = now;
            }
            Event::ConnectionUpgraded { connection, protocol } => {
                let connection = self.standing(*connection)?;
                connection.protocol = *protocol;
                (connection.told, connection.refusing) = (None, false);
                connection.announced = false;
                connection.quiet_since = now;
            }
            Event::DeadlineChanged { grace } => {
                self.grace = Some(nanos(*grace));
                // The window never grows again.
                self.window_end = self.t1();
            }
            Event::Escalate => self.escalate(),
            Event::HookFinished { hook, error } => {
                let hook = self.hooks.get_mut(hook).ok_or(Refused::UnknownHook)?;
                let HookState::Running(_) = hook.state else {
                    return Err(Refused::NotRunning);
                };
                hook.state = HookState::Ended;
                self.lost |= error.is_some();
            }
            Event::HookRegistered { hook, stage, order, timeout, .. } => {
                if self.hooks.contains_key(hook) {
                    return Err(Refused::AlreadyKnown);
                }
                let (timeout, state) = (timeout.map(nanos), HookState::Waiting);
                self.hooks.insert(*hook, Hook { stage: *stage, order: *order, timeout, state });
            }
            Event::JobFinished { job, outcome } => {
                let ended = self.jobs.remove(job).ok_or(Refused::UnknownJob)?;
                let aborted = *outcome == JobOutcome::Aborted && !ended.yields;
                self.lost |= aborted && self.phase != Phase::Serving;
            }
            Event::JobStarted { job, on_drain, .. } => {
                if self.jobs.contains_key(job) {
                    return Err(Refused::AlreadyKnown);
                }
                let yields = *on_drain == OnDrain::Cancel;
                self.jobs.insert(*job, Job { yields, cancelled: false });
            }
            Event::ListenerClosed { listener } | Event::ListenerFailed { listener, .. } => {
                self.listeners.remove(listener).ok_or(Refused::UnknownListener)?;
            }
            Event::ListenerOpened { listener } => {
                if self.listeners.contains_key(listener) {
                    return Err(Refused::AlreadyKnown);
                }
                self.listeners.insert(*listener, None);
            }
            Event::RequestDescribed { connection, request, kind, .. } => {
                self.request(*connection, *request)?.kind = Some(*kind);
            }
            Event::RequestFinished { connection, request, outcome, flushed } => {
                let known = self.request(*connection, *request)?;
                match known.finished {
                    None => {}
                    Some(Outcome::ClientGone) => return Err(Refused::NotInFlight),
                    // Whoever goes while its answer is on the way is gone.
                    Some(_) if *outcome == Outcome::ClientGone => {}
                    Some(_) => return Err(Refused::NotInFlight),
                }
                known.finished = Some(*outcome);
                if *flushed {
                    self.flush(*connection, *request)?;
                }
            }
            Event::RequestFlushed { connection, request } => self.flush(*connection, *request)?,
            Event::RequestHeadersSent { connection, request, announced } => {
                let known = self.request(*connection, *request)?;
                if known.headers {
                    return Err(Refused::HeadersAlreadySent);
                }
                known.headers = true;
                let connection = self.standing(*connection)?;
                connection.announced |= *announced && connection.protocol == Protocol::Http1;
                connection.quiet_since = now;
            }
            Event::RequestStarted { connection, request, kind } => {
                let known = self.standing(*connection)?;
                if known.requests.contains_key(request) {
                    return Err(Refused::AlreadyKnown);
                }
                self.last_arrival = now;
                let connection = self.standing(*connection)?;
                if connection.announced || connection.closing.is_some() {
                    self.counts.not_processed += 1;
                    return Ok(());
                }
                let known = Request { kind: Some(*kind), ..Request::default() };
                connection.requests.insert(*request, known);
                connection.quiet_since = now;
                connection.allowed = false;
                self.counts.admitted += 1;
            }
            Event::Shutdown { cause, .. } => self.stop(*cause),
        }
        Ok(())
    }

    fn insert(
        &mut self,
        id: ConnectionId,
        protocol: Protocol,
        requests: BTreeMap<RequestId, Request>,
        announced: bool,
        quiet_since: u64,
    ) -> Result<(), Refused> {
        if self.connections.contains_key(&id) {
            return Err(Refused::AlreadyKnown);
        }
        let connection = Connection {
            protocol,
            requests,
            announced: announced && protocol != Protocol::Http2,
            told: (announced && protocol == Protocol::Http2).then_some(self.t0),
            refusing: false,
            closing: None,
            cut: false,
            allowed: false,
            quiet_since,
        };
        self.connections.insert(id, connection);
        Ok(())
    }

    /// A connection that was not cut.
    fn standing(&mut self, id: ConnectionId) -> Result<&mut Connection, Refused> {
        let connection = self.connections.get_mut(&id).ok_or(Refused::UnknownConnection)?;
        if connection.cut { Err(Refused::Forced) } else { Ok(connection) }
    }

    fn request(&mut self, id: ConnectionId, request: RequestId) -> Result<&mut Request, Refused> {
        self.standing(id)?.requests.get_mut(&request).ok_or(Refused::UnknownRequest)
    }

    fn flush(&mut self, id: ConnectionId, request: RequestId) -> Result<(), Refused> {
        let now = self.clock;
        let known = self.request(id, request)?;
        let outcome = known.finished.ok_or(Refused::NotInFlight)?;
        let end_sent = known.end_sent;
        let connection = self.standing(id)?;
        connection.requests.remove(&request);
        connection.quiet_since = now;
        *match outcome {
            Outcome::Refused => &mut self.counts.refused,
            Outcome::Ended => &mut self.counts.ended,
            Outcome::Completed | Outcome::ClientGone if end_sent => &mut self.counts.ended,
            Outcome::Completed => &mut self.counts.completed,
            Outcome::ClientGone => &mut self.counts.client_gone,
        } += 1;
        Ok(())
    }

    fn gone(&mut self, id: ConnectionId) -> Result<(), Refused> {
        let connection = self.connections.remove(&id).ok_or(Refused::UnknownConnection)?;
        let ended = connection.closing.is_some() && connection.long_lived();
        for request in connection.requests.values() {
            if ended || request.end_sent {
                self.counts.ended += 1;
            } else {
                self.counts.client_gone += 1;
            }
        }
        Ok(())
    }

    fn stop(&mut self, cause: Cause) {
        let severity = match cause {
            Cause::UncaughtException | Cause::UnhandledRejection => 2,
            Cause::Interrupt => 1,
            _ => 0,
        };
        self.fatal |= severity == 2;
        if self.phase == Phase::Serving {
            self.t0 = self.clock;
            self.last_arrival = self.clock;
            let window = nanos(self.policy.window.value);
            self.window_end = if severity > 0 { self.clock } else { self.clock + window };
        } else if severity > self.severity && !self.emptying && self.phase == Phase::Draining {
            self.window_end = self.window_end.min(self.clock);
        }
        self.severity = self.severity.max(severity);
    }

    fn escalate(&mut self) {
        let draining = self.phase == Phase::Draining;
        if draining && !self.emptying && self.t1() > self.clock {
            self.window_end = self.clock;
        } else if draining && !self.passed(self.t2()) {
            self.insisted_drain = Some(self.clock);
        } else {
            self.insisted_drain.get_or_insert(self.clock);
            let began =
                |hook: &Hook| hook.stage == Stage::Flush && hook.state != HookState::Waiting;
            if self.passed(self.close_end()) || self.hooks.values().any(began) {
                self.insisted_flush.get_or_insert(self.clock);
            }
            self.insisted_close.get_or_insert(self.clock);
        }
    }

    // Effects

    /// The clock of a tick, before its effects.
    pub fn tick(&mut self, now: u64) {
        self.clock = self.clock.max(now);
        let idle = self.policy.window_idle.map(|span| self.last_arrival + nanos(span));
        let end = idle.into_iter().chain([self.t1()]).min().expect("t1 at least");
        if self.phase == Phase::Draining && !self.emptying && end <= self.clock {
            self.window_end = end.max(self.last_event);
            self.emptying = true;
        }
    }

    /// Checks that the effect is due, and does it.
    pub fn effect(&mut self, effect: Effect) {
        assert_eq!(self.exit, None, "{effect:?} after Exit");
        let clock = self.clock;
        match effect {
            Effect::AbandonHook { hook } => self.abandon(hook),
            Effect::AbortRequests => {
                self.assert_abort_time();
            }
            Effect::AnnounceClose { connection } => {
                let known = self.open(connection);
                assert!(!known.announced && !known.long_lived(), "nothing to tell");
                assert_eq!(known.told.replace(clock), None, "told twice");
            }
            Effect::CancelJob { job } => {
                let job = self.jobs.get_mut(&job).expect("a running job");
                assert!(!std::mem::replace(&mut job.cancelled, true), "cancelled twice");
                if !job.yields {
                    self.assert_abort_time();
                }
            }
            Effect::CloseIdle { connection, look } => self.close_idle(connection, look),
            Effect::CloseListener { listener } => {
                let fenced = self.listeners[&listener].expect("fenced before");
                let settled = fenced + nanos(self.policy.settle.value) <= clock;
                assert!(settled || self.passed(self.t2()), "closed before it settled");
            }
            Effect::CloseLongLived { connection, request } => {
                let half = self.t0 + (self.t1() - self.t0) / 2;
                assert!(half <= clock, "ended in the first half of the window");
                let late = self.abort_at().map(|at| at.saturating_sub(SECOND));
                let late = self.passed(late) || self.policy.interactive;
                let known = self.open(connection);
                match request {
                    None => {
                        assert!(known.long_lived());
                        let websocket = known.protocol == Protocol::Websocket;
                        assert!(websocket || late, "ended long before the abort signals");
                        known.closing = Some(clock + 2 * SECOND);
                    }
                    Some(id) => {
                        let stream = known.requests.get_mut(&id).expect("in flight");
                        assert_eq!(stream.kind, Some(RequestKind::Stream));
                        assert!(!std::mem::replace(&mut stream.end_sent, true), "ended twice");
                    }
                }
            }
            Effect::Exit { code } => {
                assert_eq!(self.phase, Phase::Done);
                self.exit = Some(code);
            }
            Effect::FenceListener { listener } => {
                assert!(self.emptying, "fenced in the window");
                let fenced = self.listeners.get_mut(&listener).expect("open");
                assert_eq!(fenced.replace(clock), None, "fenced twice");
            }
            Effect::ForceConnection { connection, unanswered } => {
                self.cut(connection, unanswered);
            }
            Effect::NotifyLongLived { connection, request } => {
                let known = self.open(connection);
                match request {
                    None => assert!(known.long_lived()),
                    Some(id) => {
                        let request = known.requests.get_mut(&id).expect("in flight");
                        match request.kind {
                            // Whoever was told needs not be told again as something else.
                            Some(RequestKind::Stream) => request.notified = true,
                            Some(RequestKind::LongPoll) => {
                                assert!(!std::mem::replace(&mut request.notified, true), "twice");
                            }
                            kind => panic!("{kind:?} was notified"),
                        }
                    }
                }
            }
            Effect::PhaseChanged { phase } => self.enter(phase),
            Effect::RefuseRequest { connection, request } => {
                assert_eq!(self.policy.new_requests.value, NewRequests::Refuse);
                assert!(self.open(connection).requests.contains_key(&request));
            }
            Effect::RefuseStreams { connection } => {
                let quiet = nanos(self.policy.quiet.value);
                let known = self.open(connection);
                assert_eq!(known.protocol, Protocol::Http2);
                assert!(known.told.expect("told first") + quiet <= clock, "refused too early");
                assert!(!std::mem::replace(&mut known.refusing, true), "refused twice");
                known.announced = true;
            }
            Effect::RunHook { hook } => self.run(hook),
            Effect::SetReadiness { ready } => {
                assert!(!ready && self.unready == 0);
                assert!(self.emptying || self.policy.readiness.value == Readiness::Fail);
                self.unready += 1;
            }
        }
    }

    fn open(&mut self, id: ConnectionId) -> &mut Connection {
        let known = self.connections.get_mut(&id).expect("an effect for a dead handle");
        assert!(!known.cut, "an effect for a connection that was cut");
        known
    }

    fn abort_at(&self) -> Option<u64> {
        let lead = nanos(self.policy.abort_lead.value);
        self.t2().map(|t2| t2.saturating_sub(lead).max(self.t0))
    }

    fn assert_abort_time(&self) {
        assert!(self.passed(self.abort_at()), "aborted before its lead");
    }

    fn close_idle(&mut self, id: ConnectionId, look: bool) {
        let (clock, emptying) = (self.clock, self.emptying);
        let quiet = nanos(self.policy.quiet.value);
        let deadline = self.passed(self.t2());
        let known = self.open(id);
        assert!(known.requests.is_empty(), "closed as idle with a request in flight");
        assert_eq!(known.closing, None, "closed twice");
        let quiet = emptying && clock >= known.quiet_since + quiet;
        let silent = known.protocol != Protocol::Http2 && (known.allowed || quiet);
        let due = known.announced || silent;
        assert!((due && known.idle()) || (deadline && !look), "closed before its quiet period");
        let spent = known.allowed || known.refusing;
        assert!(if look { !spent } else { spent || deadline }, "looked at the wrong time");
        known.closing = Some(clock + SECOND);
        if deadline && !look {
            // It may be the drain deadline or its own time; either way nothing is lost.
            known.cut = !due || !known.idle();
            self.forced_at = Some(clock);
        }
    }

    fn cut(&mut self, id: ConnectionId, unanswered: u32) {
        let (clock, deadline) = (self.clock, self.passed(self.t2()));
        let known = self.open(id);
        let patience = known.closing.is_some_and(|until| until <= clock);
        assert!(deadline || patience, "cut before its time");
        let ended = known.closing.is_some() && known.long_lived();
        let open = |request: &&Request| !request.headers && request.finished.is_none();
        let expected =
            if known.long_lived() { 0 } else { known.requests.values().filter(open).count() };
        assert_eq!(unanswered as usize, expected);
        known.cut = true;
        let requests = std::mem::take(&mut known.requests);
        self.forced_at = self.forced_at.or(deadline.then_some(clock));
        for request in requests.into_values() {
            if ended || request.end_sent {
                self.counts.ended += 1;
            } else {
                self.counts.forced += 1;
                self.lost = true;
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        assert_eq!(phase as usize, self.phase as usize + 1, "a phase was skipped or went back");
        self.phase = phase;
        if phase == Phase::Closing {
            let drained = self.drained();
            assert!(drained || self.passed(self.t2()), "Closing before it was drained");
            if !drained {
                self.lost |= !self.jobs.is_empty();
                assert!(self.jobs.values().all(|job| job.cancelled));
                self.jobs.clear();
                self.give_up(Stage::Drain);
                for known in self.connections.values_mut() {
                    assert!(known.requests.is_empty(), "a request outlived the drain deadline");
                    known.cut = true;
                }
            }
        }
    }

    fn drained(&self) -> bool {
        self.emptying
            && self.connections.values().all(|known| known.cut)
            && self.listeners.is_empty()
            && self.jobs.is_empty()
            && self.ended(Stage::Drain)
    }

    fn ended(&self, stage: Stage) -> bool {
        self.hooks.values().all(|hook| hook.stage != stage || hook.state == HookState::Ended)
    }

    /// The stage is over: whoever waited does not run.
    fn give_up(&mut self, stage: Stage) {
        for hook in self.hooks.values_mut().filter(|hook| hook.stage == stage) {
            assert!(!matches!(hook.state, HookState::Running(_)), "not abandoned in time");
            if hook.state == HookState::Waiting {
                hook.state = HookState::Ended;
                self.lost = true;
            }
        }
    }

    fn run(&mut self, id: HookId) {
        assert!(self.ran.insert(id), "a hook ran twice");
        if self.hooks[&id].stage == Stage::Flush && self.passed(self.close_end()) {
            self.give_up(Stage::Close);
        }
        let hook = &self.hooks[&id];
        let earlier = |other: &&Hook| {
            other.stage == hook.stage && other.order < hook.order || {
                other.stage == Stage::Close && hook.stage == Stage::Flush
            }
        };
        assert!(self.hooks.values().filter(earlier).all(|other| other.state == HookState::Ended));
        let phase = if hook.stage == Stage::Drain { Phase::Draining } else { Phase::Closing };
        assert_eq!(self.phase, phase, "a hook ran in the wrong phase");
        let clock = self.clock;
        self.hooks.get_mut(&id).expect("known").state = HookState::Running(clock);
    }

    fn abandon(&mut self, id: HookId) {
        let end = match self.hooks[&id].stage {
            Stage::Drain => self.t2(),
            Stage::Close => self.close_end(),
            Stage::Flush => self.flush_end(),
        };
        let over = self.passed(end);
        let clock = self.clock;
        let hook = self.hooks.get_mut(&id).expect("known");
        let HookState::Running(since) = hook.state else {
            panic!("abandoned while {:?}", hook.state);
        };
        let timed_out = hook.timeout.is_some_and(|timeout| since + timeout <= clock);
        assert!(over || timed_out, "abandoned before its time");
        hook.state = HookState::Ended;
        self.lost = true;
    }

    // Comparisons

    /// After every input and its effects.
    pub fn compare(&self, machine: &Machine) {
        assert_eq!(machine.phase(), self.phase);
        let requests = machine.report(lameduck::Time::default()).requests;
        let counts = Counts {
            adopted: requests.adopted,
            admitted: requests.admitted,
            not_processed: requests.not_processed,
            completed: requests.completed,
            client_gone: requests.client_gone,
            refused: requests.refused,
            ended: requests.ended,
            forced: requests.forced,
        };
        assert_eq!(counts, self.counts);
        let in_flight: usize = self.connections.values().map(|known| known.requests.len()).sum();
        assert_eq!(requests.in_flight, in_flight as u64, "the verdicts do not balance");
    }

    /// After a tick and its effects: everything that was due has happened.
    pub fn ticked(&mut self, machine: &Machine) {
        let clock = self.clock;
        if machine.phase() == Phase::Serving || machine.phase() == Phase::Done {
            return;
        }
        let hard = self.before_t(0);
        assert!(!self.passed(hard), "not Done at T");
        if self.phase == Phase::Draining {
            assert!(!self.passed(self.t2()), "still draining after the drain deadline");
            assert!(!self.drained(), "nothing left to wait for");
            self.connections_are_due();
            assert!(!self.emptying || self.listeners.values().all(Option::is_some), "not fenced");
            assert!(!self.emptying || self.unready == 1, "still ready while emptying");
        } else {
            assert!(!self.passed(self.flush_end()), "not Done after the flush stage");
            if self.passed(self.close_end()) {
                self.give_up(Stage::Close);
            }
            let lingers = self.forced_at.is_some_and(|at| clock < at + SECOND)
                && !self.connections.is_empty()
                && !self.passed(self.close_end());
            let ended = self.ended(Stage::Close) && self.ended(Stage::Flush);
            assert!(!ended || lingers, "nothing left to wait for");
        }
        for hook in self.hooks.values() {
            if let (HookState::Running(since), Some(timeout)) = (hook.state, hook.timeout) {
                assert!(since + timeout > clock, "a hook outlived its timeout");
            }
        }
    }

    fn connections_are_due(&self) {
        let clock = self.clock;
        let half = self.t0 + (self.t1() - self.t0) / 2;
        let quiet = nanos(self.policy.quiet.value);
        for known in self.connections.values().filter(|known| !known.cut) {
            let open = known.closing.is_none();
            if open && half <= clock && !known.long_lived() {
                assert!(known.told.is_some() || known.announced, "not told in the second half");
                for request in known.requests.values() {
                    let waits = request.kind == Some(RequestKind::LongPoll) && !request.notified;
                    assert!(!waits || request.finished.is_some(), "a long poll was not told");
                }
            }
            if open && known.protocol == Protocol::Http2 {
                let over = known.told.is_some_and(|told| told + quiet <= clock);
                assert!(known.refusing || !over, "no final GOAWAY");
            }
            if let Some(until) = known.closing {
                assert!(until > clock, "not cut in time");
            } else if known.idle() && known.announced {
                panic!("announced, idle and open");
            } else if known.idle()
                && self.emptying
                && !known.allowed
                && known.protocol != Protocol::Http2
            {
                let first = self.t1().max(self.t0 + quiet);
                let latest = (known.quiet_since + quiet).max(first + SECOND);
                assert!(clock < latest, "quiet and open");
            }
        }
    }

    /// The end: the exit code says whether anything was lost.
    pub fn finished(&self, machine: &Machine) {
        let waited = self.hooks.values().any(|hook| hook.state != HookState::Ended);
        let code = u8::from(self.lost || self.fatal || waited);
        assert_eq!(self.exit, Some(code), "{:?}", machine.report(lameduck::Time::default()).lost);
        assert_eq!(self.unready, 1);
    }
}
