//! Writes the files of `testdata/` again: `cargo run --example testdata`.
//!
//! The files are the same to the byte on every run and every machine; `tests/testdata.rs` holds the committed
//! ones against that. Another folder can be named: `cargo run --example testdata -- /tmp/testdata`.

use std::error::Error;
use std::path::PathBuf;

#[path = "generate/files.rs"]
mod files;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")),
    };
    std::fs::create_dir_all(&folder)?;
    for file in files::generate()? {
        std::fs::write(folder.join(file.name), &file.bytes)?;
        println!("{:>9} bytes  {}", file.bytes.len(), file.name);
    }
    Ok(())
}
