//! The few letters that the camera writes into its images: three dots wide, five high.

/// Width and height of a letter in dots.
pub const SIZE: (usize, usize) = (3, 5);

/// The dots of a letter, row by row from the top; the highest of three bits is the left one.
pub fn dots(letter: char) -> [u8; SIZE.1] {
    match letter {
        '0' => [0b111, 0b101, 0b101, 0b101, 0b111],
        '1' => [0b010, 0b110, 0b010, 0b010, 0b111],
        '2' => [0b111, 0b001, 0b111, 0b100, 0b111],
        '3' => [0b111, 0b001, 0b111, 0b001, 0b111],
        '4' => [0b101, 0b101, 0b111, 0b001, 0b001],
        '5' => [0b111, 0b100, 0b111, 0b001, 0b111],
        '6' => [0b111, 0b100, 0b111, 0b101, 0b111],
        '7' => [0b111, 0b001, 0b010, 0b010, 0b010],
        '8' => [0b111, 0b101, 0b111, 0b101, 0b111],
        '9' => [0b111, 0b101, 0b111, 0b001, 0b111],
        '.' => [0b000, 0b000, 0b000, 0b000, 0b010],
        '/' => [0b001, 0b001, 0b010, 0b100, 0b100],
        'm' => [0b000, 0b000, 0b111, 0b111, 0b101],
        's' => [0b000, 0b011, 0b010, 0b001, 0b011],
        _ => [0; SIZE.1],
    }
}
