//! What stands between the clients and the copies: the drill's own balancer or another's.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::drill::args::BalancerKind;
use crate::drill::balancer::{Balancer, CheckRule};
use crate::drill::course::{Conductor, Running, Trouble};
use crate::drill::delay::DelayLine;
use crate::drill::distance;
use crate::drill::external::{External, Opinion};
use crate::drill::ports;
use crate::drill::record::{Event, Outcome};
use crate::drill::wire::Target;

/// How often another's balancer is asked for its opinion.
const ASK: Duration = Duration::from_millis(50);

/// The balancer, and what runs for it in the background.
pub(super) struct Front {
    balancer: Either,
    target: Target,
    _background: JoinSet<()>,
}

enum Either {
    Own(Arc<Balancer>),
    External(Box<External>, Opinion),
}

impl Front {
    /// Where clients connect to.
    pub(super) fn target(&self) -> Target {
        self.target
    }

    /// Waits until a copy gets connections again.
    pub(super) async fn trusts(&self, copy: usize) {
        match &self.balancer {
            Either::Own(balancer) => {
                while !balancer.is_in(copy) {
                    sleep(Duration::from_millis(10)).await;
                }
            }
            Either::External(_, opinion) => opinion.trusts(copy).await,
        }
    }

    /// An error if it has ended meanwhile.
    pub(super) async fn still_there(&mut self) -> Result<(), Trouble> {
        if let Either::External(external, _) = &mut self.balancer
            && let Ok(sentence) = timeout(Duration::ZERO, external.ended()).await
        {
            return Err(Trouble::new(Outcome::Died, sentence));
        }
        Ok(())
    }
}

impl Conductor<'_> {
    /// Puts the balancer in front of the copies.
    pub(super) async fn start_front(&mut self, copies: &[Running]) -> Result<Front, Trouble> {
        let rule = CheckRule {
            path: self.options.ready_path.clone(),
            interval: self.options.probe_interval,
            threshold: self.options.probe_threshold,
        };
        if self.options.balancer == BalancerKind::Builtin {
            self.own(copies, rule).await
        } else {
            self.external(copies, rule).await
        }
    }

    async fn own(&mut self, copies: &[Running], rule: CheckRule) -> Result<Front, Trouble> {
        let bound = async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let front = listener.local_addr()?;
            std::io::Result::Ok((listener, front))
        };
        let (listener, address) = bound.await.map_err(|error| {
            Trouble::new(Outcome::CannotStart, format!("the balancer needs a port: {error}"))
        })?;
        let backends: Vec<_> = copies.iter().map(|copy| (copy.target, copy.check)).collect();
        let balancer = Balancer::new(&backends);
        self.balancer = Some(Arc::clone(&balancer));
        let mut background = JoinSet::new();
        background.spawn(Arc::clone(&balancer).serve(listener, self.options.delay));
        for copy in copies {
            let (index, journal) = (copy.index, Arc::clone(&self.journal));
            background.spawn(Arc::clone(&balancer).watch(index, rule.clone(), move |is_in| {
                journal.event(index, if is_in { Event::In } else { Event::Out });
            }));
        }
        let target = Target { address, ..copies[0].target };
        Ok(Front { balancer: Either::Own(balancer), target, _background: background })
    }

    async fn external(&mut self, copies: &[Running], rule: CheckRule) -> Result<Front, Trouble> {
        let cannot = |sentence: String| Trouble::new(Outcome::CannotStart, sentence);
        if self.options.http2 && self.options.balancer != BalancerKind::HaproxyTcp {
            return Err(cannot(
                "--http2 needs a balancer of layer 4: --balancer builtin or haproxy-tcp".into(),
            ));
        }
        let mut background = JoinSet::new();
        let there: Vec<_> = copies.iter().map(|copy| copy.target.address).collect();
        let mut seen = there.clone();
        if !self.options.delay.is_zero() {
            if !distance::is_possible() {
                return Err(cannot(
                    "--delay with a balancer that is not built in needs Linux's /proc; use --delay \
                     0ms"
                        .into(),
                ));
            }
            let ports = ports::free(copies.len())
                .map_err(|error| cannot(format!("the delay needs free ports: {error}")))?;
            seen = ports.into_iter().map(distance::address).collect();
            let line = DelayLine::new(self.options.delay);
            for (&here, &copy) in seen.iter().zip(&there) {
                let others = there.iter().filter(|&&other| other != copy).copied().collect();
                background.spawn(distance::stand_in(here, copy, others, line.clone()));
            }
            for &address in &seen {
                while tokio::net::TcpStream::connect(address).await.is_err() {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
        let kind = self.options.balancer;
        let external = External::start(kind, &seen, copies[0].target, copies[0].check, &rule)
            .await
            .map_err(cannot)?;
        let opinion = external.opinion();
        // On layer 7 the balancer ends TLS towards the copies, and clients come without.
        let tls = copies[0].target.tls && kind == BalancerKind::HaproxyTcp;
        let target = Target { address: external.front, tls, ..copies[0].target };
        let (asked, journal) = (opinion.clone(), Arc::clone(&self.journal));
        let count = copies.len();
        background.spawn(async move {
            let mut known = vec![true; count];
            while let Some(now) = asked.ask().await {
                for (index, (was, is)) in known.iter_mut().zip(now).enumerate() {
                    if *was != is {
                        journal.event(index, if is { Event::In } else { Event::Out });
                        *was = is;
                    }
                }
                sleep(ASK).await;
            }
        });
        let balancer = Either::External(Box::new(external), opinion);
        Ok(Front { balancer, target, _background: background })
    }
}
