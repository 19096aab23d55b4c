//! Steps, on and back.

use super::*;

#[test]
fn a_step_plays_the_next_message_and_stands() {
    let mut player = Player::new(&[0, 40, 40, 90], 1.0, Repeat::Times(1));
    player.at(0);
    player.command(Command::Step(1), 10);
    assert_eq!(player.at(10), (vec!["m1".into()], Wake::Commanded));
    let position = player.timeline.position();
    assert_eq!((position.state, position.stepped), (State::Paused, 1));
    assert_eq!(position.time_at(player.start), nanos(40 * MS));
    player.command(Command::Play, 50);
    assert_eq!(player.at(50), (vec!["m2".into()], player.wake_at(100)));
}

#[test]
fn a_burst_plays_many_and_ends_with_the_pass() {
    let mut player = Player::new(&[0, 40, 80], 1.0, Repeat::Forever);
    player.command(Command::Step(2), 0);
    assert_eq!(player.at(0), (vec!["m0".into(), "m1".into()], Wake::Commanded));
    player.command(Command::Step(50), 0);
    assert_eq!(player.at(0), (vec!["m2".into(), "back to 0".into()], Wake::Commanded));
    assert_eq!((player.timeline.position().stepped, player.timeline.steps()), (3, 3));
    player.command(Command::SetLoop(false), 0);
    player.command(Command::Step(50), 0);
    assert_eq!(player.at(0).0, ["m0", "m1", "m2", "ended"]);
}

#[test]
fn a_step_back_undoes_the_last_message() {
    let mut player = Player::new(&[0, 40, 80, 120], 1.0, Repeat::Times(1));
    player.at(0);
    player.at(85);
    player.command(Command::StepBack, 90);
    assert_eq!(player.at(90), (vec!["to 40".into(), "state 0,1".into()], Wake::Commanded));
    player.command(Command::Step(1), 90);
    assert_eq!(player.at(90).0, ["m2"]);
    for expected in [&["to 40", "state 0,1"][..], &["to 0", "state 0"], &["to 0"], &["to 0"]] {
        player.command(Command::StepBack, 90);
        assert_eq!(player.at(90).0, expected);
    }
    player.command(Command::Step(1), 90);
    assert_eq!(player.at(90).0, ["m0"]);
}

#[test]
fn steps_back_that_come_faster_than_they_are_found_add_up() {
    let mut player = Player::new(&[0, 40, 80, 120], 1.0, Repeat::Times(1));
    player.at(0);
    player.at(120);
    for _ in 0..2 {
        player.command(Command::StepBack, 130);
    }
    player.command(Command::Step(1), 130);
    assert!(player.timeline.is_stepping());
    assert_eq!(player.at(130).0, ["to 40", "state 0,1", "m2"]);
    player.command(Command::StepBack, 130);
    player.command(Command::Play, 130);
    assert_eq!(player.at(130), (vec!["to 40".into(), "state 0,1".into()], player.wake_at(170)));
}

#[test]
fn steps_that_come_faster_than_they_are_played_add_up() {
    let mut player = Player::new(&[1000, 1010, 1020, 1030], 1.0, Repeat::Times(1));
    player.command(Command::Pause, 0);
    player.timeline.feed.hiccups = vec![true];
    player.command(Command::Step(1), 0);
    assert_eq!(player.at(0), (vec![], Wake::Fed));
    player.command(Command::Step(2), 1);
    assert_eq!(player.at(1).0, ["m0", "m1", "m2"]);
    assert_eq!(player.timeline.position().stepped, 3);
}

#[test]
fn steps_that_follow_on_a_step_back_add_up_as_well() {
    let mut player = Player::new(&[1000, 1010, 1020, 1030, 1040, 1050, 1060], 1.0, Repeat::Times(1));
    player.at(0);
    assert_eq!(player.at(10).0, ["m1"]);
    player.command(Command::StepBack, 10);
    player.command(Command::Step(2), 10);
    player.command(Command::Step(3), 10);
    assert_eq!(
        player.at(10),
        (["to 1000", "state 0", "m1", "m2", "m3", "m4", "m5"].map(String::from).to_vec(), Wake::Commanded)
    );
    assert_eq!(player.timeline.position().stepped, 5);
}

#[test]
fn a_seek_while_a_step_back_is_looked_for_goes_on_as_playback_would() {
    let mut player = Player::new(&[1000, 1010, 1020], 1.0, Repeat::Times(1));
    player.at(15);
    player.command(Command::StepBack, 15);
    player.command(Command::Play, 15);
    player.command(Command::Seek(nanos(1020 * MS)), 15);
    assert_eq!(player.at(15).0, ["state 0,1", "m2", "ended"]);
}

#[test]
fn who_stops_while_a_step_back_is_looked_for_sees_no_older_state() {
    let mut player = Player::new(&[1000, 1010, 1020], 1.0, Repeat::Times(1));
    player.at(15);
    player.timeline.feed.hiccups = vec![true, true];
    player.command(Command::StepBack, 15);
    assert_eq!(player.at(15).0, [""; 0]);
    assert_eq!(player.command(Command::Stop, 16), ["ended"]);
    assert_eq!(player.at(17).0, [""; 0]);
    // What follows a new start is the state there.
    player.command(Command::Play, 20);
    assert_eq!(player.at(20).0, ["m0"]);
}
