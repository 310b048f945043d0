//! A response's body that keeps its request in flight until its last byte has left the process.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use lameduck::Outcome;
use lameduck::async_layer::{RequestGuard, Unflushed};

/// What hyper is given at a time. It takes a whole frame before it has room for it on the wire, so that
/// a body in one piece would seem to have ended long before.
const PIECE: usize = 16 * 1024;

/// Responses of one connection that are complete, but not flushed: the socket lets go of them.
#[derive(Debug, Default)]
pub(crate) struct Unsent(Mutex<Vec<Unflushed>>);

impl Unsent {
    pub(crate) fn complete(&self, request: RequestGuard) {
        let unflushed = request.finish_unflushed(Outcome::Completed);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(unflushed);
    }

    pub(crate) fn flushed(&self) {
        let flushed = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(flushed);
    }
}

pin_project_lite::pin_project! {
    /// `body`, and the request that ends with it.
    pub struct Guarded<B: Body<Data = Bytes>> {
        #[pin]
        body: B,
        rest: Bytes,
        end: End,
    }

    impl<B: Body<Data = Bytes>> PinnedDrop for Guarded<B> {
        fn drop(this: Pin<&mut Self>) {
            // hyper drops a body that has ended without asking it for more.
            let complete = this.is_end_stream();
            this.project().end.come(complete);
        }
    }
}

struct End {
    request: Option<RequestGuard>,
    unsent: Arc<Unsent>,
}

impl End {
    fn come(&mut self, complete: bool) {
        match self.request.take() {
            Some(request) if complete => self.unsent.complete(request),
            Some(request) => request.finish(Outcome::ClientGone),
            None => {}
        }
    }
}

impl<B: Body<Data = Bytes>> Guarded<B> {
    /// Without a request, nothing depends on when it ends.
    pub(crate) fn new(body: B, request: Option<RequestGuard>, unsent: Arc<Unsent>) -> Self {
        Self { body, rest: Bytes::new(), end: End { request, unsent } }
    }
}

impl<B: Body<Data = Bytes>> Body for Guarded<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if this.rest.is_empty() {
            match ready!(this.body.poll_frame(context)) {
                None => {
                    this.end.come(true);
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    this.end.come(false);
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
