//! What is put aside for who is far behind.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::*;
use crate::server::outbox::aside::{ASIDE_PART, FREE_PART};
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

/// How many bytes wait, without what is put aside.
fn queued_bytes(outbox: &Outbox) -> usize {
    outbox.state.lock().unwrap().waiting.bytes()
}

/// Takes out what one write has, as a socket that takes all of it. Gives the frames, each in a few letters.
fn taken(outbox: &Outbox, load: Load) -> Vec<String> {
    let (mut batch, mut written) = (Batch::default(), Vec::new());
    outbox.take(&mut outbox.lock(), &mut batch, load);
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
    frames(&written)
}

/// The log times of the messages among these frames.
fn times(frames: &[String]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame.split(['@', '+']).nth(1)?.parse().ok()).collect()
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

/// So many large messages come then.
fn camera(outbox: &Outbox, start: Instant, count: u64) {
    for millis in 300..300 + count {
        outbox.deliver(&[event(0, millis, 100_000)], nanos(millis), start + Duration::from_millis(millis));
    }
}

#[test]
fn what_happens_is_queued_by_who_looks_next_and_comes_in_order() {
    let start = Instant::now();
    let outbox = far_behind(1 << 20, start);
    let aside = Delivery { filled: false, behind: true, idle: false };
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
    let now = Delivery { filled: true, behind: false, idle: false };
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
fn what_is_put_aside_and_what_waits_are_together_no_more_than_may_wait() {
    const LIMIT: usize = 1_000_000;
    let start = Instant::now();
    let outbox = far_behind(LIMIT, start);
    let (mut put, mut most) = (0, 0);
    for time in 4..4000 {
        outbox.deliver(&[event(0, time, 1000)], nanos(time - 1), start + LATER);
        put = put.max(put_aside(&outbox));
        most = most.max(outbox.aside.bytes() + queued_bytes(&outbox));
    }
    assert!((90..125).contains(&put), "{put}");
    assert!(most <= LIMIT && most > LIMIT / FREE_PART * (FREE_PART - 1), "{most}");
}

#[test]
fn what_is_put_aside_takes_little_of_what_may_wait() {
    const LIMIT: usize = 1_000_000;
    let start = Instant::now();
    let outbox = far_behind(LIMIT, start);
    let whole = LIMIT / FREE_PART * (FREE_PART - 1) / (1000 + OVERHEAD) - 3;
    for time in 4..4 + whole as u64 {
        outbox.deliver(&[event(0, time, 1000)], nanos(time - 1), start + LATER);
    }
    assert_eq!(outbox.counts().dropped, 0);
    outbox.deliver(&[event(0, 4000, 5000)], nanos(3999), start + LATER);
    assert!(outbox.counts().dropped > 0);
}

#[test]
fn what_is_not_subscribed_to_is_not_kept() {
    let start = Instant::now();
    let outbox = far_behind(1 << 20, start);
    outbox.unsubscribe(101);
    for time in 4..8 {
        let events = [event(1, time, 10), event(2, time, 10), event(1, time, 10)];
        outbox.deliver(&events, nanos(time), start + LATER);
        outbox.deliver(&events[2..], nanos(time), start + LATER);
    }
    assert_eq!((put_aside(&outbox), queued(&outbox)), (4, 3));
    outbox.subscribe(Subscription { id: 101, channel: ChannelId(1) }).unwrap();
    outbox.deliver(&[event(1, 8, 10)], nanos(7), start + LATER);
    assert_eq!((put_aside(&outbox), queued(&outbox)), (1, 7));
    assert_eq!(outbox.counts().offered_bytes, 80);
}

#[test]
fn also_where_only_others_topics_go_on_messages_wait_no_longer_than_they_may() {
    let start = Instant::now();
    let outbox = far_behind(1 << 30, start);
    camera(&outbox, start, 10);
    outbox.unsubscribe(101);
    outbox.deliver(&[event(1, 3000, 10)], nanos(3000), start + Duration::from_secs(3));
    assert_eq!(outbox.counts().dropped, 10);
}

#[test]
fn how_much_is_taken_is_reckoned_as_when_it_happened() {
    let start = Instant::now();
    let outbox = far_behind(1 << 30, start);
    camera(&outbox, start, 40);
    outbox.written.store(1_000_000, Ordering::Relaxed);
    outbox.deliver(&[event(1, 2400, 10)], nanos(2400), start + Duration::from_millis(2400));
    // It takes much more before that is queued.
    outbox.written.store(100_000_000, Ordering::Relaxed);
    outbox.queue_aside();
    let left = queued_bytes(&outbox);
    assert!((700_000..1_100_000).contains(&left), "{left}");
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
            outbox.queue_aside();
        }
        if step > 250 {
            most = most.max(queued_bytes(&outbox) + put_aside(&outbox) * 100_000);
        }
    }
    // What it takes in the time that a message may wait, and what comes in between.
    assert!((1_000_000..4_500_000).contains(&most), "{most}");
    assert_eq!(outbox.tallies()[&ChannelId(2)].dropped, 0);
}

/// How a connection ends: what becomes of the four messages that wait.
type End = (fn(&Outbox), fn(&Tally) -> u64);

#[test]
fn who_leaves_has_what_was_put_aside_counted() {
    let ends: [End; 6] = [
        (|outbox| outbox.stop_messages(), |tally| tally.skipped),
        (|outbox| outbox.cut_off(), |tally| tally.undelivered),
        (|outbox| outbox.give_up(), |tally| tally.undelivered),
        (|outbox| outbox.abandon(), |tally| tally.skipped),
        (|outbox| outbox.hang_up(None), |tally| tally.skipped),
        (|outbox| assert_eq!(received(outbox).len(), 8), |tally| tally.sent),
    ];
    for (number, (end, count)) in ends.into_iter().enumerate() {
        let start = Instant::now();
        let outbox = far_behind(1 << 20, start);
        outbox.deliver(&[event(0, 4, 10)], nanos(3), start + LATER);
        assert_eq!((put_aside(&outbox), queued(&outbox)), (1, 3));
        end(&outbox);
        outbox.deliver(&[event(0, 5, 10)], nanos(4), start + LATER);
        assert_eq!((put_aside(&outbox), queued(&outbox)), (0, 0));
        let tally = outbox.tallies()[&ChannelId(0)];
        assert_eq!(count(&tally), 4, "{number}");
        assert_eq!(tally.sent + tally.skipped + tally.undelivered, 4, "{number}");
    }
}

#[test]
fn what_is_asked_about_the_queue_counts_what_is_put_aside() {
    let start = Instant::now();
    let outbox = far_behind(4 * (1000 + OVERHEAD), start);
    outbox.deliver(&[event(0, 4, 100)], nanos(3), start + LATER);
    assert_eq!((put_aside(&outbox), queued(&outbox)), (1, 3));
    assert!(outbox.has_room());
    assert_eq!((put_aside(&outbox), queued(&outbox)), (0, 4));
    outbox.deliver(&[event(0, 5, 100)], nanos(4), start + LATER);
    assert_eq!(outbox.load().1, 130 + 100 + 5 * OVERHEAD);
    // A state of the past comes behind.
    outbox.deliver(&[event(0, 6, 100)], nanos(5), start + LATER);
    outbox.deliver_past(nanos(6), &message(1, 1, 10));
    // Where less may wait from now on, it is left out when somebody looks.
    outbox.set_limit(700);
    outbox.deliver(&[event(0, 7, 300)], nanos(6), start + LATER);
    assert_eq!(received(&outbox), ["time 6", "101@1+10", "time 7", "100@7+300"]);
}

#[test]
fn what_happens_is_put_aside_while_another_thread_takes() {
    const MESSAGES: u64 = 20_000;
    const BEHIND: u64 = 100;
    let outbox = Outbox::new(1, 1 << 30, Duration::MAX);
    outbox.subscribe(Subscription { id: 100, channel: ChannelId(0) }).unwrap();
    let (start, delivered) = (Instant::now(), AtomicU64::new(0));
    let mut put = 0;
    let got = std::thread::scope(|scope| {
        let taking = scope.spawn(|| {
            let mut got = Vec::new();
            while (got.len() as u64) < MESSAGES {
                // It stays behind until the end.
                let delivered = delivered.load(Ordering::Relaxed);
                if delivered < MESSAGES && outbox.taken() + BEHIND > delivered {
                    std::thread::yield_now();
                } else {
                    got.extend(times(&taken(&outbox, Load::UpTo(500))));
                }
            }
            got
        });
        for time in 1..=MESSAGES {
            let at = start + Duration::from_millis(time);
            let delivery = outbox.deliver(&[event(0, time, 100)], nanos(time - 1), at);
            put += u64::from(delivery.behind && !delivery.filled);
            delivered.store(time, Ordering::Relaxed);
        }
        taking.join().unwrap()
    });
    assert!(put > MESSAGES / 2, "{put}");
    assert_eq!(got, (1..=MESSAGES).collect::<Vec<_>>());
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

#[tokio::test]
async fn what_is_put_aside_is_queued_together_but_not_too_much_of_it() {
    const LIMIT: usize = 1_000_000;
    let start = Instant::now();
    let outbox = far_behind(LIMIT, start);
    let deliver = |time, size| outbox.deliver(&[event(0, time, size)], nanos(time - 1), start + LATER);
    let mut rounds = std::pin::pin!(outbox.queue_in_rounds());
    let mut queued_now = || {
        assert!(rounds.as_mut().now_or_never().is_none());
        queued(&outbox)
    };
    deliver(4, 10);
    deliver(5, 10);
    assert_eq!(queued_now(), 3, "others may come");
    deliver(6, LIMIT / ASIDE_PART / 2);
    assert_eq!(queued_now(), 6, "it is much");
    deliver(7, 10);
    assert_eq!(queued_now(), 6);
}

#[test]
fn of_time_that_passes_only_the_last_is_kept() {
    let start = Instant::now();
    let outbox = far_behind(1 << 20, start);
    outbox.unsubscribe(101);
    let mut bytes = Vec::new();
    for time in 4..1000 {
        outbox.deliver(&[event(1, time, 10)], nanos(time), start + LATER);
        outbox.deliver(&[Event::Tick(nanos(time))], nanos(time), start + LATER);
        outbox.deliver(&[Event::Stalled(Duration::ZERO)], nanos(time), start + LATER);
        bytes.push(outbox.aside.bytes());
    }
    assert!(bytes[0] > 0);
    assert!(bytes.iter().all(|some| *some == bytes[0]));
}

#[test]
fn who_unsubscribes_from_everything_is_behind_no_more() {
    let start = Instant::now();
    let outbox = far_behind(1 << 20, start);
    for id in 100..100 + CHANNELS as u32 {
        outbox.unsubscribe(id);
    }
    let much_later = start + Duration::from_secs(1);
    let idle = Delivery { filled: true, behind: false, idle: true };
    assert_eq!(outbox.deliver(&[event(0, 4, 10)], nanos(3), much_later), idle);
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
        let start = Instant::now();
        let (outbox, mut now, mut subscribed) = (far_behind(limit, start), start + LATER, [true; CHANNELS]);
        let (mut meant, mut bytes, mut time) = (4, 40, 4);
        outbox.deliver(&[event(0, time, 10)], nanos(time), now);
        prop_assert_eq!(put_aside(&outbox), 1);
        let mut got = Vec::new();
        let mut take = || {
            let before = got.len();
            got.extend(taken(&outbox, Load::Any));
            got.len() > before
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
                Step::Look => outbox.queue_aside(),
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
        let times = times(&got);
        prop_assert_eq!(times.len() as u64, counts.sent);
        prop_assert!(times.is_sorted_by(|one, next| one < next));
    }
}
