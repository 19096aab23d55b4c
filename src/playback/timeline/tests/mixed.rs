//! Commands of all kinds at any instants.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    /// It is polled so many microseconds ahead of time.
    Ahead(u64),
    Seek(u64),
    Hiccup(Vec<bool>),
    Command(Command),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..200u64).prop_map(Step::Pass),
        3 => (1..100u64).prop_map(Step::Ahead),
        2 => prop::collection::vec(any::<bool>(), 0..6).prop_map(Step::Hiccup),
        1 => Just(Step::Command(Command::Play)),
        1 => Just(Step::Command(Command::Pause)),
        1 => (0..1200u64).prop_map(Step::Seek),
        1 => Just(Step::Command(Command::Toggle)),
        1 => (0..5u64).prop_map(|count| Step::Command(Command::Step(count))),
        1 => Just(Step::Command(Command::StepBack)),
        1 => any::<bool>().prop_map(|loops| Step::Command(Command::SetLoop(loops))),
        1 => (0.1..20f64).prop_map(|factor| Step::Command(Command::SetRate(Rate::new(factor).unwrap()))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is commanded and whenever it is polled: between two jumps come the messages from the
    /// jump's target on, in order, none twice, none missing, none before it is due.
    #[test]
    fn any_mix_of_commands_and_instants_plays_in_order_once_and_whole(
        mut times in prop::collection::vec(0..1000u64, 1..40),
        steps in prop::collection::vec(step(), 0..60),
        repeat in prop_oneof![Just(Repeat::Times(1)), Just(Repeat::Times(3)), Just(Repeat::Forever)],
        // Also where many are due together.
        unit in prop_oneof![Just(MS), Just(7_000)],
    ) {
        times.sort_unstable();
        let mut player = Player::with_unit(unit, &times, 1.0, repeat);
        let range = player.timeline.options.range;
        let all = player.timeline.feed.messages.clone();
        let mut now = player.start;
        // What a listener may hear next.
        let mut expected = 0;
        let mut last_time = range.start;
        let mut state_due = true;
        let mut check = |events: &[Event], position: Position, now: Instant| {
            for event in events {
                match event {
                    Event::Message(message, _) => {
                        prop_assert_eq!(Some(message), all.get(expected));
                        prop_assert!(!state_due);
                        prop_assert!(message.log_time >= last_time);
                        last_time = message.log_time;
                        expected += 1;
                    }
                    Event::Jumped(to) | Event::Looped(to) => {
                        expected = all.partition_point(|message| message.log_time < *to);
                        last_time = *to;
                        state_due = true;
                    }
                    Event::Lookback(state) => {
                        prop_assert!(state_due);
                        state_due = false;
                        // After a step back time stands at the last message that was played.
                        if state.iter().any(|message| message.log_time == last_time) {
                            expected = all.partition_point(|message| message.log_time <= last_time);
                        }
                        let next = all.get(expected).map_or(nanos(u64::MAX), |message| message.log_time);
                        let model = Memory { messages: all.clone(), start: range.start, next: 0, lookback: None, late: vec![], hiccups: vec![], hurries: false };
                        prop_assert_eq!(state, &model.state_before(next));
                    }
                    Event::Tick(time) => {
                        prop_assert!(*time >= last_time);
                        prop_assert!(all.get(expected).is_none_or(|message| *time <= message.log_time));
                        last_time = *time;
                    }
                    Event::Ended(time) => {
                        prop_assert_eq!(expected, all.len());
                        prop_assert_eq!(*time, range.end);
                    }
                    Event::Skipped(_) => prop_assert!(false, "no gap is to be skipped"),
                    Event::Stalled(_) => {}
                }
            }
            let shown = position.time_at(now);
            prop_assert!(shown >= range.start && shown <= range.end);
            Ok(())
        };
        for step in steps {
            let mut events = Vec::new();
            let mut ahead = Duration::ZERO;
            match step {
                Step::Pass(time) => now += Duration::from_nanos(time * unit),
                Step::Ahead(micros) => ahead = Duration::from_micros(micros),
                Step::Seek(time) => {
                    player.timeline.apply(Command::Seek(nanos(time * unit)), now, &mut events);
                }
                Step::Hiccup(hiccups) => player.timeline.feed.hiccups = hiccups,
                Step::Command(command) => player.timeline.apply(command, now, &mut events),
            }
            let polled = now + ahead;
            let wake = player.timeline.poll(polled, &mut events);
            if let Wake::At(due) = wake {
                prop_assert!(due >= polled);
            }
            // What is handed out ahead of time is waited for; where there is nothing, it is not.
            if !events.is_empty() {
                now = polled;
            }
            let shown = player.timeline.position().time_at(now);
            let moved = |event: &Event| matches!(event, Event::Jumped(_) | Event::Looped(_));
            for event in events.iter().rev().take_while(|event| !moved(event)) {
                if let Event::Message(message, _) = event {
                    // To the nanosecond to which the clock rounds, at the highest rate.
                    prop_assert!(message.log_time <= nanos(shown.as_nanos() + 20), "it is not due yet");
                }
            }
            check(&events, player.timeline.position(), now)?;
        }
        // Left alone, what remains comes, each at the instant that the timeline itself names.
        player.timeline.feed.hiccups.clear();
        let mut events = Vec::new();
        player.timeline.apply(Command::SetRate(Rate::REAL_TIME), now, &mut events);
        if player.timeline.position().state == State::Paused {
            player.timeline.apply(Command::Play, now, &mut events);
        }
        player.timeline.more_passes = Repeat::Times(0);
        for _ in 0..200 {
            match player.timeline.poll(now, &mut events) {
                Wake::At(due) => now = due,
                Wake::Commanded => break,
                Wake::Fed => {}
            }
        }
        check(&events, player.timeline.position(), now)?;
        prop_assert_eq!(player.timeline.position().state, State::Ended);
    }
}
