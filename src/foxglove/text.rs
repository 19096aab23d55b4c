//! A client's own words, as they may stand in what it is told.

/// How many characters of a client's text are repeated to it.
const LIMIT: usize = 120;

/// The start of a client's text, so that no client can have its own megabytes sent back to it. Control
/// characters are replaced: what is told to a client is logged as well, and a terminal would obey them.
pub(crate) fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let visible = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    let mut start: String = characters.by_ref().take(LIMIT).map(visible).collect();
    if characters.next().is_some() {
        start.push('…');
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_limit_stays_whole_and_a_longer_one_is_cut_between_characters() {
        let whole = "é".repeat(LIMIT);
        assert_eq!(shortened(&whole), whole);
        assert_eq!(shortened(&"é".repeat(LIMIT + 1)), format!("{whole}…"));
    }

    #[test]
    fn no_control_character_is_repeated() {
        assert_eq!(shortened("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
