mod aside;
mod memory;
mod writing;

use std::io::IoSlice;
use std::sync::LazyLock;
use std::task::Waker;

use proptest::prelude::*;

use super::*;
use crate::recording::Memory;
use crate::server::outbox::waiting::OVERHEAD;

const CHANNELS: usize = 4;
const LAG: Duration = Duration::from_secs(2);

fn nanos(time: u64) -> Timestamp {
    Timestamp::from_nanos(time)
}

fn message(channel: u32, time: u64, size: usize) -> Message {
    let (log_time, publish_time) = (nanos(time), nanos(time));
    let data = Bytes::from(vec![channel as u8; size]);
    let memory = Memory::of(&data);
    Message { channel: ChannelId(channel), sequence: 0, log_time, publish_time, data, memory }
}

fn event(channel: u32, time: u64, size: usize) -> Event {
    Event::Message(message(channel, time, size), None)
}

fn deliver(outbox: &Outbox, events: &[Event]) {
    deliver_at(outbox, Timestamp::MIN, events);
}

/// As what happens after that position, and always at the same instant: so nobody was left without news for long.
fn deliver_at(outbox: &Outbox, position: Timestamp, events: &[Event]) {
    static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
    outbox.deliver(events, position, *NOW);
}

/// An outbox that is subscribed to every channel, each under the id of the channel plus 100.
fn outbox(limit: usize) -> Outbox {
    let outbox = Outbox::new(CHANNELS, limit, LAG);
    for channel in 0..CHANNELS as u32 {
        outbox.subscribe(Subscription { id: 100 + channel, channel: ChannelId(channel) }).unwrap();
    }
    outbox
}

#[test]
fn where_nothing_may_be_lost_it_says_when_there_is_room_again() {
    let outbox = outbox(1000);
    let (sender, room) = std::sync::mpsc::channel();
    outbox.when_it_may_go_on(Box::new(move || sender.send(()).unwrap()));
    outbox.lose_nothing(true);
    deliver(&outbox, &[event(0, 1, 300)]);
    assert!(outbox.has_room());
    deliver(&outbox, &[event(0, 2, 300), event(1, 3, 300), event(2, 4, 300)]);
    assert!(!outbox.has_room());
    assert!(room.try_recv().is_err());
    let got = received(&outbox);
    assert_eq!(got.iter().filter(|frame| frame.contains('@')).count(), 4);
    room.recv().unwrap();
}

#[test]
fn a_jump_and_a_hang_up_make_room() {
    let outbox = outbox(1000);
    let (sender, room) = std::sync::mpsc::channel();
    outbox.when_it_may_go_on(Box::new(move || sender.send(()).unwrap()));
    outbox.lose_nothing(true);
    deliver(&outbox, &[event(0, 1, 2000)]);
    assert!(!outbox.has_room());
    deliver(&outbox, &[Event::Jumped(nanos(5))]);
    room.try_recv().unwrap();
    deliver(&outbox, &[event(0, 6, 2000)]);
    assert!(!outbox.has_room());
    outbox.stop_messages();
    room.try_recv().unwrap();
    assert!(outbox.has_room());
}

fn waiting_bytes(outbox: &Outbox) -> usize {
    outbox.lock().waiting.bytes()
}

/// What a client gets until the outbox is finished: each frame in a few letters.
fn received(outbox: &Outbox) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        outbox.finish(frame::text("end"));
        let (mut batch, mut bytes) = (Batch::default(), Vec::new());
        while outbox.next_batch(&mut batch).await {
            while !batch.is_written() {
                // As a socket that takes a little at a time.
                let take = |parts: &[IoSlice<'_>]| {
                    let part = parts.iter().find(|part| !part.is_empty()).unwrap();
                    let count = part.len().min(7);
                    bytes.extend_from_slice(&part[..count]);
                    Ok(count)
                };
                batch.write_some(take).unwrap();
            }
            outbox.count_sent(&mut batch);
        }
        let mut frames = frames(&bytes);
        assert_eq!(frames.pop().as_deref(), Some("end"));
        frames
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
    deliver(&outbox, &[event(0, 5, 10), event(1, 5, 2000), event(0, 7, 70_000), Event::Looped(nanos(0))]);
    deliver(&outbox, &[event(2, 0, 0)]);
    let expected =
        ["hello", "time 5", "100@5+10", "101@5+2000", "time 7", "100@7+70000", "time 0", "102@0+0"];
    assert_eq!(received(&outbox), expected);
}

#[test]
fn the_greeting_has_the_time_between_server_info_and_channels() {
    let outbox = outbox(1 << 20);
    outbox.greet(frame::text("info"), nanos(7), &[frame::text("channels"), frame::text("more")]);
    deliver(&outbox, &[event(0, 7, 1)]);
    assert_eq!(received(&outbox), ["info", "time 7", "channels", "more", "100@7+1"]);
}

#[test]
fn messages_of_the_past_come_after_the_time_of_the_position() {
    let outbox = outbox(1 << 20);
    deliver(&outbox, &[Event::Jumped(nanos(50)), Event::Lookback(vec![message(0, 10, 1)])]);
    // It may take some time until the state before a place is found.
    deliver_at(&outbox, nanos(50), &[Event::Lookback(vec![message(1, 20, 1)])]);
    deliver(&outbox, &[event(1, 55, 1)]);
    outbox.deliver_past(nanos(55), &message(2, 30, 1));
    let expected = ["time 50", "100@10+1", "101@20+1", "time 55", "101@55+1", "102@30+1"];
    assert_eq!(received(&outbox), expected);
}

#[test]
fn a_seek_leaves_out_what_waits_and_a_loop_does_not() {
    let outbox = outbox(1 << 20);
    deliver(&outbox, &[event(0, 5, 10), Event::Looped(nanos(1)), event(0, 2, 10)]);
    assert_eq!(outbox.lock().waiting.len(), 2);
    deliver(&outbox, &[Event::Jumped(nanos(3)), event(0, 4, 10)]);
    assert_eq!(received(&outbox), ["time 3", "time 4", "100@4+10"]);
    assert_eq!(outbox.counts().dropped, 0);
}

#[test]
fn who_has_silent_topics_hears_that_time_passes() {
    let outbox = Outbox::new(CHANNELS, 1 << 20, LAG);
    outbox.subscribe(Subscription { id: 101, channel: ChannelId(1) }).unwrap();
    let start = Instant::now();
    for millis in 0..1000 {
        outbox.deliver(&[event(0, millis, 1)], nanos(millis), start + Duration::from_millis(millis));
        if millis % 100 == 99 {
            let mut batch = Batch::default();
            outbox.lock().take(&mut batch, Load::Any);
            assert!(!batch.is_empty(), "{millis}");
        }
    }
    assert_eq!(outbox.counts().offered_bytes, 0);
}

#[test]
fn only_what_is_subscribed_to_is_sent() {
    let outbox = Outbox::new(CHANNELS, 1 << 20, LAG);
    let subscribe = || outbox.subscribe(Subscription { id: 101, channel: ChannelId(1) }).unwrap();
    subscribe();
    deliver(&outbox, &[event(0, 2, 1), event(1, 2, 1)]);
    assert_eq!(outbox.unsubscribe(101), Some(ChannelId(1)));
    assert_eq!(outbox.unsubscribe(101), None);
    deliver(&outbox, &[event(1, 3, 1)]);
    subscribe();
    deliver(&outbox, &[event(1, 4, 1)]);
    assert_eq!(received(&outbox), ["time 4", "101@4+1"]);
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
    deliver(&outbox, &[event(3, 0, 10)]);
    for time in 1..200 {
        deliver(&outbox, &[event(0, time, 10_000), event(1, time, 10)]);
    }
    let dropped = outbox.tallies().into_iter().filter(|(_, tally)| tally.dropped > 0);
    assert_eq!(dropped.map(|(channel, _)| channel).collect::<Vec<_>>(), [ChannelId(0)]);
    assert!(waiting_bytes(&outbox) <= 100_000);
    let dropped = outbox.counts().dropped;
    let received = received(&outbox);
    assert_eq!(received[..2], ["time 0", "103@0+10"]);
    assert_eq!(received.iter().filter(|frame| frame.starts_with("101@")).count(), 199);
    let camera: Vec<_> = received.iter().filter(|frame| frame.starts_with("100@")).collect();
    assert_eq!(camera.last().unwrap().as_str(), "100@199+10000");
    assert_eq!(camera.len() as u64 + dropped, 199);
}

#[test]
fn where_even_the_newest_messages_are_too_much_the_bound_holds() {
    let outbox = outbox(1000);
    for time in 0..10_000u32 {
        deliver(&outbox, &[event(time % 4, u64::from(time), 900)]);
        assert!(waiting_bytes(&outbox) <= 1000);
    }
    assert!(outbox.lock().waiting.order_len() < 100);
}

#[test]
fn a_message_larger_than_the_outbox_is_sent_all_the_same() {
    let outbox = outbox(1000);
    deliver(&outbox, &[event(0, 1, 10), event(1, 2, 5000)]);
    assert_eq!(received(&outbox), ["time 2", "101@2+5000"]);
}

#[test]
fn answers_wait_for_a_client_that_does_not_read_them() {
    let outbox = outbox(10_000);
    let frame = frame::text(&"x".repeat(1000));
    let taken = (0..10_000).filter(|_| outbox.push_answer(frame.clone())).count();
    assert!((200..300).contains(&taken), "{taken}");
    let context = Context::from_waker(Waker::noop());
    assert!(outbox.poll_push_answer(&context, b"pong").is_pending());
    outbox.lock().take(&mut Batch::default(), Load::Any);
    assert!(outbox.poll_push_answer(&context, b"pong").is_ready());
}

#[test]
fn tiny_answers_that_nobody_reads_are_bounded_as_well() {
    let outbox = outbox(10_000);
    let context = Context::from_waker(Waker::noop());
    let taken = (0..100_000).filter(|_| outbox.poll_push_answer(&context, b"\x8a\0").is_ready()).count();
    assert!(taken < 10_000, "{taken}");
}

#[test]
fn nothing_comes_after_the_last_frame() {
    let outbox = outbox(10_000);
    deliver(&outbox, &[event(0, 1, 1)]);
    outbox.finish(frame::text("end"));
    deliver(&outbox, &[event(0, 2, 1)]);
    outbox.push(frame::text("late"));
    assert_eq!(received(&outbox), ["time 1", "100@1+1"]);
}

#[test]
fn who_hung_up_gets_frames_but_no_messages() {
    let outbox = outbox(10_000);
    deliver(&outbox, &[event(0, 1, 1)]);
    outbox.push(frame::text("bye"));
    outbox.stop_messages();
    deliver(&outbox, &[event(0, 2, 1)]);
    outbox.push_answer(frame::text("closed"));
    assert_eq!(received(&outbox), ["bye", "closed"]);
}

#[test]
fn what_a_client_did_not_take_is_undelivered() {
    let outbox = outbox(1 << 20);
    for time in 0..10 {
        deliver(&outbox, &[event(0, time, 100_000)]);
    }
    outbox.lock().take(&mut Batch::default(), Load::Any);
    outbox.give_up();
    assert_eq!((outbox.counts().sent, outbox.counts().undelivered), (0, 10));
}

#[test]
fn what_a_client_that_is_gone_did_not_take_is_skipped() {
    let outbox = outbox(1 << 20);
    deliver(&outbox, &[event(0, 1, 10), event(1, 2, 20)]);
    outbox.lock().take(&mut outbox.pen().batch, Load::Any);
    deliver(&outbox, &[event(1, 3, 10)]);
    outbox.abandon();
    let tallies: Vec<Tally> = outbox.tallies().into_values().filter(|tally| tally.skipped > 0).collect();
    assert_eq!(tallies.iter().map(|tally| tally.skipped).collect::<Vec<_>>(), [1, 2]);
    assert!(tallies.iter().all(|tally| tally.undelivered == 0));
    assert_eq!(outbox.counts().undelivered, 0);
    // What is given up is not written any more, and so not counted twice.
    outbox.write_some().unwrap();
    assert_eq!(outbox.counts().sent, 0);
}

#[test]
fn what_a_client_is_cut_off_from_is_undelivered_and_counted_once() {
    let outbox = outbox(1 << 20);
    deliver(&outbox, &[event(0, 1, 10)]);
    outbox.lock().take(&mut outbox.pen().batch, Load::Any);
    deliver(&outbox, &[event(0, 2, 10), event(0, 3, 10)]);
    outbox.finish(frame::text("end"));
    outbox.cut_off();
    assert_eq!(outbox.counts().undelivered, 2);
    outbox.give_up();
    assert_eq!(outbox.counts().undelivered, 3);
    assert_eq!(outbox.tallies()[&ChannelId(0)].undelivered, 3);
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
            deliver(&outbox, &[event(*channel, time as u64, *size)]);
            prop_assert!(waiting_bytes(&outbox) <= limit.max(size + OVERHEAD));
        }
        let dropped = outbox.counts().dropped as usize;
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

#[test]
fn what_becomes_of_messages_is_counted_by_channel() {
    let outbox = outbox(1 << 20);
    deliver(&outbox, &[event(0, 1, 10), event(1, 2, 20), event(2, 3, 30)]);
    assert_eq!(outbox.unsubscribe(101), Some(ChannelId(1)));
    let mut batch = Batch::default();
    outbox.lock().take(&mut batch, Load::Any);
    outbox.count_sent(&mut batch);
    deliver(&outbox, &[event(0, 4, 40), event(3, 5, 50), Event::Jumped(nanos(0)), event(3, 6, 60)]);
    outbox.give_up();
    let tallies = outbox.tallies();
    let tally = |channel| {
        let Tally { sent, sent_bytes, dropped, skipped, undelivered } = tallies[&ChannelId(channel)];
        [sent, sent_bytes, dropped, skipped, undelivered]
    };
    assert_eq!(tally(0), [1, 10, 0, 1, 0]);
    assert_eq!(tally(1), [0, 0, 0, 1, 0]);
    assert_eq!(tally(2), [1, 30, 0, 0, 0]);
    assert_eq!(tally(3), [0, 0, 0, 1, 1]);
    assert_eq!(outbox.counts().undelivered, 1);
}

#[test]
fn what_waits_too_long_is_left_out_but_little_of_small_topics_and_never_the_newest() {
    let (outbox, start) = (outbox(1 << 30), Instant::now());
    let at = |second| start + Duration::from_secs(second);
    // Nobody reads. A state once, a log now and then, and a camera.
    outbox.deliver(&[event(0, 1, 50)], Timestamp::MIN, at(0));
    for second in 0..3 {
        let camera = (0..10).map(|frame| event(1, 10 + second * 10 + frame, 100_000));
        let events: Vec<Event> = camera.chain([event(2, 19 + second * 10, 20)]).collect();
        // The socket takes 600 kB a second.
        outbox.written.store(second * 600_000, Ordering::Relaxed);
        outbox.deliver(&events, nanos(10 + second * 10), at(second));
    }
    assert_eq!(outbox.counts().dropped, 30 - 1 - 11);
    let got = received(&outbox);
    let of =
        |channel: u32| got.iter().filter(|frame| frame.starts_with(&format!("{}@", 100 + channel))).count();
    assert_eq!([of(0), of(1), of(2)], [1, 12, 3]);
    assert!(got.contains(&"101@39+100000".to_owned()), "the newest of the camera");
}

#[test]
fn who_loses_nothing_for_a_while_is_bounded_before_and_after_it() {
    let outbox = outbox(1000);
    let fill = |from: u64| (from..from + 10).for_each(|time| deliver(&outbox, &[event(0, time, 300)]));
    fill(0);
    let dropped = outbox.counts().dropped;
    assert!(dropped > 0);
    outbox.lose_nothing(true);
    fill(10);
    assert_eq!(outbox.counts().dropped, dropped);
    assert!(!outbox.has_room());
    outbox.lose_nothing(false);
    fill(20);
    assert!(outbox.counts().dropped > dropped);
    assert!(waiting_bytes(&outbox) <= 1000);
}

#[test]
fn who_loses_nothing_may_lag() {
    let (outbox, start) = (outbox(1 << 30), Instant::now());
    outbox.lose_nothing(true);
    for second in 0..30 {
        outbox.deliver(&[event(0, second, 1000)], nanos(second), start + Duration::from_secs(second));
    }
    assert_eq!(outbox.counts().dropped, 0);
    assert_eq!(outbox.lock().waiting.len(), 30);
}
