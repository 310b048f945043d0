//! What stands between the clients and the copies: the drill's own balancer or another's.

use std::net::{Ipv4Addr, SocketAddr};
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

/// How often another's balancer is asked for its opinion.
const ASK: Duration = Duration::from_millis(50);

/// The balancer, and what runs for it in the background.
pub(super) struct Front {
    balancer: Either,
    address: SocketAddr,
    _background: JoinSet<()>,
}

enum Either {
    Own(Arc<Balancer>),
    External(Box<External>, Opinion),
}

impl Front {
    /// Where clients connect to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
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
        let backends: Vec<_> = copies.iter().map(|copy| (copy.address, copy.check)).collect();
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
        Ok(Front { balancer: Either::Own(balancer), address, _background: background })
    }

    async fn external(&mut self, copies: &[Running], rule: CheckRule) -> Result<Front, Trouble> {
        let cannot = |sentence: String| Trouble::new(Outcome::CannotStart, sentence);
        let mut background = JoinSet::new();
        let there: Vec<_> = copies.iter().map(|copy| copy.address).collect();
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
        let external =
            External::start(kind, &seen, copies[0].check, &rule).await.map_err(cannot)?;
        let (address, opinion) = (external.front, external.opinion());
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
        Ok(Front { balancer, address, _background: background })
    }
}
