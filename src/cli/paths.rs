//! What users name as a recording, and is none that can be opened.

use std::path::{Path, PathBuf};

/// How the names of recordings end.
const ENDS: [&str; 2] = ["mcap", "jsonl"];

/// Refuses what is no file of this machine, and says what to do instead.
pub(super) fn check(paths: &[PathBuf]) -> anyhow::Result<()> {
    paths.iter().try_for_each(|path| match objection(path) {
        Some(objection) => Err(anyhow::anyhow!("{objection}")),
        None => Ok(()),
    })
}

fn objection(path: &Path) -> Option<String> {
    let name = path.display();
    if path.is_dir() {
        let instead = match recording_in(path) {
            Some(inside) => format!("play the recording in it: fgplay {}", inside.display()),
            None => "and there is no recording (*.mcap, *.jsonl) in it".into(),
        };
        return Some(format!("{name} is a directory; {instead}"));
    }
    let is_elsewhere = path.as_os_str() == "-" || path.to_str().is_some_and(|text| text.contains("://"));
    (is_elsewhere && !path.exists()).then(|| {
        format!(
            "{name} can't be played: fgplay plays files of this machine, since it has to read them at any place; save \
             it as a file first"
        )
    })
}

/// The first recording in a directory, by its name.
fn recording_in(directory: &Path) -> Option<PathBuf> {
    let paths = std::fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.extension().is_some_and(|end| ENDS.iter().any(|known| end == *known))).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_directory_the_recording_in_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let said = || check(&[directory.path().to_owned()]).unwrap_err().to_string();
        assert!(said().contains("is a directory; and there is no recording"), "{}", said());
        for name in ["metadata.yaml", "b.mcap", "a.mcap"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let inside = directory.path().join("a.mcap");
        assert!(said().ends_with(&format!("fgplay {}", inside.display())), "{}", said());
        assert!(check(&[inside]).is_ok());
    }

    #[test]
    fn what_is_somewhere_else_is_to_be_saved_first() {
        for name in ["-", "https://example.org/a.mcap", "s3://bucket/a.mcap"] {
            let said = check(&[name.into()]).unwrap_err().to_string();
            assert!(said.starts_with(name) && said.contains("files of this machine"), "{said}");
        }
    }
}
