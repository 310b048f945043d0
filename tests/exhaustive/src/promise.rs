//! What is promised in every state, whatever the driver does. One seeded bug each is in `bugs/`.

macro_rules! promises {
    ($($name:ident $text:literal)*) => {
        /// One promise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // each says what it is
        pub enum Promise {
            $($name,)*
        }

        impl Promise {
            /// Every promise.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As a sentence.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

promises! {
    Balance "every request gets one verdict, and the verdicts balance"
    NothingAdmittedLate "nothing is admitted once Closing has begun"
    NeverBack "phases follow each other and never go back"
    HooksOnce "a hook runs at most once"
    HooksInOrder "hooks run in the phase of their stage, stage by stage, lower orders first"
    AbandonedRunning "a hook is abandoned only while it runs"
    NothingAfterDone "nothing happens after Exit, and nobody is woken"
    ExitOnce "Exit comes once, with Done"
    HonestCode "the exit code is 1 exactly when something was lost"
    NoDeadHandle "no effect names what is gone, cut, or was never there"
    ToldOnce "nobody is told the same thing twice"
    IdleIsIdle "a connection is closed as idle only when nothing is in flight on it"
    UnansweredOnly "only requests without a response are answered 503"
    ReadinessFirst "readiness ends once, before any listener is fenced"
    ListenersFirst "every listener was told to close before Closing begins"
    NoneLeft "when Closing begins no connection stands that was not told to go"
    ClosingWhenDue "Closing begins when all is drained, at t2, or when somebody insisted"
    RefusedUnchanged "an illegal event is refused, and a refusal changes nothing"
    IdleTick "a tick with nothing due changes nothing"
    WakesByT "nobody is to be woken later than T"
    DoneByT "a tick leaves nothing due, and at T or later it leaves Done"
    InsistedOut "who insists four times is obeyed at the next tick"
    EventuallyDone "Done comes in the end, also when the driver falls silent and only ticks at each wake"
}

/// The promises that a step broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken(u32);

impl Broken {
    /// Notes it unless it was kept.
    pub(crate) fn unless(&mut self, kept: bool, promise: Promise) {
        self.0 |= u32::from(!kept) << promise as u32;
    }

    /// Whether it was broken.
    pub fn has(self, promise: Promise) -> bool {
        self.0 & 1 << promise as u32 != 0
    }

    /// Whether any was.
    pub fn any(self) -> bool {
        self.0 != 0
    }
}
