use proptest::prelude::*;

use super::*;
use crate::server::frame;

const CHANNELS: usize = 4;

fn event(channel: u32, time: u64, size: usize) -> Event {
    let time = Timestamp::from_nanos(time);
    let data = Bytes::from(vec![channel as u8; size]);
    Event::Message(Message {
        channel: ChannelId(channel),
        sequence: 0,
        log_time: time,
        publish_time: time,
        data,
    })
}

/// An outbox that is subscribed to every channel, each under the id of the channel plus 100.
fn outbox(limit: usize) -> Outbox {
    let outbox = Outbox::new(CHANNELS, limit);
    for channel in 0..CHANNELS as u32 {
        outbox.subscribe(Subscription { id: 100 + channel, channel: ChannelId(channel) }).unwrap();
    }
    outbox
}

/// What a client gets: each frame in a few letters.
fn received(outbox: &Outbox) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        outbox.finish();
        let (mut batch, mut bytes) = (Batch::default(), Vec::new());
        while outbox.next_batch(&mut batch).await {
            batch.write_to(&mut bytes).await.unwrap();
        }
        frames(&bytes)
    })
}

fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while let [opcode, length, rest @ ..] = bytes {
        let (length, rest) = match length {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            length => (usize::from(*length), rest),
        };
        let (payload, rest) = rest.split_at(length);
        let number = |range: std::ops::Range<usize>| {
            payload[range].iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        frames.push(match (opcode, payload.first()) {
            (0x82, Some(1)) => {
                assert!(payload[13..].iter().all(|byte| u64::from(*byte) == number(1..5) - 100));
                format!("{}@{}+{}", number(1..5), number(5..13), length - 13)
            }
            (0x82, Some(2)) => format!("time {}", number(1..9)),
            _ => String::from_utf8_lossy(payload).into_owned(),
        });
        bytes = rest;
    }
    frames
}

#[test]
fn every_message_comes_after_its_time_which_is_not_repeated() {
    let outbox = outbox(1 << 20);
    outbox.push(frame::text("hello"));
    outbox.deliver(&[event(0, 5, 10), event(1, 5, 2000), event(0, 7, 70_000), Event::Jumped(Timestamp::MIN)]);
    outbox.deliver(&[event(2, 0, 0)]);
    let expected =
        ["hello", "time 5", "100@5+10", "101@5+2000", "time 7", "100@7+70000", "time 0", "102@0+0"];
    assert_eq!(received(&outbox), expected);
}

#[test]
fn only_what_is_subscribed_to_is_sent() {
    let outbox = Outbox::new(CHANNELS, 1 << 20);
    outbox.deliver(&[event(0, 1, 1), event(1, 1, 1)]);
    outbox.subscribe(Subscription { id: 101, channel: ChannelId(1) }).unwrap();
    outbox.deliver(&[event(0, 2, 1), event(1, 2, 1)]);
    assert!(outbox.unsubscribe(101));
    assert!(!outbox.unsubscribe(101));
    outbox.deliver(&[event(1, 3, 1)]);
    outbox.subscribe(Subscription { id: 101, channel: ChannelId(1) }).unwrap();
    outbox.deliver(&[event(1, 4, 1)]);
    // What was queued under an id counts as unsubscribed only while nobody uses that id for the channel.
    assert_eq!(received(&outbox), ["time 2", "101@2+1", "time 4", "101@4+1"]);
}

#[test]
fn subscriptions_that_make_no_sense_are_refused() {
    let outbox = outbox(1 << 20);
    let subscribe = |id, channel| outbox.subscribe(Subscription { id, channel: ChannelId(channel) });
    assert_eq!(subscribe(1, 4), Err(SubscribeError::NoSuchChannel(ChannelId(4))));
    assert_eq!(subscribe(1, 3), Err(SubscribeError::Again(ChannelId(3))));
    outbox.unsubscribe(103);
    assert_eq!(subscribe(102, 3), Err(SubscribeError::IdInUse(102)));
    assert_eq!(subscribe(103, 3), Ok(()));
}

#[test]
fn a_full_outbox_drops_the_oldest_of_the_heaviest_topic_and_no_topics_newest() {
    let outbox = outbox(100_000);
    outbox.deliver(&[event(3, 0, 10)]);
    for time in 1..200 {
        outbox.deliver(&[event(0, time, 10_000), event(1, time, 10)]);
    }
    let counts = outbox.counts();
    assert_eq!(counts.dropped.keys().collect::<Vec<_>>(), [&ChannelId(0)]);
    assert!(outbox.waiting_bytes() <= 100_000);
    let received = received(&outbox);
    assert_eq!(received[..2], ["time 0", "103@0+10"]);
    assert_eq!(received.iter().filter(|frame| frame.starts_with("101@")).count(), 199);
    let camera: Vec<_> = received.iter().filter(|frame| frame.starts_with("100@")).collect();
    assert_eq!(camera.last().unwrap().as_str(), "100@199+10000");
    assert_eq!(camera.len() as u64 + counts.dropped_total(), 199);
}

#[test]
fn where_even_the_newest_messages_are_too_much_the_bound_holds() {
    let outbox = outbox(1000);
    for time in 0..100 {
        outbox.deliver(&[event(time % 4, u64::from(time), 900)]);
        assert!(outbox.waiting_bytes() <= 1000);
    }
}

#[test]
fn a_message_larger_than_the_outbox_is_sent_all_the_same() {
    let outbox = outbox(1000);
    outbox.deliver(&[event(0, 1, 10), event(1, 2, 5000)]);
    assert_eq!(received(&outbox), ["time 2", "101@2+5000"]);
}

#[test]
fn a_client_that_never_reads_does_not_gather_times() {
    let outbox = outbox(10_000);
    for pass in 0..10_000 {
        outbox.deliver(&[event(0, pass, 100), Event::Jumped(Timestamp::MIN), Event::Ended(Timestamp::MAX)]);
    }
    assert!(outbox.lock().queue.len() < 300);
}

#[test]
fn answers_wait_for_a_client_that_does_not_read_them() {
    let outbox = outbox(10_000);
    let frame = frame::text(&"x".repeat(1000));
    let taken = (0..10_000).filter(|_| outbox.push_answer(frame.clone())).count();
    assert!((250..300).contains(&taken), "{taken}");
    let context = Context::from_waker(Waker::noop());
    assert!(outbox.poll_push_answer(&context, b"pong").is_pending());
    outbox.lock().take(&mut Batch::default());
    assert!(outbox.poll_push_answer(&context, b"pong").is_ready());
}

#[test]
fn after_the_end_nothing_is_taken_but_what_was_queued_is_sent() {
    let outbox = outbox(10_000);
    outbox.deliver(&[event(0, 1, 1)]);
    outbox.push(frame::text("bye"));
    outbox.finish();
    outbox.deliver(&[event(0, 2, 1)]);
    outbox.push(frame::text("late"));
    assert_eq!(received(&outbox), ["time 1", "100@1+1", "bye"]);
}

#[test]
fn who_hung_up_gets_frames_but_no_messages() {
    let outbox = outbox(10_000);
    outbox.deliver(&[event(0, 1, 1)]);
    outbox.push(frame::text("bye"));
    outbox.clear_messages();
    assert_eq!(outbox.waiting_bytes(), 0);
    assert_eq!(received(&outbox), ["bye"]);
}

proptest! {
    /// Whatever comes: the bound holds, what is sent is in order, and sent and dropped add up.
    #[test]
    fn sent_and_dropped_messages_add_up_within_the_bound(
        sizes in prop::collection::vec((0..CHANNELS as u32, 0..3000usize), 1..300),
        limit in 200..50_000usize,
    ) {
        let outbox = outbox(limit);
        for (time, (channel, size)) in sizes.iter().enumerate() {
            outbox.deliver(&[event(*channel, time as u64, *size)]);
            prop_assert!(outbox.waiting_bytes() <= limit.max(size + OVERHEAD));
        }
        let dropped = outbox.counts().dropped_total() as usize;
        let received = received(&outbox);
        let times: Vec<usize> = received
            .iter()
            .filter_map(|frame| frame.strip_prefix("time "))
            .map(|time| time.parse().unwrap())
            .collect();
        prop_assert!(times.is_sorted());
        prop_assert_eq!(received.len() - times.len() + dropped, sizes.len());
        prop_assert_eq!(outbox.counts().sent as usize + dropped, sizes.len());
    }
}
