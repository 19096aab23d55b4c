//! Playback as parameters: what viewers without a play bar read and set.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::frame;
use crate::foxglove::{Parameter, ServerMessage, shortened};
use crate::playback::{Command, Position, Range, Rate, State};

/// How many parameters in one message are looked at.
const MOST_SET: usize = 100;

/// A property of playback that is offered as a parameter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Property {
    Paused,
    Rate,
    Position,
    Loop,
}

impl Property {
    pub const ALL: [Property; 4] = [Property::Paused, Property::Rate, Property::Position, Property::Loop];

    /// The parameter's name.
    pub const fn name(self) -> &'static str {
        match self {
            Property::Paused => "/fgplay/paused",
            Property::Rate => "/fgplay/rate",
            Property::Position => "/fgplay/position",
            Property::Loop => "/fgplay/loop",
        }
    }

    /// The property of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|property| property.name() == name)
    }

    fn value(self, position: &Position, range: Range, now: Instant) -> Value {
        match self {
            Property::Paused => json!(is_paused(position)),
            Property::Rate => json!(position.rate.factor()),
            Property::Position => json!(position.time_at(now).since(range.start).as_secs_f64()),
            Property::Loop => json!(position.repeats),
        }
    }

    /// The parameter with the value that it has.
    fn parameter(self, position: &Position, range: Range, now: Instant) -> Parameter {
        let is_number = matches!(self, Property::Rate | Property::Position);
        Parameter {
            name: self.name().into(),
            value: Some(self.value(position, range, now)),
            // JSON does not tell 1.0 from 1 everywhere.
            value_type: is_number.then(|| "float64".into()),
        }
    }

    /// What setting the parameter to a value asks for, or what value it takes.
    fn command(self, value: &Value, range: Range) -> Result<Command, String> {
        let wrong = |takes: &str| {
            let value = shortened(&value.to_string());
            format!("{} takes {takes}, and {value} was given; the old value is kept", self.name())
        };
        match self {
            Property::Paused => match value.as_bool() {
                Some(true) => Ok(Command::Pause),
                Some(false) => Ok(Command::Play),
                None => Err(wrong("true or false")),
            },
            Property::Rate => {
                let rate = value.as_f64().and_then(|factor| Rate::asked(factor).ok());
                rate.map(Command::SetRate).ok_or_else(|| wrong("a positive number up to 1000"))
            }
            Property::Position => match value.as_f64() {
                Some(seconds) => Ok(seek(range, seconds)),
                None => Err(wrong("a number of seconds since the start")),
            },
            Property::Loop => value.as_bool().map(Command::SetLoop).ok_or_else(|| wrong("true or false")),
        }
    }
}

/// Whether time stands because somebody wanted it so, or is over; not where playback only waits for clients.
pub(super) fn is_paused(position: &Position) -> bool {
    match position.state {
        State::Paused => position.commanded,
        state => state == State::Ended,
    }
}

/// Goes to so many seconds after the start. What is beyond an end is clamped by the timeline.
pub(super) fn seek(range: Range, seconds: f64) -> Command {
    // Negative and NaN become the start.
    let offset = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    Command::Seek(range.start.saturating_add(offset))
}

/// What setting these parameters asks for, and what is wrong with some of them.
pub(super) fn commands(parameters: &[Parameter], range: Range) -> (Vec<Command>, Vec<String>) {
    let mut commands = Vec::new();
    let mut mistakes = Vec::new();
    // Who sets one several times means the last one.
    let last_of = |place: usize, name: &str| parameters[place + 1..].iter().all(|later| later.name != name);
    for (place, parameter) in parameters.iter().enumerate().take(MOST_SET) {
        let command = match (Property::named(&parameter.name), &parameter.value) {
            (Some(property), Some(value)) => property.command(value, range),
            (Some(property), None) => Err(format!("{} can't be unset", property.name())),
            (None, _) => {
                let names = Property::ALL.map(Property::name).join(", ");
                let name = shortened(&parameter.name);
                Err(format!("there is no parameter '{name}' here; there are {names}"))
            }
        };
        match command {
            Ok(command) if last_of(place, &parameter.name) => commands.push(command),
            Ok(_) => {}
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if parameters.len() > MOST_SET {
        mistakes.push(format!("the first {MOST_SET} parameters of a message are looked at, and no more"));
    }
    // The place before whether to play from there.
    commands.sort_by_key(|command| !matches!(command, Command::Seek(_)));
    (commands, mistakes)
}

/// Some of the parameters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Properties(u8);

impl Properties {
    /// Those of these names; all of them where there are none. Other names are left out.
    pub fn named(names: &[String]) -> Self {
        if names.is_empty() {
            return Property::ALL.into_iter().collect();
        }
        names.iter().filter_map(|name| Property::named(name)).collect()
    }

    pub fn contains(self, property: Property) -> bool {
        self.0 & (1 << property as u8) != 0
    }

    pub fn with(self, others: Self) -> Self {
        Properties(self.0 | others.0)
    }

    pub fn without(self, others: Self) -> Self {
        Properties(self.0 & !others.0)
    }

    pub fn common(self, others: Self) -> Self {
        Properties(self.0 & others.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The parameters with the values that they have.
    fn parameters(self, position: &Position, range: Range) -> Vec<Parameter> {
        let now = Instant::now();
        let wanted = Property::ALL.into_iter().filter(|property| self.contains(*property));
        wanted.map(|property| property.parameter(position, range, now)).collect()
    }

    /// A frame that tells these parameters, as the answer to the request `id` where there is one.
    pub fn frame(self, position: &Position, range: Range, id: Option<&str>) -> Bytes {
        let parameters = &self.parameters(position, range);
        frame::text(&ServerMessage::ParameterValues { parameters, id }.to_json())
    }
}

impl FromIterator<Property> for Properties {
    fn from_iter<I: IntoIterator<Item = Property>>(properties: I) -> Self {
        Properties(properties.into_iter().fold(0, |set, property| set | (1 << property as u8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    const RANGE: Range =
        Range { start: Timestamp::from_nanos(5_000_000_000), end: Timestamp::from_nanos(9_000_000_000) };

    fn parameter(name: &str, value: Value) -> Parameter {
        Parameter { name: name.into(), value: Some(value), value_type: None }
    }

    #[test]
    fn what_is_set_becomes_commands_and_the_place_comes_first() {
        let parameters = [
            parameter("/fgplay/paused", json!(false)),
            parameter("/fgplay/rate", json!(2)),
            parameter("/fgplay/loop", json!(true)),
            parameter("/fgplay/position", json!(1.5)),
        ];
        let expected = vec![
            Command::Seek(Timestamp::from_nanos(6_500_000_000)),
            Command::Play,
            Command::SetRate(Rate::new(2.0).unwrap()),
            Command::SetLoop(true),
        ];
        assert_eq!(commands(&parameters, RANGE), (expected, vec![]));
    }

    #[test]
    fn of_a_parameter_that_is_set_often_the_last_value_counts() {
        let many: Vec<_> = (1..=5000).map(|n| parameter("/fgplay/rate", json!(n))).collect();
        assert_eq!(commands(&many[..50], RANGE).0, [Command::SetRate(Rate::new(50.0).unwrap())]);
        let (set, mistakes) = commands(&many, RANGE);
        assert_eq!((set.len(), mistakes.len()), (0, 1));
    }

    #[test]
    fn places_beyond_the_recording_are_left_to_the_timeline() {
        for (seconds, expected) in [(-7.0, RANGE.start), (1e300, Timestamp::MAX)] {
            assert_eq!(seek(RANGE, seconds), Command::Seek(expected));
        }
    }

    #[test]
    fn a_bad_value_is_explained_and_asks_for_nothing() {
        for (name, value) in [
            ("/fgplay/paused", json!(1)),
            ("/fgplay/rate", json!(0)),
            ("/fgplay/rate", json!(-1.0)),
            ("/fgplay/rate", json!("2")),
            ("/fgplay/position", json!([1])),
            ("/fgplay/loop", json!("yes")),
            ("/other", json!(1)),
        ] {
            let (commands, mistakes) = commands(&[parameter(name, value)], RANGE);
            assert_eq!(commands, []);
            assert!(mistakes[0].contains(name), "{mistakes:?}");
        }
        let unset = Parameter { value: None, ..parameter("/fgplay/rate", json!(1)) };
        assert_eq!(commands(&[unset], RANGE).1, ["/fgplay/rate can't be unset"]);
    }

    #[test]
    fn sets_of_parameters_are_chosen_by_name() {
        let some = Properties::named(&["/fgplay/loop".into(), "/other".into()]);
        assert!(some.contains(Property::Loop) && !some.contains(Property::Rate));
        assert!(Property::ALL.into_iter().all(|property| Properties::named(&[]).contains(property)));
        assert!(Properties::named(&["/other".into()]).is_empty());
        assert!(some.without(some).is_empty());
    }
}
