//! Writes CDR, the encoding of ROS 2: XCDR version 1, little endian (OMG DDS-XTypes 7.4). Every number is
//! aligned to its own size, counted from behind the encapsulation header.

const HEADER: [u8; 4] = [0, 1, 0, 0];

pub struct Cdr {
    bytes: Vec<u8>,
}

impl Cdr {
    pub fn new() -> Self {
        Cdr { bytes: HEADER.to_vec() }
    }

    fn number<const SIZE: usize>(&mut self, bytes: [u8; SIZE]) {
        let written = self.bytes.len() - HEADER.len();
        self.bytes.resize(HEADER.len() + written.next_multiple_of(SIZE), 0);
        self.bytes.extend(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.number(value.to_le_bytes());
    }

    pub fn i32(&mut self, value: i32) {
        self.number(value.to_le_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.number(value.to_le_bytes());
    }

    pub fn f32(&mut self, value: f32) {
        self.number(value.to_le_bytes());
    }

    pub fn f64(&mut self, value: f64) {
        self.number(value.to_le_bytes());
    }

    /// An array of a fixed length: no count before it.
    pub fn f64s(&mut self, values: &[f64]) {
        values.iter().for_each(|value| self.f64(*value));
    }

    /// A sequence: its count, then its values.
    pub fn f32_sequence(&mut self, values: &[f32]) {
        self.count(values.len());
        values.iter().for_each(|value| self.f32(*value));
    }

    /// The count before a sequence.
    pub fn count(&mut self, count: usize) {
        self.u32(count as u32);
    }

    /// A text: its length with the zero byte at its end, and both.
    pub fn string(&mut self, text: &str) {
        self.count(text.len() + 1);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
