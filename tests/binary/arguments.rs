//! What is asked for in a wrong way is refused in a sentence, before the port opens.

use std::net::TcpListener;

use crate::program::run;
use crate::recordings::{START, file, mcap, ticks};

/// Runs it and expects it to fail, without a word on stdout and without a backtrace.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!(stdout, "", "{arguments:?}");
    assert!(!stderr.contains("panicked") && !stderr.contains("os error"), "{stderr}");
    (code, stderr)
}

#[test]
fn files_that_are_no_recordings_are_named_for_what_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let (empty, bag, gzip) = (file(""), file("#ROSBAG V2.0\n"), file(b"\x1f\x8b\x08\0"));
    let nothing = file("{\"topic\": \"/a\", \"schema_name\": \"A\", \"schema\": {\"type\": \"object\"}}\n");
    let no_messages = file(mcap("", &[]));
    for (path, words) in [
        (directory.path().join("missing.mcap").as_path(), "no such file"),
        (directory.path(), "directory"),
        (empty.path(), "empty"),
        (bag.path(), "ROS 1 bag"),
        (gzip.path(), "gzip"),
        (nothing.path(), "no messages"),
        (no_messages.path(), "no messages"),
    ] {
        let (code, stderr) = refused(&[path.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let recording = ticks(1000);
    let path = recording.path().to_str().unwrap();
    let before = (START / 1_000_000_000 - 1).to_string();
    for (arguments, words) in [
        (&["--rate", "0"][..], "positive number"),
        (&["--rate", "-2"], "positive number"),
        (&["--rate", "NaN"], "positive number"),
        (&["--rate", "inf"], "positive number"),
        (&["--start-offset", "2m"], "past the end"),
        (&["--start-offset", "-1"], "duration"),
        (&["--playback-until-sec", &before], "before it starts"),
        (&["--topics", "/none"], "no topic"),
        (&["--exclude-regex", "."], "no topic"),
        (&["--regex", "("], "can't be read"),
        (&["--remap", "/tick:=/once"], "/once"),
        (&["--remap", "/tick"], "OLD:=NEW"),
        (&["--loop", "0"], "--loop 0"),
        (&["--loop", "99999999999999999999"], "whole number"),
        (&["--start", "never"], "subscriber"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let (code, stderr) = refused(&[&[path], arguments].concat());
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
    for arguments in [&[][..], &["--loop"], &["info"]] {
        let (code, stderr) = refused(arguments);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("required") && stderr.contains("<RECORDING>..."), "{stderr}");
    }
}

#[test]
fn what_is_asked_for_and_can_not_be_is_warned_of() {
    let recording = ticks(1);
    let path = recording.path().to_str().unwrap();
    for (arguments, words) in [
        (&["--remap", "/tikc:=/tock"][..], "topic /tikc: it is remapped"),
        (&["--topics", "/tick", "/tikc"], "topic /tikc: no topic of the recording matches"),
        (&["--exclude-topics", "/tikc"], "topic /tikc: no topic of the recording matches"),
    ] {
        let start = [path, "--quiet", "--port", "0", "--start", "now", "--at-end", "exit"];
        let (code, _, stderr) = run([&start[..], arguments].concat());
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("WARN") && stderr.contains(words), "{arguments:?}: {stderr}");
    }
    let (code, _, stderr) = run([path, "--port", "0", "--loop", "--at-end", "exit", "--timeout", "0.1"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("--at-end exit never comes true"), "{stderr}");
}

#[test]
fn a_recording_may_stand_after_loop() {
    let (code, stderr) = refused(&["--loop", "missing.mcap"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("missing.mcap") && stderr.contains("no such file"), "{stderr}");
}

#[test]
fn a_port_in_use_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let recording = ticks(1);
    let (code, stderr) = refused(&[recording.path().to_str().unwrap(), "--port", &port]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("port {port}")) && stderr.contains("--port"), "{stderr}");
}

#[test]
fn strict_takes_a_damaged_line_as_an_error() {
    let damaged = file("{\"topic\": \"/a\", \"log_time\": 1, \"data\": {}}\n{\"topic\": \"/a\"\n");
    let path = damaged.path().to_str().unwrap();
    let (code, stderr) = refused(&[path, "--strict"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("line 2"), "{stderr}");
    let (code, stdout, _) = run(["info", path]);
    assert_eq!(code, Some(3));
    assert!(stdout.contains("line 2"), "{stdout}");
}

#[test]
fn info_tells_what_a_recording_holds() {
    let recording = ticks(1001);
    let path = recording.path().to_str().unwrap();
    let (code, stdout, stderr) = run(["info", path]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for words in ["JSONL", "2023-11-14T22:13:20Z", "1.0s", "1,002", "/tick", "1000.0", "/once"] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    let (code, stdout, _) = run(["info", "--json", path]);
    assert_eq!(code, Some(0));
    let info: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(info["messages"], 1002);
    assert_eq!(info["time"]["start"]["ns"], START);
    assert_eq!(info["topics"][1]["topic"], "/tick");
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = run(["completions", shell]);
        assert_eq!(code, Some(0));
        assert!(stdout.contains("playback-duration"), "{shell}");
    }
}

#[test]
fn with_json_logs_what_goes_wrong_before_serving_is_json_as_well() {
    let said = |arguments: &[&str]| {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!(stdout, "");
        let line: serde_json::Value = serde_json::from_str(stderr.trim()).expect(&stderr);
        assert_eq!(line["level"], "ERROR");
        (code, line["message"].as_str().unwrap().to_owned())
    };
    let (code, message) = said(&["--log-format", "json", "/nowhere/a.mcap"]);
    assert_eq!(code, Some(1));
    assert!(message.contains("/nowhere/a.mcap"), "{message}");
    let (code, message) = said(&["a.mcap", "--log-format=json", "--rate", "-1"]);
    assert_eq!(code, Some(2));
    assert!(message.contains("--rate") && !message.contains('\n'), "{message}");
}
