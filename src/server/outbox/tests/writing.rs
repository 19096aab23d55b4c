//! What is written when, and by whom.

use std::sync::Arc;

use tokio::io::AsyncReadExt as _;

use super::*;
use crate::server::socket::drain;
use crate::server::wire::testing::connection;

/// The sizes of the payloads in what is written next.
fn next_sizes(outbox: &Outbox, load: Load) -> Vec<usize> {
    let mut batch = Batch::default();
    outbox.lock().take(&mut batch, load);
    batch.messages().iter().map(|message| message.bytes).collect()
}

#[test]
fn what_is_large_waits_for_its_turn_and_what_follows_it_too() {
    let outbox = outbox(10 << 20);
    let sizes = [10, LARGE, LARGE + 1, 20, 16 * LARGE, 30];
    let events: Vec<Event> = (0..).zip(sizes).map(|(time, size)| event(0, time, size)).collect();
    deliver(&outbox, &events);
    assert_eq!(next_sizes(&outbox, Load::UpTo(LARGE)), [10, LARGE]);
    assert!(next_sizes(&outbox, Load::UpTo(LARGE)).is_empty());
    // Of two large ones each has a turn of its own.
    assert_eq!(next_sizes(&outbox, Load::Any), [LARGE + 1, 20]);
    assert!(next_sizes(&outbox, Load::UpTo(LARGE)).is_empty());
    // However large it is, what is small has room behind it.
    assert_eq!(next_sizes(&outbox, Load::Any), [16 * LARGE, 30]);
    outbox.push(Bytes::from(vec![0; LARGE + 1]));
    assert!(next_sizes(&outbox, Load::UpTo(LARGE)).is_empty());
    assert!(!outbox.lock().is_empty());
}

#[test]
fn what_is_small_goes_with_what_is_large_up_to_a_limit() {
    let outbox = outbox(10 << 20);
    let events: Vec<Event> =
        (0..200).map(|time| event(0, time, if time == 0 { 20 * LARGE } else { 4000 })).collect();
    deliver(&outbox, &events);
    let bytes: usize = next_sizes(&outbox, Load::Any).iter().skip(1).sum();
    assert!((250_000..=270_000).contains(&bytes), "{bytes}");
}

#[test]
fn it_says_whether_something_waited_before() {
    let outbox = outbox(1 << 20);
    let now = Instant::now();
    let deliver = |time| outbox.deliver(&[event(0, time, 10)], Timestamp::MIN, now);
    assert_eq!(deliver(1), Delivery { filled: true, behind: false, idle: false });
    assert_eq!(deliver(2), Delivery { filled: true, behind: true, idle: false });
    next_sizes(&outbox, Load::Any);
    assert_eq!(deliver(3), Delivery { filled: true, behind: false, idle: false });
    outbox.unsubscribe(100);
    assert_eq!(deliver(4), Delivery { filled: false, behind: false, idle: false });
}

/// Gives a client a share, and counts how often it tells that it was the last one.
fn give_share(outbox: &Outbox) -> (ShareWatch, Arc<AtomicUsize>) {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    outbox.when_it_may_go_on(Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let share = Share::default();
    let watch = share.watch();
    outbox.take_share(share);
    (watch, told)
}

#[tokio::test]
async fn who_waits_hears_when_what_was_left_is_written() {
    let outbox = outbox(10 << 20);
    let (_client, wire) = connection().await;
    outbox.connect(wire);
    deliver(&outbox, &[event(0, 1, 10), event(0, 2, LARGE + 1), event(0, 3, LARGE + 1)]);
    let (watch, told) = give_share(&outbox);
    assert!(!outbox.write_light(LARGE));
    assert!(!watch.is_written());
    assert_eq!(outbox.write_some().unwrap(), Wrote::Some);
    assert!(!watch.is_written());
    assert_eq!(told.load(Ordering::Relaxed), 0);
    assert_eq!(outbox.write_some().unwrap(), Wrote::Everything);
    assert!(watch.is_written());
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nothing_is_written_before_it_is_due() {
    let outbox = outbox(10 << 20);
    let (_client, wire) = connection().await;
    outbox.connect(wire);
    let soon = Instant::now() + Duration::from_secs(3600);
    outbox.deliver(&[event(0, 1, 10)], Timestamp::MIN, soon);
    assert!(!outbox.write_light(LARGE));
    assert_eq!(outbox.write_some().unwrap(), Wrote::Some);
    assert_eq!(outbox.written(), 0);
    deliver(&outbox, &[event(0, 2, 10)]);
    assert_eq!(outbox.write_some().unwrap(), Wrote::Everything);
    assert_eq!(outbox.counts().sent, 2);
}

#[tokio::test]
async fn what_is_large_is_written_one_by_one_and_what_is_larger_is_not() {
    const MOST: usize = LARGE + 1;
    let outbox = outbox(10 << 20);
    let (_client, wire) = connection().await;
    outbox.connect(wire);
    let large =
        [event(0, 1, 10), event(0, 2, MOST), event(0, 3, 10), event(0, 4, MOST), event(0, 5, MOST + 1)];
    deliver(&outbox, &large);
    let mut sent = Vec::new();
    for _ in 0..3 {
        assert!(!outbox.write_large(MOST));
        sent.push(outbox.counts().sent);
    }
    assert_eq!(sent, [3, 4, 4]);
}

#[tokio::test]
async fn nobody_waits_for_a_client_that_takes_no_more() {
    const HUGE: usize = 16 << 20;
    let slow = outbox(2 * HUGE);
    let (_client, wire) = connection().await;
    slow.connect(wire);
    deliver(&slow, &[event(0, 1, HUGE)]);
    let (watch, told) = give_share(&slow);
    assert!(!watch.is_written());
    assert_eq!(slow.write_some().unwrap(), Wrote::Some);
    assert_eq!(slow.write_some().unwrap(), Wrote::Some);
    assert!(slow.written() > 0);
    assert!(watch.is_written());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    // Nothing waits but the rest of what is half written. It takes no share of what comes then.
    deliver(&slow, &[event(0, 2, 10)]);
    assert!(!slow.write_light(LARGE));
    slow.take_share(Share::default());
    assert!(slow.lock().share.is_none());
    // Nor for one that leaves, or is about to.
    for end in [Outbox::return_share, Outbox::abandon, Outbox::give_up, Outbox::cut_off] {
        let outbox = outbox(1 << 20);
        deliver(&outbox, &[event(0, 1, 10)]);
        let (watch, told) = give_share(&outbox);
        assert!(!watch.is_written());
        end(&outbox);
        assert!(watch.is_written());
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
    slow.abandon();
    slow.lock().blocked = false;
    slow.take_share(Share::default());
    assert!(slow.lock().share.is_none());
}

#[tokio::test]
async fn what_is_half_written_is_finished_by_who_waits_for_it() {
    // More than the system takes for a client that does not read.
    const HUGE: usize = 16 << 20;
    let outbox = Arc::new(outbox(2 * HUGE));
    let (mut client, wire) = connection().await;
    outbox.connect(Arc::clone(&wire));
    deliver(&outbox, &[event(0, 1, 10)]);
    assert!(outbox.write_light(LARGE));
    deliver(&outbox, &[event(0, 2, HUGE), event(0, 3, 20)]);
    assert_eq!(outbox.write_some().unwrap(), Wrote::Some);
    let written = outbox.written();
    assert!(!outbox.write_light(LARGE));
    assert_eq!(outbox.written(), written);
    outbox.finish(frame::text("end"));
    let writing = tokio::spawn(drain(Arc::clone(&outbox), wire));
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    writing.await.unwrap().unwrap();
    let huge = format!("100@2+{HUGE}");
    assert_eq!(frames(&bytes), ["time 1", "100@1+10", "time 2", &huge, "time 3", "100@3+20", "end"]);
}
