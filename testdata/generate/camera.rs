//! The robot's camera: a small renderer, column by column, and the PNG that comes of it.
//!
//! A pixel is a material and one of sixteen degrees of light, which together are its place in a palette of
//! 256 colours: that keeps the images small, and they are exact.

use super::course::{HALF_SIZE, Material, Solid, floor};
use super::font;
use super::maths::sin_cos;
use super::rays::{Hit, Slice};
use super::robot::{CAMERA, State};

/// Size of an image in pixels.
pub const WIDTH: usize = 320;
pub const HEIGHT: usize = 180;
/// The distance of the image plane, in pixels: the view is 83 degrees wide.
pub const FOCAL_LENGTH: f64 = 180.0;

const SHADES: f64 = 16.0;
/// How much light is left in the shade, and at the far end of the course.
const SHADE_LIGHT: f64 = 0.55;
const FAR: f64 = 22.0;
/// Where the light comes from; a vector of length one.
const SUN: [f64; 3] = [0.48, -0.36, 0.8];
/// Dots of the font are this many pixels wide and high.
const DOT: usize = 3;
/// Pixels in a metre of the course map.
const MAP_SCALE: usize = 20;

/// An image of palette entries, row by row from the top.
struct Image {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// What the robot's camera sees, as a PNG.
pub fn photograph(state: &State, solids: &[Solid]) -> Result<Vec<u8>, png::EncodingError> {
    let mut image = Image::new(WIDTH, HEIGHT);
    let (sin, cos) = sin_cos(state.heading);
    let from = (state.x + CAMERA.0 * cos, state.y + CAMERA.0 * sin);
    for column in 0..WIDTH {
        let right = (column as f64 + 0.5 - WIDTH as f64 / 2.0) / FOCAL_LENGTH;
        let stretch = (1.0 + right * right).sqrt();
        let along = ((cos + right * sin) / stretch, (sin - right * cos) / stretch);
        let slice = Slice::cut(solids, from, along);
        for row in 0..HEIGHT {
            let up = (HEIGHT as f64 / 2.0 - row as f64 - 0.5) / FOCAL_LENGTH;
            let slope = up / stretch;
            image.set(column, row, shade(slice.look(CAMERA.1, slope), slope));
        }
    }
    image.write(6, HEIGHT - 6 - font::SIZE.1 * DOT, &format!("{:.1} s", state.time()));
    image.write(WIDTH - 102, HEIGHT - 6 - font::SIZE.1 * DOT, &format!("{:.2} m/s", state.speed));
    image.png()
}

/// The course from above, north up, as a PNG.
pub fn map(solids: &[Solid]) -> Result<Vec<u8>, png::EncodingError> {
    let margin = 0.25;
    let (half_x, half_y) = (HALF_SIZE.0 + margin, HALF_SIZE.1 + margin);
    let size = |half: f64| (2.0 * half * MAP_SCALE as f64) as usize;
    let mut image = Image::new(size(half_x), size(half_y));
    for row in 0..image.height {
        for column in 0..image.width {
            let x = (column as f64 + 0.5) / MAP_SCALE as f64 - half_x;
            let y = half_y - (row as f64 + 0.5) / MAP_SCALE as f64;
            let highest =
                solids.iter().filter(|solid| solid.covers(x, y)).max_by(|a, b| a.top.total_cmp(&b.top));
            let material = highest.map_or_else(|| floor(x, y), |solid| solid.material);
            image.set(column, row, entry(material, 1.0));
        }
    }
    image.png()
}

/// The palette entry of what a ray met.
fn shade(hit: Option<Hit>, slope: f64) -> u8 {
    let Some(Hit { distance, normal, material }) = hit else {
        return entry(Material::Sky, 1.0 - 0.4 * slope);
    };
    let facing = normal[0] * SUN[0] + normal[1] * SUN[1] + normal[2] * SUN[2];
    let light = SHADE_LIGHT + (1.0 - SHADE_LIGHT) * (facing / SUN[2]).clamp(0.0, 1.0);
    entry(material, light * (1.0 - 0.45 * (distance / FAR).min(1.0)))
}

fn entry(material: Material, light: f64) -> u8 {
    // Rounding down would leave the last step to full light alone.
    let step = (light * (SHADES - 1.0)).round().clamp(0.0, SHADES - 1.0);
    (material as u8) << 4 | step as u8
}

fn palette() -> Vec<u8> {
    let step = |channel: u8, step: u32| (u32::from(channel) * (step + 1) / 16) as u8;
    let shades = |material: Material| {
        (0..16).flat_map(move |shade| material.colour().map(|channel| step(channel, shade)))
    };
    Material::ALL.into_iter().flat_map(shades).collect()
}

impl Image {
    fn new(width: usize, height: usize) -> Self {
        Image { width, height, pixels: vec![0; width * height] }
    }

    fn set(&mut self, column: usize, row: usize, entry: u8) {
        self.pixels[row * self.width + column] = entry;
    }

    /// Writes a line of text, with a shadow, its top left corner at (`column`, `row`).
    fn write(&mut self, column: usize, row: usize, text: &str) {
        for (offset, material) in [(1, Material::Banner), (0, Material::Text)] {
            for (index, letter) in text.chars().enumerate() {
                let left = column + offset + index * (font::SIZE.0 + 1) * DOT;
                self.write_letter(left, row + offset, letter, entry(material, 1.0));
            }
        }
    }

    fn write_letter(&mut self, column: usize, row: usize, letter: char, entry: u8) {
        let dots = font::dots(letter);
        for y in 0..font::SIZE.1 * DOT {
            for x in 0..font::SIZE.0 * DOT {
                let bit = font::SIZE.0 - 1 - x / DOT;
                if dots[y / DOT] >> bit & 1 == 1 {
                    self.set(column + x, row + y, entry);
                }
            }
        }
    }

    fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(palette());
        encoder.set_compression(png::Compression::High);
        encoder.set_filter(png::Filter::NoFilter);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(bytes)
    }
}
