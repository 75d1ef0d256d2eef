use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::*;
use crate::app::counters::Counters;
use crate::app::reader::Reader;
use crate::dispatch::Tail;
use crate::outbox::{Commits, Keep, Opened, Options};

const HOUR: Duration = Duration::from_secs(3600);

fn open(dir: &std::path::Path) -> Opened {
    let size = 4 << 20;
    let options = Options {
        data_dir: dir.to_owned(),
        segment_size: size,
        cache_size: 1 << 20,
        max_size: 1 << 30,
        endpoint_share: 1.0,
        min_free_disk: 0,
        idempotency_window: HOUR,
        max_in_flight: 1,
        keep: Keep {
            delivered: HOUR,
            dead: HOUR,
            held: HOUR,
            erased: HOUR,
            max_size: 1 << 30,
            min_free_disk: 0,
            segment_size: size,
        },
        boot_id: None,
        defaults: Default::default(),
        endpoints: Vec::new(),
    };
    Outbox::open(options).unwrap()
}

const GITHUB: &[u8] = br#"{"preset":"github","secrets":["s"]}"#;

fn source(id: &SourceId, definition: &[u8]) -> Source {
    let Ok(Json::Object(given)) = Json::parse(definition) else {
        panic!("it is an object");
    };
    inbound::read(id.clone(), &given).unwrap()
}

/// The sources of an outbox, one of GitHub in the file among them.
fn sources(outbox: &Outbox) -> (Sources, SourceId) {
    let id = SourceId::new("gh").unwrap();
    (sources_with(outbox, &[source(&id, GITHUB)], Vec::new()), id)
}

fn sources_with(outbox: &Outbox, configured: &[Source], stored: Vec<StoredSource>) -> Sources {
    let reader = Reader::new(outbox.clone());
    let counters = Arc::new(Counters::default());
    let events = Events::new(
        outbox.clone(),
        reader.clone(),
        None,
        counters,
        Tail::default(),
    );
    let events = Arc::new(events);
    Sources::new(
        outbox.clone(),
        reader,
        events,
        configured,
        stored,
        None,
        1024,
    )
}

/// Polls the keeper for longer than it waits. The clock goes on by itself when nothing else does.
async fn keep_counts(sources: &Sources) {
    let kept = tokio::time::timeout(10 * STORE_EVERY, sources.keep_counts());
    assert!(kept.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let (sources, id) = sources(&opened.outbox);
    let known = sources.find(&id).unwrap();
    let call = InboundCall {
        method: Method::POST,
        query: String::new(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        url: None,
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let refused = sources.receive(&known, call.clone()).await.unwrap_err();
    sources.note_refused(&known, &refused, &call);
    keep_counts(&sources).await;
    let kept = known.tally.take_changed().expect("nothing was stored");
    assert_eq!(kept.rejected["missing_signature"], 2);
}

/// A caller that disconnects as soon as its request has been read.
async fn begin_and_leave<T: std::fmt::Debug>(change: impl Future<Output = T>) {
    tokio::select! {
        biased;
        done = change => panic!("it was done at once: {done:?}"),
        () = std::future::ready(()) => {}
    }
}

fn answer_commits(mut commits: Commits) {
    tokio::spawn(async move {
        while let Some(mut commit) = commits.recv().await {
            commit.answer();
        }
    });
}

/// How often calls ended so.
fn ended(sources: &Sources, name: &str) -> u64 {
    let outcomes = sources.outcomes();
    let (_, count) = outcomes.iter().find(|(own, _)| *own == name).unwrap();
    *count
}

#[tokio::test]
async fn every_call_is_counted_by_its_result() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    answer_commits(opened.commits);
    let (sources, _) = sources(&opened.outbox);
    let id = SourceId::new("mine").unwrap();
    let text = |key, text: &str| (key, Some(Json::from(text)));
    let made = vec![
        text("preset", "query_token"),
        text("token", "t"),
        text("split", "/entry"),
    ];
    let known = sources.create(Some(id.clone()), made, false).await.unwrap();
    let call = InboundCall {
        method: Method::POST,
        query: "token=t".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{\"entry\":[]}"),
        url: None,
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    // An array without an element makes no event, and is not a handshake.
    sources.receive(&known, call).await.unwrap();
    assert_eq!(
        (ended(&sources, "received"), ended(&sources, "handshake")),
        (1, 0)
    );
    let sample = Some(Bytes::from_static(b"{\"entry\":[1]}"));
    let tested = sources.test(&id, sample).await.unwrap();
    assert_eq!(tested.events.len(), 1, "{tested:?}");
    assert_eq!(ended(&sources, "received"), 2);
    let disabled = vec![("enabled", Some(Json::Bool(false)))];
    let known = sources.change(&id, disabled).await.unwrap();
    let tested = sources.test(&id, None).await.unwrap();
    assert_eq!(tested.status, 404, "{tested:?}");
    assert_eq!(ended(&sources, "disabled"), 1);
    assert_eq!(known.tally.counts().rejected["disabled"], 1);
}

#[test]
fn a_caller_that_may_not_call_a_source_does_not_find_it() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let outbox = &opened.outbox;
    let (sources, id) = sources(outbox);
    let remote = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert!(sources.found_by(remote, &id).is_some());
    let other = SourceId::new("none").unwrap();
    assert!(sources.found_by(remote, &other).is_none());
    let given = br#"{"preset":"github","secrets":["s"],"allow_from":["192.0.2.0/24"]}"#;
    let Ok(Json::Object(given)) = Json::parse(given) else {
        panic!("it is an object");
    };
    let source = inbound::read(id.clone(), &given).unwrap();
    sources
        .registry
        .put(KnownSource::new(source, Origin::File, Arc::default()));
    assert!(sources.found_by(remote, &id).is_none());
    assert!(sources.found_by([192, 0, 2, 1].into(), &id).is_some());
}

#[tokio::test]
async fn a_change_is_finished_when_the_caller_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    answer_commits(opened.commits);
    let (sources, _) = sources(&opened.outbox);
    let id = SourceId::new("mine").unwrap();
    let text = |key, text: &str| (key, Some(Json::from(text)));
    let made = vec![text("preset", "query_token"), text("token", "t")];
    // One that waits has its turn when the one before it has ended.
    begin_and_leave(sources.create(Some(id.clone()), made, false)).await;
    sources.change(&id, Vec::new()).await.unwrap();
    begin_and_leave(sources.change(&id, vec![text("description", "changed")])).await;
    let known = sources.change(&id, Vec::new()).await.unwrap();
    assert_eq!(&*known.source.description, "changed");
    begin_and_leave(sources.remove(&id)).await;
    assert!(sources.change(&id, Vec::new()).await.is_err());
    assert!(sources.find(&id).is_err());
}

#[tokio::test]
async fn a_reload_leaves_a_source_that_is_the_same_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let (sources, id) = sources(&opened.outbox);
    let before = sources.find(&id).unwrap();
    sources.reconfigure(&[source(&id, GITHUB)], 1024).await;
    assert!(Arc::ptr_eq(&before, &sources.find(&id).unwrap()));
    let limited = br#"{"preset":"github","secrets":["s"],"rate_limit":"1/s"}"#;
    sources.reconfigure(&[source(&id, limited)], 1024).await;
    assert!(!Arc::ptr_eq(&before, &sources.find(&id).unwrap()));
}

#[tokio::test]
async fn a_source_of_the_api_is_back_when_the_file_has_its_id_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let id = SourceId::new("gh").unwrap();
    let stored = || StoredSource {
        id: id.to_string(),
        definition: Some(SourceDefinition {
            changed_at: clock::now(),
            bytes: KeyBytes(GITHUB.to_vec()),
        }),
        counts: None,
    };
    let is_of_api = |sources: &Sources| {
        let known = sources.find(&id).unwrap();
        matches!(known.origin, Origin::Api { .. })
    };
    let at_start = sources_with(&opened.outbox, &[source(&id, GITHUB)], vec![stored()]);
    assert!(!is_of_api(&at_start));
    at_start.reconfigure(&[], 1024).await;
    assert!(is_of_api(&at_start));
    let at_reload = sources_with(&opened.outbox, &[], vec![stored()]);
    assert!(is_of_api(&at_reload));
    at_reload.reconfigure(&[source(&id, GITHUB)], 1024).await;
    assert!(!is_of_api(&at_reload));
    at_reload.reconfigure(&[], 1024).await;
    assert!(is_of_api(&at_reload));
}
