//! The body of an answer that is held open: who answers at once, why it ended at the end.
//!
//! Its length is not known before, so it is sent in chunks, and whatever stands
//! between node and proxy passes the first on at once.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Bytes;
use hyper::body::{Body, Frame};
use infinicache_wire::wake_answer::{SessionEnd, WakeAnswer};

pub(crate) struct HeldResponse {
    answer: Option<Bytes>,
    session: Option<Pin<Box<dyn Future<Output = SessionEnd> + Send>>>,
}

impl HeldResponse {
    /// Says `answer`, waits for `session` to end, and says why it did.
    pub(crate) fn new(
        answer: &WakeAnswer,
        session: impl Future<Output = SessionEnd> + Send + 'static,
    ) -> Self {
        Self {
            answer: Some(answer.to_line().into()),
            session: Some(Box::pin(session)),
        }
    }
}

impl Body for HeldResponse {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(answer) = self.answer.take() {
            return Poll::Ready(Some(Ok(Frame::data(answer))));
        }
        let Some(session) = &mut self.session else {
            return Poll::Ready(None);
        };
        let ended = ready!(session.as_mut().poll(context));
        self.session = None;
        Poll::Ready(Some(Ok(Frame::data(ended.to_line().into()))))
    }
}
