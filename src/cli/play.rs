//! `fgplay RECORDING...`: play it.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::Notify;

use super::arguments::{Arguments, AtEnd, Control, LoopTime, Output, ServerArguments, Session, Start};
use super::end::{End, sum_up};
use super::report::{self, Report};
use super::signals::{Asked, Signals};
use super::{Failure, Outcome, exit_code};
use super::{descriptors, files, paths as given, together};
use crate::terminal::{
    HELP, HELP_WITHOUT_TIMELINE, Key, Keys, Progress, ScanBar, Suspension, Terminal, count, printable,
};
use fgplay::playback::{self, Range, Repeat};
use fgplay::recording::{OpenOptions, ProblemKind, Problems, Recording};
use fgplay::replay::{self, Replay, ReplayOptions, WaitFor};
use fgplay::server::{self as serving, Links, SessionMode, Tls, Traffic};
use fgplay::time::format_duration;

/// How many losses of data are told one by one.
const LOSSES_TOLD: usize = 9;

/// How long viewers have for the goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// What ends so soon needs no word.
const MOMENT: Duration = Duration::from_millis(500);

/// The files that are written.
const READY_FILE: files::Form =
    files::Form { option: "--ready-file", what: "ready file", keys: &["event", "url", "port"] };
const REPORT: files::Form =
    files::Form { option: "--report", what: "report", keys: &["version", "outcome", "exit_code"] };

/// Plays recordings until they are over or the user stops it.
pub(super) fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let paths = &arguments.recordings;
    let selection = arguments.topics.selection()?;
    let terminal = Terminal::start(&arguments.output.terminal_options());
    descriptors::take_all();
    let runtime = tokio::runtime::Runtime::new().context("can't start threads")?;
    let (playback, server) = (&arguments.playback, &arguments.server);
    let output = |path: &Option<PathBuf>, form| {
        path.as_deref().map(|path| files::Output::new(path, form, paths)).transpose()
    };
    let (ready_file, report_file) =
        (output(&server.ready_file, &READY_FILE)?, output(&playback.report, &REPORT)?);
    // Before anything takes long, and before the files of another fgplay could be taken for old ones.
    let port = runtime.block_on(reserve(&server.host, server.port))?;
    ready_file.iter().chain(&report_file).try_for_each(files::Output::prepare)?;

    let damage = Arc::new(Notify::new());
    let mut recording = open(
        paths,
        &arguments.reading.open_options(arguments.server.session),
        &terminal,
        Arc::clone(&damage),
    )?;
    recording.select(&selection)?;
    let wait_for = wait_for(&recording, &arguments)?;
    check_assets(arguments.server.assets.as_deref())?;
    let tls = tls(&arguments.server)?;
    let options = ReplayOptions {
        rate: playback.rate,
        repeat: playback.repeat(),
        start_offset: playback.start_offset,
        duration: playback.playback_duration,
        until: playback.playback_until_sec,
        delay: playback.delay,
        start_paused: playback.start_paused,
        start: match playback.start {
            Start::Now => replay::Start::Now,
            Start::Client => replay::Start::Client,
            Start::Subscriber => replay::Start::Subscriber,
        },
        wait_for,
        lookback: !playback.no_lookback,
        lossless: server.lossless,
        control: server.control == Control::All,
        session: session_mode(server.session),
        loop_time: match playback.loop_time {
            LoopTime::Restart => playback::LoopTime::Restart,
            LoopTime::Monotonic => playback::LoopTime::Monotonic,
        },
        loop_gap: playback.loop_gap,
        skip_gaps: playback.skip_gaps,
        assets: server.assets.clone(),
        name: server.name.clone().unwrap_or_else(|| name(paths)),
        client_buffer: server.client_buffer,
        client_lag: server.client_lag,
        read_ahead: server.read_ahead,
        limits: server.limits.limits(),
        access: server.access()?,
        tls: tls.clone(),
        remembered_clients: if playback.report.is_some() { report::CLIENTS } else { 0 },
    };
    let range = replay::range(&recording, &options)?;
    together::warn(paths, &recording, range, playback.skip_gaps);

    let result = runtime.block_on(async {
        let problems = Arc::clone(recording.problems());
        let signals = Signals::listen(tls.is_some())?;
        if let Some(tls) = tls {
            reload_on_hang_up(tls)?;
        }
        let listener = port.listen().map_err(|error| no_port(error, &server.host, server.port))?;
        let summary = describe(&recording, range);
        let topics: Vec<String> = recording.channels().iter().map(|channel| channel.topic.clone()).collect();
        let mut replay =
            Replay::serve(recording, range, &options, listener).context("can't serve the recording")?;
        announce(&replay, server.port, &options, &summary);
        if let Some(file) = &ready_file {
            file.write(&ready_line(&replay, options.tls.is_some()))?;
        }
        let keys = keys(&arguments.output);
        if playback.at_end == AtEnd::Exit && options.repeat == Repeat::Forever {
            tracing::warn!("--at-end exit never comes true, since --loop without a number plays without end");
        }
        if options.start_paused && !options.control && keys.is_none() {
            tracing::warn!(
                "it stands at the start, and nobody can play it: --start-paused with --control none"
            );
        }
        let limits = Limits {
            at_end: playback.at_end,
            linger: playback.linger,
            timeout: playback.timeout,
            strict: arguments.reading.strict.then_some(&*damage),
        };
        let started = Instant::now();
        let (end, traffic) = play(&mut replay, &limits, signals, keys, &terminal).await;
        // Nobody should connect to where nobody is any more. Where it can't be removed, it is as before.
        ready_file.iter().for_each(|file| file.remove().unwrap_or_default());
        let result = sum_up(&end, &problems, traffic);
        let report = Report {
            name: &options.name,
            topics: &topics,
            range,
            outcome: end.name(),
            exit_code: exit_code(&result),
            error: result.as_ref().err().map(Failure::to_string),
            elapsed: started.elapsed(),
        };
        let written = match &report_file {
            Some(file) => file.write(&report.to_json(&replay.records(), &problems)),
            None => Ok(()),
        };
        if end == End::Abandoned {
            leave(&terminal, written, report.exit_code);
        }
        written?;
        result
    });
    // What still reads somewhere is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Who has to be there before playback begins.
fn wait_for(recording: &Recording, arguments: &Arguments) -> Result<WaitFor, Failure> {
    let playback = &arguments.playback;
    let wait_for = WaitFor {
        clients: playback.wait_for_clients,
        channels: recording.channels_matching(&playback.wait_for_topics)?,
        patience: playback.wait_timeout,
    };
    let needs = "--wait-for-clients, --wait-for-topics and --wait-timeout need --session shared";
    wait_for
        .check(session_mode(arguments.server.session))
        .map_err(|error| Failure::WrongArguments(anyhow::Error::new(error).context(needs)))?;
    Ok(wait_for)
}

fn session_mode(session: Session) -> SessionMode {
    match session {
        Session::Shared => SessionMode::Shared,
        Session::Client => SessionMode::Client,
    }
}

/// Says what is wrong with the directory of assets, before anything is served.
fn check_assets(directory: Option<&Path>) -> anyhow::Result<()> {
    let Some(directory) = directory else { return Ok(()) };
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(anyhow::anyhow!("--assets {}: it is no directory", directory.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(anyhow::anyhow!("--assets {}: there is no such directory", directory.display()))
        }
        Err(error) => Err(anyhow::Error::new(error).context(format!("--assets {}", directory.display()))),
    }
}

/// The certificate, where there is one.
fn tls(server: &ServerArguments) -> anyhow::Result<Option<Arc<Tls>>> {
    match (&server.tls_cert, &server.tls_key) {
        (Some(certificate), Some(key)) => {
            let tls = Tls::open(certificate, key).context("can't serve with TLS")?;
            Ok(Some(Arc::new(tls)))
        }
        _ => Ok(None),
    }
}

/// Reads the certificate again whenever the system says that something has changed.
#[cfg(unix)]
fn reload_on_hang_up(tls: Arc<Tls>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hang_up = signal(SignalKind::hangup()).context("can't listen for signals")?;
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            match tls.reload() {
                Ok(()) => tracing::info!("the certificate was read again"),
                Err(error) => tracing::warn!("the old certificate stays in use: {error}"),
            }
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn reload_on_hang_up(_: Arc<Tls>) -> anyhow::Result<()> {
    Ok(())
}

/// What programs are told once they can connect.
fn ready_line(replay: &Replay, tls: bool) -> String {
    let address = replay.address();
    let ready = serde_json::json!({
        "event": "ready",
        "url": fgplay::server::ws_url(&address.to_string(), tls),
        "port": address.port(),
    });
    format!("{ready}\n")
}

/// Opens recordings, with a bar while they are scanned. `damage` hears when data turns out to be lost, now
/// or while they are played.
pub(super) fn open(
    paths: &[PathBuf],
    options: &OpenOptions,
    terminal: &Terminal,
    damage: Arc<Notify>,
) -> Result<Recording, Failure> {
    given::check(paths)?;
    let told = AtomicUsize::new(0);
    let problems = Arc::new(Problems::new(move |problem| {
        let text = printable(&problem.to_string());
        match (problem.data_lost, problem.kind) {
            (true, _) => {}
            (false, ProblemKind::Doubt) => return tracing::warn!("{text}"),
            (false, _) => return tracing::info!("{text}"),
        }
        match told.fetch_add(1, Ordering::Relaxed) {
            ..LOSSES_TOLD => tracing::warn!("{text}"),
            LOSSES_TOLD => tracing::warn!("{text}; more of this kind are told with -v, and by `fgplay info`"),
            _ => tracing::debug!("{text}"),
        }
        damage.notify_one();
    }));
    let bar = ScanBar::new(terminal);
    let recording = Recording::open(paths, options, problems, &|progress| bar.show(progress));
    bar.finish();
    Ok(recording.map_err(anyhow::Error::from)?)
}

/// What viewers call the source: the recording's file name.
fn name(paths: &[PathBuf]) -> String {
    let first = paths.first().and_then(|path| path.file_name()).unwrap_or_default();
    let first = first.to_string_lossy().into_owned();
    match paths.len() {
        0 | 1 => first,
        more => format!("{first} and {} more", more - 1),
    }
}

/// Takes the port, on which nobody can connect before it is listened on.
async fn reserve(host: &str, port: u16) -> Result<serving::Reserved, Failure> {
    // Addresses of IP version 6 are often written as they are in a URL.
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(serving::reserve((address, port)).await.map_err(|error| no_port(error, host, port))?)
}

fn no_port(error: io::Error, host: &str, port: u16) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {port} on {host} is in use, perhaps by another fgplay; choose another one with --port, or \
             --port 0 for any that is free"
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("port {port} on {host} needs special rights; choose one above 1023 with --port")
        }
        io::ErrorKind::AddrNotAvailable => {
            anyhow::anyhow!("{host} is no address of this machine; --host 0.0.0.0 listens on all it has")
        }
        _ => anyhow::Error::new(error).context(format!("can't listen on {host}, port {port}")),
    }
}

/// "24.0s from 2026-01-01 12:00:00.000 UTC, 4,321 messages on 12 topics", or for a part of it "2.0s from
/// 2026-01-01 12:00:03.000 UTC, of 24.0s, on 12 topics"
fn describe(recording: &Recording, range: Range) -> String {
    let part =
        format!("{} from {} UTC", format_duration(range.end.since(range.start)), range.start.to_human());
    let topics = match recording.channels().len() {
        1 => "1 topic".to_owned(),
        topics => format!("{topics} topics"),
    };
    match recording.time_range() {
        Some((first, last)) if (first, last) != (range.start, range.end) => {
            format!("{part}, of {}, on {topics}", format_duration(last.since(first)))
        }
        _ => match recording.message_count() {
            1 => format!("{part}, 1 message on {topics}"),
            messages => format!("{part}, {} messages on {topics}", count(messages)),
        },
    }
}

/// Says where to connect: to people on stderr, and to programs on stdout where they can't know it.
fn announce(replay: &Replay, port: u16, options: &ReplayOptions, summary: &str) {
    let (name, control, tls) = (&options.name, options.control, options.tls.is_some());
    let address = replay.address();
    let Links { ws, page, foxglove, lichtblick } = Links::local(address, tls);
    tracing::info!("playing {}: {summary}", printable(name));
    tracing::info!("connect to  {ws}");
    tracing::info!("control     {page}");
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        // A page that came over https may connect without TLS to this machine only.
        tracing::info!("Foxglove    {foxglove}");
        tracing::info!("Lichtblick  {lichtblick}");
    }
    if address.ip().is_unspecified() {
        let elsewhere = format!("<this machine's name or address>:{}", address.port());
        tracing::info!("elsewhere   {}", fgplay::server::ws_url(&elsewhere, tls));
    }
    if options.access.token.is_some() {
        tracing::info!("token       needed: add ?token=... to these addresses");
    }
    if !address.ip().is_loopback() {
        warn_of_strangers(options, address, control);
    }
    if port == 0 {
        tell_programs(&ready_line(replay, tls), address.port());
    }
}

/// Writes the line with the port to stdout. Where that can't be done it goes on, since viewers may learn the port in
/// another way, and so tells it.
fn tell_programs(line: &str, port: u16) {
    let mut stdout = io::stdout();
    if let Err(error) = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
        tracing::warn!(
            "can't tell the port on stdout ({error}); it is {port}, and --ready-file tells it as well"
        );
    }
}

/// Says what those could do who can reach this machine.
fn warn_of_strangers(options: &ReplayOptions, address: SocketAddr, control: bool) {
    if options.access.token.is_some() {
        if options.tls.is_none() {
            tracing::warn!(
                "listening on {address} without TLS: who listens in on the network learns the token \
                 (--tls-cert and --tls-key)"
            );
        }
        return;
    }
    let too = if control { ", and pause, seek and stop it for all (--control none lets nobody)" } else { "" };
    tracing::warn!(
        "listening on {address}: everyone who can reach it can watch this recording{too}; --token lets only those \
         who know it"
    );
}

/// Starts to listen to keys, where somebody sits in front of them.
fn keys(output: &Output) -> Option<Keys> {
    let keys = (output.takes_keys() && io::stderr().is_terminal()).then(Keys::start)??;
    tracing::info!("press ? for keys");
    Some(keys)
}

fn list_keys(help: &str) {
    help.lines().for_each(|line| tracing::info!("{line}"));
}

/// Does what the keys ask for, until one asks to end.
async fn pressed(keys: &mut Option<Keys>, replay: &Replay) {
    let Some(keys) = keys else { return std::future::pending().await };
    let suspended = async {
        match Suspension::listen() {
            Ok(mut suspension) => suspension.follow().await,
            Err(error) => {
                tracing::debug!("can't listen for signals: {error}");
                std::future::pending().await
            }
        }
    };
    let followed = async {
        let mut explained = false;
        loop {
            let key = keys.next().await;
            match (key, replay.remote()) {
                (Key::Quit, _) => return,
                (Key::Help, Some(_)) => list_keys(HELP),
                (Key::Help, None) => list_keys(HELP_WITHOUT_TIMELINE),
                (_, None) if explained => {}
                (_, None) => {
                    explained = true;
                    tracing::info!(
                        "every viewer has a timeline of its own here; the page in the browser controls each"
                    );
                }
                (key, Some(remote)) => {
                    if let Some(command) = key.command(&remote.position(), replay.range(), Instant::now()) {
                        remote.command(command);
                    }
                }
            }
        }
    };
    tokio::select! {
        () = suspended => {}
        () = followed => {}
    }
}

/// When to end, and how.
struct Limits<'a> {
    at_end: AtEnd,
    linger: Option<Duration>,
    timeout: Option<Duration>,
    /// Hears of lost data, where that is an error.
    strict: Option<&'a Notify>,
}

/// Lets it play until it is over or stopped. Says why it ended, and what was sent.
async fn play(
    replay: &mut Replay,
    limits: &Limits<'_>,
    mut signals: Signals,
    mut keys: Option<Keys>,
    terminal: &Terminal,
) -> (End, Traffic) {
    let deadline = limits.timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let mut progress = Progress::new(terminal, replay.range());
    let over = async {
        match limits.at_end {
            AtEnd::Exit => replay.ended().await,
            AtEnd::Stay => Err(replay.broken_off().await),
        }
    };
    let damaged = async {
        match limits.strict {
            Some(damage) => damage.notified().await,
            None => std::future::pending().await,
        }
    };
    let mut end = tokio::select! {
        over = over => over.map_or_else(End::BrokenOff, |()| End::Over),
        asked = signals.next() => match (asked, limits.linger) {
            (Asked::Terminate, Some(_)) => End::Drained,
            _ => End::Stopped,
        },
        () = damaged => End::Damaged,
        too_long = replay.gave_up() => End::WaitedTooLong(too_long),
        () = until(deadline) => End::TimedOut(limits.timeout.unwrap_or_default()),
        () = pressed(&mut keys, replay) => End::Stopped,
        () = progress.follow(replay) => End::Over,
    };
    progress.finish();
    let presence = replay.watch_presence();
    let viewers = || presence.borrow().clients;
    if matches!(end, End::Over | End::Drained) {
        let linger = limits.linger.map(|linger| tokio::time::Instant::now() + linger);
        tokio::select! {
            traffic = replay.finish(end == End::Over) => return (end, traffic),
            // The user does not want to wait until everybody has everything.
            _ = signals.next() => end = End::Stopped,
            never = waiting(&viewers, limits.linger, "Ctrl-C ends it") => match never {},
            () = until(deadline) => end = End::TimedOut(limits.timeout.unwrap_or_default()),
            () = until(linger) => {
                tracing::warn!("--linger is over, and not every client has taken what waited for it");
                if end == End::Over {
                    end = End::CutOff;
                }
            }
        }
    }
    let traffic = tokio::select! {
        traffic = replay.stop() => traffic,
        never = waiting(&viewers, Some(GOODBYE), "Ctrl-C ends it at once") => match never {},
        // Asked twice, it does not wait for anybody any more.
        _ = signals.next() => {
            end = End::Abandoned;
            replay.traffic()
        }
    };
    (end, traffic)
}

/// Says what it waits for, where that takes more than a moment. Never comes to an end itself.
async fn waiting(viewers: &dyn Fn() -> usize, at_most: Option<Duration>, how_to_end: &str) -> Infallible {
    tokio::time::sleep(MOMENT).await;
    tracing::info!("{}; {how_to_end}", wait_text(viewers(), at_most));
    std::future::pending().await
}

/// "waiting up to 20.0s for 1 viewer".
fn wait_text(viewers: usize, at_most: Option<Duration>) -> String {
    let time = match at_most {
        Some(time) => format!(" up to {}", format_duration(time)),
        None => String::new(),
    };
    let viewers = if viewers == 1 { "1 viewer".into() } else { format!("{} viewers", count(viewers as u64)) };
    format!("waiting{time} for {viewers}")
}

/// Ends the program without waiting for its threads.
fn leave(terminal: &Terminal, written: anyhow::Result<()>, exit_code: u8) -> ! {
    if let Err(error) = written {
        tracing::error!("{error:#}");
    }
    terminal.flush();
    std::process::exit(exit_code.into())
}

/// Waits until then; without end where there is no such time.
async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
