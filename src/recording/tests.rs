//! Recordings of several files.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;

/// Files in a folder of their own, which is gone when this is.
struct Files {
    folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

impl Files {
    fn new() -> Self {
        Files { folder: tempfile::tempdir().unwrap(), paths: Vec::new() }
    }

    fn add(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        self.paths.push(path);
        self
    }

    fn open(&self) -> Recording {
        Recording::open(&self.paths, &OpenOptions::default(), Arc::default(), &|_| {}).unwrap()
    }
}

/// What was told, with file names instead of paths.
fn told(recording: &Recording) -> Vec<String> {
    let problems = recording.problems().list();
    let name =
        |problem: &Problem| problem.path.file_name().map_or(String::new(), |n| n.display().to_string());
    problems.iter().map(|problem| format!("{}: {}", name(problem), problem.text)).collect()
}

fn topics(recording: &Recording) -> Vec<&str> {
    recording.channels().iter().map(|channel| channel.topic.as_str()).collect()
}

#[test]
fn what_is_to_be_known_of_topics_is_told_of_those_that_are_selected() {
    let line = |topic: &str, time: u32| format!(r#"{{"topic":"{topic}","log_time":{time},"data":{{}}}}"#);
    let typed = |topic: &str, kind: &str| {
        format!(r#"{{"topic":"{topic}","schema_name":"{kind}","schema":{{"type":"object"}}}}"#)
    };
    let file = |kind: &str| [typed("/a", kind), typed("/b", kind), line("/a", 1), line("/b", 1)].join("\n");
    let files = Files::new().add("one.jsonl", file("One")).add("two.jsonl", file("Two"));
    let mut recording = files.open();
    assert_eq!(topics(&recording), ["/a", "/b", "/a (Two)", "/b (Two)"]);
    assert!(told(&recording).is_empty());
    let selection = TopicSelection::default().including(&["/b"]).unwrap().renaming(&["/b:=/c"]).unwrap();
    recording.select(&selection).unwrap();
    assert_eq!(topics(&recording), ["/c", "/c (Two)"]);
    let [only] = &told(&recording)[..] else { panic!("{:?}", told(&recording)) };
    assert!(only.starts_with("two.jsonl: ") && only.ends_with("play as '/c (Two)'"), "{only}");
}
