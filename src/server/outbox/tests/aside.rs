//! What is put aside for who is far behind.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::*;
use crate::server::socket::drain;
use crate::server::wire::testing::connection;

/// How many messages were put aside and are not queued yet.
fn put_aside(outbox: &Outbox) -> usize {
    outbox.aside.messages()
}

/// How many messages wait, without those that are put aside.
fn queued(outbox: &Outbox) -> u64 {
    outbox.state.lock().unwrap().waiting.len()
}

/// Queues what is put aside.
fn look(outbox: &Outbox) {
    drop(outbox.lock());
}

/// An outbox whose client is far behind after three messages on the first channel.
fn far_behind(limit: usize, start: Instant) -> Outbox {
    let outbox = outbox(limit);
    for (time, millis) in [(1, 0), (2, 10), (3, 260)] {
        outbox.deliver(&[event(0, time, 10)], Timestamp::MIN, start + Duration::from_millis(millis));
        assert_eq!((put_aside(&outbox), queued(&outbox)), (0, time));
    }
    outbox
}

const LATER: Duration = Duration::from_millis(300);

#[test]
fn what_happens_is_queued_by_who_looks_next_and_comes_in_order() {
    let start = Instant::now();
    let outbox = far_behind(1 << 20, start);
    let aside = Delivery { filled: false, behind: true };
    for time in 4..8 {
        assert_eq!(outbox.deliver(&[event(1, time, 10)], nanos(time), start + LATER), aside);
    }
    assert_eq!((put_aside(&outbox), queued(&outbox)), (4, 3));
    outbox.push(frame::text("status"));
    assert_eq!((put_aside(&outbox), queued(&outbox)), (0, 7));
    assert_eq!(outbox.deliver(&[event(0, 8, 10)], nanos(8), start + LATER), aside);
    assert_eq!(outbox.counts().offered_bytes, 80);
    let mut batch = Batch::default();
    assert!(outbox.take_batch(&mut batch));
    assert_eq!(batch.messages().len(), 8);
    outbox.count_sent(&mut batch);
    // It has caught up.
    let now = Delivery { filled: true, behind: false };
    assert_eq!(outbox.deliver(&[event(0, 9, 10)], nanos(9), start + LATER), now);
    assert_eq!((put_aside(&outbox), queued(&outbox)), (0, 1));
    assert_eq!(received(&outbox), ["time 9", "100@9+10"]);
}

#[test]
fn a_seek_waits_for_nobody() {
    let start = Instant::now();
    let outbox = far_behind(1 << 20, start);
    outbox.deliver(&[event(0, 4, 10)], nanos(3), start + LATER);
    outbox.deliver(&[Event::Jumped(nanos(50)), event(0, 51, 10)], nanos(4), start + LATER);
    assert_eq!((put_aside(&outbox), queued(&outbox)), (0, 1));
    assert_eq!(outbox.tallies()[&ChannelId(0)].skipped, 4);
    assert_eq!(received(&outbox), ["time 50", "time 51", "100@51+10"]);
}

#[test]
fn where_nothing_may_be_lost_nothing_is_put_aside() {
    let start = Instant::now();
    let deliver = |outbox: &Outbox, time| outbox.deliver(&[event(0, time, 10)], nanos(time), start + LATER);
    let outbox = far_behind(1 << 20, start);
    deliver(&outbox, 4);
    outbox.lose_nothing(true);
    assert_eq!((put_aside(&outbox), queued(&outbox)), (1, 3));
    deliver(&outbox, 5);
    assert_eq!((put_aside(&outbox), queued(&outbox)), (0, 5));
    assert!(!outbox.lock().far_behind);
}

#[test]
fn who_hangs_up_has_nothing_put_aside() {
    let start = Instant::now();
    let outbox = far_behind(1 << 20, start);
    outbox.stop_messages();
    outbox.push_answer(frame::text("bye"));
    outbox.deliver(&[event(0, 4, 10)], nanos(3), start + LATER);
    assert_eq!((put_aside(&outbox), queued(&outbox)), (0, 0));
    assert_eq!(received(&outbox), ["bye"]);
}

#[test]
fn what_is_put_aside_is_a_part_of_what_may_be_kept() {
    const LIMIT: usize = 1_000_000;
    let start = Instant::now();
    let outbox = far_behind(LIMIT, start);
    let (mut put, mut most) = (0, 0);
    for time in 4..4000 {
        outbox.deliver(&[event(0, time, 1000)], nanos(time - 1), start + LATER);
        put = put.max(put_aside(&outbox));
        most = most.max(put_aside(&outbox) * 1000 + queued(&outbox) as usize * (1000 + OVERHEAD));
    }
    assert!((90..125).contains(&put), "{put}");
    assert!(most <= LIMIT && most > LIMIT / 8 * 7, "{most}");
}

#[test]
fn who_stays_far_behind_has_little_waiting() {
    let (start, outbox) = (Instant::now(), outbox(1 << 30));
    let mut most = 0;
    for step in 0..1000 {
        let at = start + Duration::from_millis(10 * step);
        // 10 MB/s, and a state once.
        let state = (step == 5).then(|| event(2, 10 * step, 10));
        let events: Vec<Event> = state.into_iter().chain([event(1, 10 * step, 100_000)]).collect();
        outbox.deliver(&events, nanos(10 * step), at);
        // The socket takes 0.5 MB/s.
        outbox.written.store(step * 5_000, Ordering::Relaxed);
        if step % 10 == 9 {
            look(&outbox);
        }
        if step > 250 {
            most = most.max(waiting_bytes(&outbox));
        }
    }
    // What it takes in the time that a message may wait, and what comes in between.
    assert!((1_000_000..3_500_000).contains(&most), "{most}");
    assert_eq!(outbox.tallies()[&ChannelId(2)].dropped, 0);
}

#[tokio::test]
async fn what_is_put_aside_is_queued_soon_where_the_socket_takes_nothing() {
    const HUGE: usize = 16 << 20;
    let outbox = Arc::new(outbox(8 * HUGE));
    let (client, wire) = connection().await;
    outbox.connect(Arc::clone(&wire));
    let start = Instant::now();
    outbox.deliver(&[event(0, 1, HUGE)], Timestamp::MIN, start);
    let writing = tokio::spawn(drain(Arc::clone(&outbox), wire));
    while outbox.written() == 0 {
        tokio::task::yield_now().await;
    }
    let deliver = |time, millis| {
        outbox.deliver(&[event(0, time, 10)], nanos(time), start + Duration::from_millis(millis));
    };
    deliver(2, 0);
    deliver(3, 10);
    deliver(4, 260);
    assert_eq!((put_aside(&outbox), queued(&outbox)), (0, 3));
    let becomes = async |what: &str, is: &dyn Fn() -> bool| {
        while !is() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Also where nothing happened for a while.
    for time in 5..7 {
        becomes("somebody waits", &|| outbox.aside.is_awaited()).await;
        deliver(time, 270);
        becomes("it is queued", &|| queued(&outbox) == time - 1).await;
    }
    drop(client);
    writing.await.unwrap().unwrap_err();
}

#[test]
fn nobody_waits_for_rounds_before_something_is_put_aside() {
    let outbox = outbox(1 << 20);
    deliver(&outbox, &[event(0, 1, 10), event(0, 2, 10)]);
    assert!(outbox.queue_in_rounds().now_or_never().is_none());
    assert!(!outbox.lock().far_behind);
}

/// What happens to an outbox.
#[derive(Clone, Debug)]
enum Step {
    /// A message of this channel and size comes, so many milliseconds after what happened before.
    Message(u32, usize, u64),
    Jump,
    Take,
    Subscribe(u32),
    Unsubscribe(u32),
    Look,
    Lossless(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let channel = || 0..CHANNELS as u32;
    let step = prop_oneof![
        20 => (channel(), 0..3000usize, 0..150u64)
            .prop_map(|(channel, size, millis)| Step::Message(channel, size, millis)),
        1 => Just(Step::Jump),
        2 => Just(Step::Take),
        1 => channel().prop_map(Step::Subscribe),
        1 => channel().prop_map(Step::Unsubscribe),
        1 => Just(Step::Look),
        1 => any::<bool>().prop_map(Step::Lossless),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    /// Whatever happens, in whatever order: each message that was meant for the client is sent or counted, once and in
    /// order.
    #[test]
    fn everything_is_sent_or_counted_once(steps in steps(), limit in 5_000..500_000usize) {
        let (outbox, mut now, mut subscribed) = (outbox(limit), Instant::now(), [true; CHANNELS]);
        let (mut meant, mut bytes, mut time) = (0, 0, 0);
        let mut got = Vec::new();
        let mut take = || {
            let mut batch = Batch::default();
            outbox.take_batch(&mut batch);
            let mut written = Vec::new();
            while !batch.is_written() {
                let take = |parts: &[IoSlice<'_>]| {
                    let part = parts.iter().find(|part| !part.is_empty()).unwrap();
                    written.extend_from_slice(part);
                    Ok(part.len())
                };
                batch.write_some(take).unwrap();
            }
            outbox.count_sent(&mut batch);
            outbox.written.fetch_add(written.len() as u64, Ordering::Relaxed);
            got.extend(frames(&written));
            !written.is_empty()
        };
        for step in steps {
            time += 1;
            match step {
                Step::Message(channel, size, millis) => {
                    now += Duration::from_millis(millis);
                    outbox.deliver(&[event(channel, time, size)], nanos(time), now);
                    let wanted = subscribed[channel as usize];
                    meant += u64::from(wanted);
                    bytes += if wanted { size as u64 } else { 0 };
                }
                Step::Jump => drop(outbox.deliver(&[Event::Jumped(nanos(time))], nanos(time), now)),
                Step::Take => drop(take()),
                Step::Subscribe(channel) => {
                    let wanted = Subscription { id: 100 + channel, channel: ChannelId(channel) };
                    let new = !std::mem::replace(&mut subscribed[channel as usize], true);
                    prop_assert_eq!(outbox.subscribe(wanted).is_ok(), new);
                }
                Step::Unsubscribe(channel) => {
                    let was = std::mem::replace(&mut subscribed[channel as usize], false);
                    prop_assert_eq!(outbox.unsubscribe(100 + channel).is_some(), was);
                }
                Step::Look => look(&outbox),
                Step::Lossless(lossless) => outbox.lose_nothing(lossless),
            }
        }
        while take() {}
        prop_assert_eq!((put_aside(&outbox), queued(&outbox)), (0, 0));
        let (counts, tallies) = (outbox.counts(), outbox.tallies());
        let sum = |count: fn(&Tally) -> u64| tallies.values().map(count).sum::<u64>();
        prop_assert_eq!(sum(|tally| tally.sent + tally.dropped + tally.skipped), meant);
        prop_assert_eq!((counts.sent, counts.dropped), (sum(|tally| tally.sent), sum(|tally| tally.dropped)));
        prop_assert_eq!(counts.offered_bytes, bytes);
        let time = |frame: &String| frame.split(['@', '+']).nth(1)?.parse().ok();
        let times: Vec<u64> = got.iter().filter_map(time).collect();
        prop_assert_eq!(times.len() as u64, counts.sent);
        prop_assert!(times.is_sorted_by(|one, next| one < next));
    }
}
