use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::*;
use crate::app::counters::Counters;
use crate::app::reader::Reader;
use crate::app::tail::Tail;
use crate::outbox::{Keep, Opened, Options};

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

/// The sources of an outbox, one of GitHub among them.
fn sources(outbox: &Outbox) -> (Sources, SourceId) {
    let id = SourceId::new("gh").unwrap();
    let given = br#"{"preset":"github","secrets":["s"]}"#;
    let Ok(Json::Object(given)) = Json::parse(given) else {
        panic!("it is an object");
    };
    let source = inbound::read(id.clone(), &given).unwrap();
    let reader = Reader::new(outbox.clone());
    let counters = Arc::new(Counters::default());
    let events = Events::new(outbox.clone(), reader, None, counters, Tail::default());
    let events = Arc::new(events);
    let sources = Sources::new(outbox.clone(), events, &[source], Vec::new(), None, 1024);
    (sources, id)
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

/// A caller that goes away as soon as its request was read.
async fn begin_and_leave<T: std::fmt::Debug>(change: impl Future<Output = T>) {
    tokio::select! {
        biased;
        done = change => panic!("it was done at once: {done:?}"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn a_change_is_made_to_its_end_when_the_caller_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let mut commits = opened.commits;
    tokio::spawn(async move {
        while let Some(mut commit) = commits.recv().await {
            commit.answer();
        }
    });
    let (sources, _) = sources(&opened.outbox);
    let id = SourceId::new("mine").unwrap();
    let text = |key, text: &str| (key, Some(Json::from(text)));
    let made = vec![text("preset", "query_token"), text("token", "t")];
    // One that waits has its turn when the one before it has ended.
    begin_and_leave(sources.create(Some(id.clone()), made)).await;
    sources.change(&id, Vec::new()).await.unwrap();
    begin_and_leave(sources.change(&id, vec![text("description", "changed")])).await;
    let known = sources.change(&id, Vec::new()).await.unwrap();
    assert_eq!(&*known.source.description, "changed");
    begin_and_leave(sources.remove(&id)).await;
    assert!(sources.change(&id, Vec::new()).await.is_err());
    assert!(sources.find(&id).is_err());
}
