//! Time in which there is no message: between messages, and between passes.

use super::*;

#[test]
fn silence_is_told_by_ticks_that_do_not_pass_the_next_message() {
    let mut player = Player::new(&[0, 10_000], 1.0, Repeat::Times(1));
    let mut events = Vec::new();
    player.timeline.poll(player.start, &mut events);
    events.clear();
    let wake = player.timeline.poll(player.start + millis(100), &mut events);
    assert_eq!((events, wake), (vec![Event::Tick(nanos(100 * MS))], player.wake_at(200)));
}

#[test]
fn a_gap_between_two_passes_lasts_as_long_as_it_is() {
    let mut player = player_with(&[0, 40], |options| {
        options.repeat = Repeat::Times(2);
        options.loop_gap = Duration::from_secs(2);
    });
    player.at(0);
    assert_eq!(player.at(40).0, ["m1"]);
    for offset in [300, 900, 2039] {
        assert_eq!(player.at(offset).0, [""; 0]);
        assert_eq!(player.timeline.position().time_at(player.start + millis(offset)), nanos(40 * MS));
    }
    assert_eq!(player.at(2040).0, ["back to 0", "m0"]);
    assert_eq!(player.at(2080).0, ["m1", "ended"]);
}

#[test]
fn a_long_silence_can_be_cut_short() {
    let mut player = player_with(&[0, 10_000, 10_040], |options| options.skip_gaps = Some(millis(200)));
    player.at(0);
    assert_eq!(player.timeline.position().skips_to, Some(nanos(10_000 * MS)));
    assert_eq!(player.at(199).0, [""; 0]);
    // A pause in it counts for nothing.
    player.command(Command::Pause, 199);
    player.command(Command::Play, 5000);
    assert_eq!(player.at(5000).0, [""; 0]);
    assert_eq!(player.timeline.position().time_at(player.start + millis(5000)), nanos(199 * MS));
    assert_eq!(player.at(5001), (vec!["skipped 9800".into(), "m1".into()], player.wake_at(5041)));
    assert_eq!(player.timeline.position().skips_to, None);
}

#[test]
fn also_the_silence_at_the_end_of_the_range_and_the_one_after_a_seek() {
    let mut player = player_with(&[0, 40], |options| {
        options.range.end = nanos(60_000 * MS);
        options.skip_gaps = Some(millis(100));
    });
    player.at(0);
    player.at(40);
    assert_eq!(player.at(140).0, ["skipped 59860", "ended"]);
    player.command(Command::Seek(nanos(30_000 * MS)), 1000);
    player.command(Command::Play, 1000);
    assert_eq!(player.at(1000).0, ["state 0,1"]);
    assert_eq!(player.at(1099).0, [""; 0]);
    assert_eq!(player.at(1100).0, ["skipped 29900", "ended"]);
}

#[test]
fn a_new_rate_does_not_start_a_gap_anew() {
    let mut player = player_with(&[1000, 1010], |options| {
        options.repeat = Repeat::Times(2);
        options.loop_gap = millis(100);
    });
    player.at(0);
    assert_eq!(player.at(10).0, ["m1"]);
    player.at(60);
    player.command(Command::SetRate(Rate::new(0.5).unwrap()), 60);
    // Half of the gap is over, and the rest takes twice as long.
    assert_eq!(player.at(159).0, [""; 0]);
    assert_eq!(player.at(160).0, ["back to 1000", "m0"]);
}

/// A player of two passes in the middle of the gap of 100 ms between them, at 60 ms.
fn in_the_middle_of_the_gap() -> Player {
    let mut player = player_with(&[1000, 1010], |options| {
        options.repeat = Repeat::Times(2);
        options.loop_gap = millis(100);
    });
    player.at(0);
    assert_eq!(player.at(10).0, ["m1"]);
    assert_eq!(player.at(60).0, [""; 0]);
    player
}

#[test]
fn who_pauses_in_a_gap_waits_only_for_the_rest_of_it() {
    let mut player = in_the_middle_of_the_gap();
    player.command(Command::Pause, 60);
    assert_eq!(player.at(500).0, [""; 0]);
    player.command(Command::Pause, 500);
    let at = player.start + millis(500);
    assert_eq!(player.timeline.position().time_at(at), nanos(1010 * MS));
    player.command(Command::Play, 1000);
    assert_eq!(player.at(1000).0, [""; 0]);
    assert_eq!(player.at(1049).0, [""; 0]);
    assert_eq!(player.at(1050).0, ["back to 1000", "m0"]);
    assert_eq!(player.at(1060).0, ["m1", "ended"]);
}

#[test]
fn a_gap_goes_on_where_it_was_when_those_who_listen_take_more_again() {
    let mut player = in_the_middle_of_the_gap();
    player.timeline.hold(player.start + millis(60));
    assert_eq!(player.at(1000).0, [""; 0]);
    assert_eq!(player.at(1020).0, [""; 0]);
    // Held again, and also sped up before it goes on.
    player.timeline.hold(player.start + millis(1020));
    player.command(Command::SetRate(Rate::new(2.0).unwrap()), 2000);
    assert_eq!(player.at(3000).0, [""; 0]);
    assert_eq!(player.at(3014).0, [""; 0]);
    assert_eq!(player.at(3015).0, ["back to 1000", "m0"]);
}

#[test]
fn who_goes_elsewhere_from_a_gap_waits_for_the_next_one_as_a_whole() {
    let mut player = in_the_middle_of_the_gap();
    player.command(Command::Pause, 60);
    player.command(Command::Seek(nanos(1010 * MS)), 60);
    player.command(Command::Play, 100);
    assert_eq!(player.at(100).0, ["state 0", "m1"]);
    assert_eq!(player.at(199).0, [""; 0]);
    assert_eq!(player.at(200).0, ["back to 1000", "m0"]);
}
