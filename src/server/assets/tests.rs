use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;

use super::*;

/// Attachments in memory: their bytes, or only a size where they can't be read.
#[derive(Default)]
struct Memory(BTreeMap<&'static str, Result<&'static [u8], u64>>);

impl Attachments for Memory {
    fn size(&self, name: &str) -> Option<u64> {
        self.0.get(name).map(|data| data.map_or_else(|size| size, |data| data.len() as u64))
    }

    fn read(&self, name: &str) -> io::Result<Bytes> {
        match self.0.get(name) {
            Some(Ok(data)) => Ok(Bytes::from_static(data)),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// A directory to serve, beside something that must stay unseen.
struct Place {
    /// Without symbolic links.
    path: std::path::PathBuf,
    _directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir_all(path.join("served/robot/meshes")).unwrap();
        fs::write(path.join("served/robot/meshes/arm.stl"), "arm").unwrap();
        fs::write(path.join("secret"), "secret").unwrap();
        Place { path, _directory: directory }
    }

    fn served(&self, name: &str) -> std::path::PathBuf {
        self.path.join("served").join(name)
    }

    fn assets(&self) -> Assets {
        Assets::new(Box::new(Memory::default()), Some(&self.served(""))).unwrap()
    }

    fn refusal(&self, uri: &str) -> Refusal {
        self.assets().read(uri).expect_err(uri).reason
    }

    #[track_caller]
    fn assert_arm(&self, uri: &str) {
        assert_eq!(self.assets().read(uri).unwrap(), "arm", "{uri}");
    }
}

fn with_attachments(attachments: &[(&'static str, Result<&'static [u8], u64>)]) -> Box<Memory> {
    Box::new(Memory(attachments.iter().copied().collect()))
}

#[test]
fn an_attachment_is_found_by_its_exact_name_and_comes_first() {
    let place = Place::new();
    let attachments = [("robot/meshes/arm.stl", Ok(&b"attached"[..])), ("package://a/..", Ok(&b"odd"[..]))];
    let assets = Assets::new(with_attachments(&attachments), Some(&place.served(""))).unwrap();
    assert_eq!(assets.read("robot/meshes/arm.stl").unwrap(), "attached");
    assert_eq!(assets.read("package://a/..").unwrap(), "odd");
    assert_eq!(assets.read("package://robot/meshes/arm.stl").unwrap(), "arm");
    let alone = Assets::new(with_attachments(&attachments), None).unwrap();
    assert_eq!(alone.read("robot/meshes/arm.stl").unwrap(), "attached");
    assert!(alone.read("robot/meshes/arm%2estl").is_err());
}

#[test]
fn an_attachment_that_is_too_large_or_damaged_is_refused() {
    let attachments = [("large", Err(SIZE_LIMIT + 1)), ("damaged", Err(1))];
    let assets = Assets::new(with_attachments(&attachments), None).unwrap();
    let error = |name| assets.read(name).unwrap_err().to_string();
    assert_eq!(error("large"), "can't send the asset 'large': it is larger than 256 MiB");
    assert_eq!(error("damaged"), "can't send the asset 'damaged': it can't be read: permission denied");
}

#[test]
fn without_a_directory_the_error_says_how_to_serve_one() {
    let assets = Assets::new(Box::new(Memory::default()), None).unwrap();
    assert_eq!(
        assets.read("x").unwrap_err().to_string(),
        "there is no asset 'x': the recording has no attachment of that name, and no directory is served (--assets)"
    );
    assert_eq!(
        Place::new().assets().read("x").unwrap_err().to_string(),
        "there is no asset 'x': the recording has no attachment of that name, and there is no such file in the \
         directory that is served (--assets)"
    );
}

#[test]
fn a_file_of_the_directory_has_several_names() {
    let place = Place::new();
    for uri in [
        "package://robot/meshes/arm.stl",
        "PACKAGE://robot/meshes/arm.stl",
        "file://robot/meshes/arm.stl",
        "file:///robot/meshes/arm.stl",
        "robot/meshes/arm.stl",
        "/robot/meshes/arm.stl",
        "./robot//meshes/./arm.stl",
        "package://robot/%6deshes%2Farm.stl",
    ] {
        place.assert_arm(uri);
    }
}

#[test]
fn an_absolute_path_below_the_directory_is_that_file() {
    let place = Place::new();
    let arm = place.served("robot/meshes/arm.stl").display().to_string();
    place.assert_arm(&format!("file://{arm}"));
    place.assert_arm(&arm);
    place.assert_arm(&format!("file://{}", arm.replace("/served/", "/%73erved/")));
}

#[cfg(unix)]
#[test]
fn an_absolute_path_may_begin_with_the_link_that_was_given_as_directory() {
    let place = Place::new();
    let link = place.path.join("link");
    std::os::unix::fs::symlink(place.served(""), &link).unwrap();
    let assets = Assets::new(Box::new(Memory::default()), Some(&link)).unwrap();
    let uri = format!("file://{}/robot/meshes/arm.stl", link.display());
    assert_eq!(assets.read(&uri).unwrap(), "arm");
}

#[test]
fn names_with_spaces_signs_and_letters_of_any_language_are_found() {
    let place = Place::new();
    fs::write(place.served("Größe 100%.stl"), "unicode").unwrap();
    fs::write(place.served("a%2fb"), "literal").unwrap();
    let assets = place.assets();
    for uri in ["Größe 100%.stl", "package://Gr%C3%B6%C3%9Fe%20100%25.stl", "file:///Größe%20100%.stl"] {
        assert_eq!(assets.read(uri).unwrap(), "unicode", "{uri}");
    }
    // Undone once, and not twice.
    assert_eq!(assets.read("a%252fb").unwrap(), "literal");
}

#[test]
fn nothing_leads_out_of_the_directory() {
    let place = Place::new();
    let served = place.served("").display().to_string();
    for uri in [
        "../secret",
        "package://../secret",
        "package://robot/../../secret",
        "package://robot/../robot/meshes/arm.stl",
        "file://../secret",
        "file:///../secret",
        "/../secret",
        "%2e%2e/secret",
        "%2E%2e%2Fsecret",
        ".%2e/secret",
        "package://%2e%2e%2fsecret",
        &format!("{served}/../secret"),
        &format!("file://{served}/%2e%2e/secret"),
        "..",
    ] {
        assert_eq!(place.refusal(uri), Refusal::Upwards, "{uri}");
    }
    let secret = place.path.join("secret").display().to_string();
    for uri in [
        secret.as_str(),
        &format!("file://{secret}"),
        "/etc/passwd",
        "file:///etc/passwd",
        "%252e%252e/secret",
    ] {
        assert_eq!(place.refusal(uri), Refusal::NoSuchFile, "{uri}");
    }
    // The name of another directory that begins alike.
    fs::create_dir(place.path.join("served2")).unwrap();
    fs::write(place.path.join("served2/x"), "x").unwrap();
    assert_eq!(place.refusal(&place.path.join("served2/x").display().to_string()), Refusal::NoSuchFile);
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_inside_of_the_directory_and_not_out_of_it() {
    use std::os::unix::fs::symlink;

    let place = Place::new();
    symlink("robot/meshes/arm.stl", place.served("relative.stl")).unwrap();
    symlink(place.served("robot"), place.served("absolute")).unwrap();
    place.assert_arm("relative.stl");
    place.assert_arm("absolute/meshes/arm.stl");

    symlink("../secret", place.served("out")).unwrap();
    symlink(&place.path, place.served("above")).unwrap();
    symlink(place.served("out"), place.served("chain")).unwrap();
    // Not even whether there is something outside can be seen, nor does the way back in count.
    for uri in ["out", "chain", "above/secret", "above/nothing", "above/served/robot/meshes/arm.stl"] {
        assert_eq!(place.refusal(uri), Refusal::Outside, "{uri}");
    }
    symlink("nowhere", place.served("dangling")).unwrap();
    assert_eq!(place.refusal("dangling"), Refusal::NoSuchFile);
    symlink("circle", place.served("circle")).unwrap();
    assert!(matches!(place.refusal("circle"), Refusal::Unreadable(_)));
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let place = Place::new();
    assert_eq!(place.refusal("robot"), Refusal::IsDirectory);
    assert_eq!(place.refusal("package://robot/meshes/"), Refusal::IsDirectory);
    assert_eq!(place.refusal("robot/meshes/arm.stl/x"), Refusal::NoSuchFile);
}

#[cfg(target_os = "linux")]
#[test]
fn a_named_pipe_or_a_socket_is_refused_at_once() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let place = Place::new();
    mknodat(CWD, place.served("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(place.refusal("pipe"), Refusal::NotAFile);
    let _socket = std::os::unix::net::UnixListener::bind(place.served("socket")).unwrap();
    assert_eq!(place.refusal("socket"), Refusal::NotAFile);
}

#[test]
fn a_file_larger_than_the_limit_is_refused_unread() {
    let place = Place::new();
    fs::File::create(place.served("large")).unwrap().set_len(SIZE_LIMIT + 1).unwrap();
    assert_eq!(place.refusal("large"), Refusal::TooLarge);
}

#[test]
fn names_that_can_not_be_are_refused_with_words() {
    let place = Place::new();
    for uri in ["", "/", ".", "file://", "package://", "file:///", "%2f", place.served("").to_str().unwrap()]
    {
        assert_eq!(place.refusal(uri), Refusal::BadName("it names no file"), "{uri}");
    }
    for uri in ["a%00b", "a\0b", "package://robot/meshes/arm.stl%00.png", "%ff"] {
        assert!(matches!(place.refusal(uri), Refusal::BadName(_)), "{uri}");
    }
    for uri in ["http://host/x", "ftp://robot/meshes/arm.stl", "://x"] {
        assert_eq!(place.refusal(uri), Refusal::OtherScheme, "{uri}");
    }
}

#[test]
fn a_long_name_is_shortened_in_the_error() {
    let place = Place::new();
    for uri in ["x".repeat(1_000_000), "x/".repeat(1_000_000), format!("../{}", "é".repeat(1000))] {
        let error = place.assets().read(&uri).unwrap_err().to_string();
        assert!(error.chars().count() < 320, "{error}");
    }
}

#[test]
fn only_a_directory_can_be_served() {
    let place = Place::new();
    let new =
        |path: &Path| Assets::new(Box::new(Memory::default()), Some(path)).err().map(|error| error.kind());
    assert_eq!(new(&place.path.join("secret")), Some(io::ErrorKind::NotADirectory));
    assert_eq!(new(&place.path.join("nothing")), Some(io::ErrorKind::NotFound));
}
