//! The body of a review, read within bounds: of its size, of the time it takes, and of what is held of all together.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::places::Load;

/// Largest review that is read. The API server's own limit for an object is 1.5 MiB in etcd, and an update carries two.
pub const MOST_BODY_BYTES: usize = 4 << 20;

/// Longest time that a body may take; one of more than [`LITTLE`] bytes has to come at [`PACE`] after a [`START`].
const PATIENCE: Duration = Duration::from_secs(10);
const LITTLE: usize = 64 << 10;
const START: Duration = Duration::from_secs(2);

/// Bytes a second.
const PACE: f64 = (1 << 20) as f64;

/// How often, and how many times, room is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const LOOKS: usize = 25;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is too large, too slow, or was cut off.
    Unreadable,
    /// So much is held of others that there is no room for it.
    NoRoom,
}

/// Reads a body; without a copy where it comes in one piece.
pub(crate) async fn read<B: Body<Data = Bytes> + Unpin>(body: B, load: &mut Load) -> Result<Bytes, Refusal> {
    read_within(body, load, patience).await
}

async fn read_within<B: Body<Data = Bytes> + Unpin>(
    mut body: B,
    load: &mut Load,
    patience: impl Fn(usize) -> Duration,
) -> Result<Bytes, Refusal> {
    let (started, mut timer) = (Instant::now(), None);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let (mut first, mut all) = (Bytes::new(), Vec::new());
    while !body.is_end_stream() {
        let frame = frame(&mut body, &mut timer, started + patience(load.bytes())).await;
        let Some(frame) = frame.ok_or(Refusal::Unreadable)? else {
            break;
        };
        let data = frame.map_err(|_| Refusal::Unreadable)?.into_data().unwrap_or_default();
        if load.bytes() + data.len() > MOST_BODY_BYTES {
            return Err(Refusal::Unreadable);
        }
        hold(load, data.len()).await?;
        if first.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            // Who announces much and sends little has no room kept for what may not come.
            all.reserve(announced.min(2 * load.bytes()));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

/// The next part of a body, where it comes in time; the timer of all of them is made when one is waited for, which is rare.
async fn frame<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
    timer: &mut Option<Pin<Box<Sleep>>>,
    until: Instant,
) -> Option<Option<Result<Frame<Bytes>, B::Error>>> {
    poll_fn(|context| {
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
            return Poll::Ready(Some(frame));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// How long a body may take of which so many bytes have come. Whoever makes us hold much shall not do so for long.
fn patience(bytes: usize) -> Duration {
    if bytes <= LITTLE {
        return PATIENCE;
    }
    START + Duration::from_secs_f64(bytes as f64 / PACE)
}

async fn hold(load: &mut Load, more: usize) -> Result<(), Refusal> {
    for _ in 0..LOOKS {
        if load.grow(more) {
            return Ok(());
        }
        sleep(LOOK_AGAIN).await;
    }
    Err(Refusal::NoRoom)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::task::Context;

    use super::*;
    use crate::places::{Bounds, Place, Places};

    /// A body in so many pieces of a length, which then ends or does not.
    struct Pieces {
        left: usize,
        length: usize,
        ends: bool,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.left == 0 {
                return if self.ends { Poll::Ready(None) } else { Poll::Pending };
            }
            self.left -= 1;
            Poll::Ready(Some(Ok(Frame::data(vec![b'x'; self.length].into()))))
        }
    }

    fn whole(left: usize, length: usize) -> Pieces {
        Pieces {
            left,
            length,
            ends: true,
        }
    }

    fn endless(left: usize, length: usize) -> Pieces {
        Pieces {
            left,
            length,
            ends: false,
        }
    }

    fn places() -> Arc<Places> {
        Places::new(Bounds {
            connections_each: 8,
            connections: 8,
            bytes: 16 << 20,
        })
    }

    fn caller(places: &Arc<Places>, last: u8) -> Arc<Place> {
        places.take([127, 0, 0, last].into())
    }

    async fn length(body: Pieces, place: &Arc<Place>) -> Result<usize, Refusal> {
        read(body, &mut place.request()).await.map(|body| body.len())
    }

    #[tokio::test]
    async fn bodies_are_read_up_to_a_size() {
        let place = caller(&places(), 1);
        assert_eq!(length(whole(0, 0), &place).await, Ok(0));
        assert_eq!(length(whole(1, 100), &place).await, Ok(100));
        assert_eq!(length(whole(9, 100), &place).await, Ok(900));
        assert_eq!(length(whole(4, 1 << 20), &place).await, Ok(MOST_BODY_BYTES));
        let refused = length(whole(1, MOST_BODY_BYTES + 1), &place).await;
        assert_eq!(refused, Err(Refusal::Unreadable));
        let refused = length(endless(usize::MAX, 100 << 10), &place).await;
        assert_eq!(refused, Err(Refusal::Unreadable));
    }

    #[tokio::test]
    async fn bodies_have_to_get_on() {
        assert_eq!([0, LITTLE].map(patience), [PATIENCE; 2]);
        assert_eq!([1 << 20, 4 << 20].map(|bytes| patience(bytes).as_secs()), [3, 6]);
        let place = caller(&places(), 1);
        for pieces in [0, 1, 5] {
            // Only the time for what has come runs out.
            let come = move |bytes| Duration::from_secs(if bytes == pieces * 1000 { 0 } else { 3600 });
            let read = read_within(endless(pieces, 1000), &mut place.request(), come).await;
            assert_eq!(read, Err(Refusal::Unreadable));
        }
    }

    #[tokio::test]
    async fn what_is_held_of_all_is_bounded() {
        let places = places();
        let mut held: Vec<_> = (1..=3).map(|host| caller(&places, host).request()).collect();
        assert!(held.iter_mut().all(|load| load.grow(4 << 20)));
        let place = caller(&places, 4);
        let large = length(whole(2, 200 << 10), &place).await;
        assert_eq!(large, Err(Refusal::NoRoom), "three quarters are held");
        let usual = length(whole(1, 40 << 10), &place).await;
        assert_eq!(usual, Ok(40 << 10), "which leaves room for what is usual");
        held.pop();
        assert_eq!(length(whole(2, 200 << 10), &place).await, Ok(400 << 10));
    }

    #[tokio::test]
    async fn whoever_finds_no_room_waits_a_moment() {
        let places = places();
        let mut load = caller(&places, 1).request();
        assert!(load.grow(4 << 20));
        let place = caller(&places, 1);
        let waiting = tokio::spawn(async move { length(whole(1, 100), &place).await });
        tokio::task::yield_now().await;
        drop(load);
        assert_eq!(waiting.await.unwrap(), Ok(100));
    }
}
