//! What must be seen to happen, so that no promise is kept only because nothing happened.
//!
//! A sight is of a step, not of a state: two steps can lead to the same state. So they are
//! counted as the steps are taken, each exactly once for every state and choice.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! sights {
    ($($name:ident $text:literal)*) => {
        /// Something that a step did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // each says what it is
        pub enum Sight {
            $($name,)*
        }

        impl Sight {
            /// Every sight.
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

sights! {
    AdmittedInWindow "a request is admitted in the window"
    AdmittedEmptying "a request is admitted while emptying"
    NotProcessed "a request after the response that announced is not processed"
    NotProcessedClosing "a request on a connection that is being closed is not processed"
    RefusedOnArrival "a new request is refused on arrival"
    Upgraded "a connection changes its protocol with a request in flight"
    ReportedLate "a response's last byte leaves after the request ended"
    Announced "a connection is told to announce"
    ClosedQuiet "an idle connection is closed after its quiet period"
    ClosedAnnounced "a connection is closed at once after the response that announced"
    HeadCompleted "half a head, found by the last look, completes"
    HeadTimedOut "half a head never completes, and its connection is closed"
    ClosedAtT2 "an idle connection is closed at the drain deadline"
    ForcedUnanswered "a request without a response is answered 503 at the drain deadline"
    ForcedBegun "a response that was begun is cut at the drain deadline"
    CutForPatience "a peer that does not go is cut before the drain deadline"
    CutAfterEnd "a WebSocket whose close frame nobody answers is cut"
    LongLivedTold "a long-lived peer is told that the server leaves"
    LongLivedEnded "a long-lived peer is told to end"
    StreamTold "an event stream is told that the server leaves"
    StreamEnded "an event stream is told to end"
    StreamHeeded "an event stream that was told to end ends"
    LongPollTold "a long poll is told to answer now"
    FinalGoaway "HTTP/2 is asked for its final GOAWAY"
    NotProcessedFinal "a stream after the final GOAWAY is not processed"
    AbortFired "abort signals fire"
    JobCancelled "a job is cancelled"
    JobAborted "a job heeds its abort signal"
    JobForced "a job is given up at the drain deadline"
    ListenerHeld "a listener is not closed by the drain deadline"
    ListenerFailed "a listener fails while draining"
    HookTimedOut "a hook is abandoned at its own timeout"
    HookCutShort "a hook is abandoned at the end of its stage"
    HookNotRun "a hook does not run, since no time is left"
    HookFailed "a hook fails"
    HookLate "a hook is registered while draining, and runs"
    InsistedWindow "somebody insists: the window ends"
    InsistedDrain "somebody insists: what is in flight is forced"
    InsistedClose "somebody insists: the close hooks end"
    InsistedFlush "somebody insists: the flush hooks end"
    RaisedInWindow "a fatal error ends the window"
    RaisedLater "a fatal error comes after the window"
    Extended "the deadline is extended while draining"
    ExtendedClosing "the deadline is extended in Closing"
    Shortened "the deadline is shortened"
    ShortenedPast "the deadline is moved into the past"
    Bounded "an unlimited grace becomes limited"
    WindowIdle "the window ends early, since nothing arrives any more"
    Jumped "one late tick goes from Draining to Done"
    Lingered "Closing waits for connections that were cut"
    ReadyInWindow "readiness is kept until the listeners are fenced"
    DoneClean "Done, and nothing was lost"
    DoneLost "Done, and something was lost"
    DoneEarly "Done before the drain deadline"
    DoneLast "Done at the last deadline"
}

/// How often each was seen.
#[derive(Debug)]
pub struct Sights(Vec<AtomicU64>);

impl Default for Sights {
    fn default() -> Self {
        Self(Sight::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Sights {
    pub(crate) fn see(&self, sight: Sight) {
        self.0[sight as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was seen.
    pub fn count(&self, sight: Sight) -> u64 {
        self.0[sight as usize].load(Ordering::Relaxed)
    }
}
