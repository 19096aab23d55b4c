//! The demo recordings, made from nothing: one lap of a small robot, told in three formats.
//!
//! Everything comes from closed formulas, a noise with a fixed seed, and trigonometry from `libm`, whose
//! results do not depend on the platform's C library. No clock is read.

use std::error::Error;

mod camera;
mod cdr;
mod course;
mod demo;
mod font;
mod jsonl;
mod jsonschema;
mod maths;
mod messages;
mod plain;
mod rays;
mod recorder;
mod robot;
mod ros2;
mod ros2_types;
mod scene;

use robot::Lap;

/// One file of `testdata/`.
pub struct File {
    /// Its name inside the folder.
    pub name: &'static str,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Makes every file.
pub fn generate() -> Result<Vec<File>, Box<dyn Error>> {
    let lap = Lap::drive();
    Ok(vec![
        File { name: "demo.mcap", bytes: demo::recording(&lap)? },
        File { name: "demo.jsonl", bytes: jsonl::recording(&lap)? },
        File { name: "ros2.mcap", bytes: ros2::recording(&lap)? },
    ])
}
