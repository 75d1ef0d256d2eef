//! A store with something of everything in it, and the question whether it is still there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::harness::{Answer, Daemon, Home, Receiver, endpoint};

/// Events that are delivered, waiting after an attempt, waiting for later, dead and held,
/// with a key and without, and where each stands.
pub struct Populated {
    pub home: Home,
    pub config: String,
    _receiver: Receiver,
    /// What the endpoint `down` answers.
    down: Arc<AtomicU16>,
    /// Event, endpoint, the delivery as it was shown.
    known: Vec<(String, String, Value)>,
    keyed: String,
    keyed_body: &'static str,
}

impl Populated {
    /// Makes it with a daemon that goes on running.
    pub fn new() -> (Populated, Daemon) {
        let down = Arc::new(AtomicU16::new(500));
        let answers = down.clone();
        let receiver = Receiver::answering(move |seen| {
            Answer::status(match seen.path.as_str() {
                "/down" => answers.load(Ordering::SeqCst),
                "/broken" => 500,
                _ => 200,
            })
        });
        let late =
            "types = [\"a.*\"]\n[endpoint.retry]\nfirst = \"1h\"\nmax = \"1h\"\nschedule = []";
        let brief = "types = [\"a.*\"]\n[endpoint.retry]\nschedule = [\"10ms\"]";
        let config = endpoint("ok", &receiver.url("/ok"), "types = [\"a.*\"]")
            + &endpoint("down", &receiver.url("/down"), late)
            + &endpoint("broken", &receiver.url("/broken"), brief)
            + &endpoint("off", &receiver.url("/off"), "types = [\"a.*\"]");
        let mut home = Home::new();
        std::fs::write(home.path("boot_id"), "boot-1\n").unwrap();
        let boot = home.path("boot_id").display().to_string();
        home.set_env("OUTBOXD_BOOT_ID_FILE", boot);
        let daemon = home.start(&config);
        let mut store = Populated {
            home,
            config,
            _receiver: receiver,
            down,
            known: Vec::new(),
            keyed: String::new(),
            keyed_body: r#"{"type": "a.keyed", "data": [1], "idempotency_key": "k1"}"#,
        };
        let disabled = daemon.tcp.post("/v1/endpoints/off/disable");
        assert_eq!(disabled.status, 204, "{}", disabled.text());
        let first = daemon.send("a.one", r#"{"first" :  1}"#);
        let later = daemon.send_with("a.two", "2", "\"deliver_at\": \"2099-01-01T00:00:00Z\"");
        let answer = daemon
            .tcp
            .post_json("/v1/events", store.keyed_body)
            .expect(202);
        store.keyed = answer["id"].as_str().unwrap().to_owned();
        for event in [first, store.keyed.clone()] {
            daemon.wait_status(&event, "ok", "delivered");
            daemon.wait_status(&event, "broken", "dead");
            daemon.wait_status(&event, "off", "held");
            let tried = |delivery: &Value| delivery["attempt_count"] == 1;
            daemon.wait_delivery(&event, "down", "attempted once", tried);
            store.note(&daemon, &event);
        }
        store.note(&daemon, &later);
        (store, daemon)
    }

    fn note(&mut self, daemon: &Daemon, event: &str) {
        for endpoint in ["ok", "down", "broken", "off"] {
            let shown = daemon.delivery(event, endpoint);
            self.known
                .push((event.to_owned(), endpoint.to_owned(), shown));
        }
    }

    /// Starts a daemon on it again.
    #[track_caller]
    pub fn start(&self) -> Daemon {
        self.home.start(&self.config)
    }

    /// Every delivery stands where it stood, with its attempts; endpoint and key as well.
    #[track_caller]
    pub fn is_all_there(&self, daemon: &Daemon) {
        for (event, endpoint, known) in &self.known {
            assert_eq!(&daemon.delivery(event, endpoint), known);
        }
        assert_eq!(daemon.endpoint("off")["disabled_reason"], "manual");
        let again = daemon
            .tcp
            .post_json("/v1/events", self.keyed_body)
            .expect(202);
        assert_eq!(
            (&again["id"], &again["duplicate"]),
            (&self.keyed.as_str().into(), &true.into())
        );
        assert_eq!(daemon.status()["damaged_records"], 0);
    }

    /// Asks the same of a daemon whose index may be damaged. Whether it could answer all:
    /// it may refuse and it may end, but what it shows has to be right.
    #[track_caller]
    pub fn shows_nothing_wrong(&self, daemon: &Daemon) -> bool {
        self.known.iter().all(|(event, endpoint, known)| {
            let path = format!("/v1/events/{event}/deliveries/{endpoint}");
            match daemon.tcp.try_request("GET", &path, &[], b"") {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(&answer.json(), known);
                    true
                }
                Ok(answer) => {
                    assert!(answer.status >= 500, "{} {}", answer.status, answer.text());
                    false
                }
                Err(_) => false,
            }
        })
    }

    /// What waits is delivered once its endpoint is well, and what is new is too.
    #[track_caller]
    pub fn goes_on(&self, daemon: &Daemon) {
        self.down.store(200, Ordering::SeqCst);
        let new = daemon.send("a.new", "null");
        daemon.wait_status(&new, "ok", "delivered");
        for (event, endpoint, known) in &self.known {
            if endpoint == "down" && known["attempt_count"] == 1 {
                let path = format!("/v1/events/{event}/deliveries/down/retry");
                daemon.tcp.post(&path).expect(202);
                daemon.wait_status(event, "down", "delivered");
            }
        }
    }
}

/// How the daemon says it recovered.
#[track_caller]
pub fn recovery(daemon: &Daemon) -> String {
    daemon.status()["recovery"]["kind"]
        .as_str()
        .unwrap()
        .to_owned()
}
