use proptest::prelude::*;

use super::*;
use crate::domain::attempt::ErrorKind;
use crate::domain::delivery::{Reason, Status};

const HEAD: EventHead<'static> = EventHead {
    id: 0x0198_0000_0000_1234_5678_9abc_def0_1234,
    accepted_at: 1_700_000_000_123,
    tenant: "default",
    event_type: "order.created",
    key: Some("order-7"),
    idempotency: None,
    deliver_at: Some(1_700_000_000_000),
    content_type: None,
    data_at: 71,
    body_len: 80,
    body_lost: false,
};

const fn attempt(response: u32) -> AttemptRow<'static> {
    AttemptRow {
        at: 1_700_000_000_000,
        duration_ms: 12,
        status: Some(503),
        error: Some((7, "no")),
        response,
        address: None,
    }
}

fn attempted(response: u32) -> Attempted<'static> {
    let mut attempt = attempt(response);
    attempt.address = Some("127.0.0.1:80".parse().unwrap());
    Attempted {
        id: 1,
        endpoint: 2,
        ended_at: 3,
        attempt,
        next: NextRow::Retry {
            due: 4,
            budget_from: 5,
            tries: 6,
            exact: false,
        },
        previous: 7,
    }
}

/// The daemon's own fault, and the end of a delivery whose body is damaged.
fn never_sent() -> Attempted<'static> {
    let mut attempted = attempted(0);
    attempted.attempt.status = None;
    attempted.attempt.error = Some((error_number(ErrorKind::Local), "no"));
    attempted.attempt.address = None;
    attempted.next = NextRow::Dead {
        reason: reason_number(Reason::Damaged),
    };
    attempted
}

fn rewritten(response: u32, state: DeliveryRow) -> Rewritten<'static> {
    Rewritten {
        event: EventHead {
            content_type: Some("text/plain"),
            ..HEAD
        },
        deliveries: vec![RewrittenDelivery {
            endpoint: 1,
            state,
            attempts: vec![attempt(response)],
        }],
        extras_len: 0,
    }
}

fn shaped() -> SpecRow {
    SpecRow {
        url: "https://example.com/h".into(),
        types: vec!["*".into()],
        secrets: Vec::new(),
        headers: Vec::new(),
        max_in_flight: 16,
        rate_limit: None,
        ordering: 0,
        timeout_ms: None,
        retry: RetryRow::default(),
        description: String::new(),
        http2: None,
        shaping: KeyBytes(br#"{"format":"bare"}"#.to_vec()),
    }
}

fn samples() -> Vec<Record<'static>> {
    let row = DeliveryRow {
        status: 4,
        reason: 4,
        attempt_count: 3,
        tries: 2,
        due: 9,
        budget_from: 8,
        finished_at: 10,
        exact: true,
        last_attempt: 4200,
        attempt_bytes: 66,
    };
    let idempotency = Idempotency {
        key: "k",
        content: [3; 32],
    };
    vec![
        Record::Accepted(Accepted {
            event: HEAD,
            due: 5,
            endpoints: vec![1, 300],
            extras_len: 0,
        }),
        Record::Acted(Acted {
            id: 1,
            endpoint: 2,
            step: StepRow::Die { at: 3, reason: 6 },
        }),
        Record::Endpoint(EndpointRow {
            no: 1,
            id: "orders",
            tenant: "default",
            state: EndpointStateRow {
                disabled: Some((2, 5)),
                off_in_file: None,
                missing: Some(6),
                released_at: 7,
                failing: Some((8, 9)),
            },
        }),
        Record::KeyKept(KeyKept {
            accepted_at: 9,
            tenant: "default",
            idempotency,
            id: 5,
            event_type: "a",
            deliveries: 1,
        }),
        Record::Forgotten(vec![1, u128::MAX]),
        Record::KeysForgotten(vec![("default", "k")]),
        Record::LastId(77),
        Record::EndpointSpec(EndpointSpecRow {
            no: 7,
            changed_at: 1_767_225_600_000,
            spec: SpecRow {
                url: "https://example.com/h".into(),
                types: vec!["order.*".into()],
                secrets: vec![
                    (KeyBytes(vec![7; 24]), Some(9)),
                    (KeyBytes(vec![8; 24]), None),
                ],
                headers: vec![("x-a".into(), KeyBytes(b"b".to_vec()))],
                max_in_flight: 16,
                rate_limit: Some(50f64.to_bits()),
                ordering: 1,
                timeout_ms: Some(5000),
                retry: RetryRow {
                    first: Some(5000),
                    schedule: Some(vec![1, 2]),
                    ..RetryRow::default()
                },
                description: "d".into(),
                http2: Some(false),
                shaping: KeyBytes(Vec::new()),
            },
        }),
        Record::EndpointDeleted(EndpointDeleted { no: 7, at: 9 }),
        Record::EndpointForgotten(7),
        Record::Moved(Moved {
            endpoint: 2,
            step: MovedStep::Take(StepRow::Hold { reason: 3 }),
            ids: vec![1, u128::MAX],
        }),
        Record::Moved(Moved {
            endpoint: 2,
            step: MovedStep::Remove,
            ids: vec![5],
        }),
        Record::Job(JobRow {
            no: 1,
            endpoint: 2,
            work: JobWork::Purge,
            statuses: vec![1, 4],
            types: vec!["order.*"],
            since: None,
            until: Some(9),
            position: 3,
            last: 1 << 80,
            rate: 100f64.to_bits(),
            done: true,
            created_at: 1_700_000_000_000,
            matched: 300,
            taken: 7,
        }),
        Record::Erased(ErasedRow {
            id: 1,
            at: 2,
            done: false,
        }),
        Record::Attempted(attempted(4)),
        Record::Rewritten(rewritten(4, row)),
        Record::Attempted(never_sent()),
        Record::Accepted(Accepted {
            event: HEAD,
            due: 5,
            endpoints: vec![1, 300],
            extras_len: 7,
        }),
        Record::Rewritten(Rewritten {
            extras_len: 7,
            ..rewritten(4, row)
        }),
        Record::EndpointSpec(EndpointSpecRow {
            no: 7,
            changed_at: 1_767_225_600_000,
            spec: shaped(),
        }),
        Record::Source(SourceRow {
            id: "stripe-live",
            changed_at: 1_767_225_600_000,
            definition: KeyBytes(br#"{"preset":"stripe"}"#.to_vec()),
        }),
        Record::SourceForgotten("stripe-live"),
        Record::SourceCounts(SourceCountsRow {
            id: "stripe-live",
            counts: br#"{"accepted":7}"#,
        }),
    ]
}

fn spelled(record: &Record<'_>) -> String {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {hex}", record.kind())
}

/// What stores hold today. If this fails, the format has changed: see the recipe above.
#[test]
fn records_keep_their_golden_bytes() {
    let golden = include_str!("golden.txt");
    let now: Vec<String> = samples().iter().map(spelled).collect();
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write("src/outbox/record/golden.txt", now.join("\n") + "\n").unwrap();
    }
    assert_eq!(now, golden.lines().collect::<Vec<_>>());
}

#[test]
fn records_are_read_as_they_are_written_and_never_from_other_bytes() {
    for record in samples() {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(Record::decode(record.kind(), &bytes).unwrap(), record);
        for cut in 0..bytes.len() {
            assert!(
                Record::decode(record.kind(), &bytes[..cut]).is_err(),
                "cut at {cut}"
            );
        }
        bytes.push(0);
        assert!(
            Record::decode(record.kind(), &bytes).is_err(),
            "bytes left over"
        );
    }
    assert_eq!(Record::decode(200, &[]), Err(BadRecord { kind: 200 }));
}

/// A store may hold jobs that outboxd wrote before jobs were shown.
#[test]
fn a_job_that_was_written_without_its_progress_is_read() {
    let hex = "01020102010401076f726465722e2a00010903fe00000000000000000000010000000000fd000000000000594001";
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let Ok(Record::Job(row)) = Record::decode(14, &bytes) else {
        panic!("it is not read");
    };
    assert_eq!((row.no, row.endpoint, row.work), (1, 2, JobWork::Purge));
    assert_eq!((row.rate, row.done), (100f64.to_bits(), true));
    assert_eq!((row.created_at, row.matched, row.taken), (0, 0, 0));
}

#[test]
fn nobody_sees_a_secret_in_the_record_of_a_source() {
    let row = SourceRow {
        id: "a",
        changed_at: 1,
        definition: KeyBytes(b"hush".to_vec()),
    };
    let (shown, bytes) = (format!("{row:?}"), format!("{:?}", b"hush"));
    assert!(!shown.contains("hush") && !shown.contains(bytes.trim_matches(['[', ']'])));
}

#[test]
fn states_are_read_as_they_are_written() {
    for status in Status::ALL {
        assert_eq!(status_of(status_number(status)), Some(status));
    }
    for reason in Reason::ALL {
        assert_eq!(reason_of(reason_number(reason)), Some(reason));
    }
    for kind in ErrorKind::ALL {
        assert_eq!(error_of(error_number(kind)), Some(kind));
    }
    assert_eq!(
        (status_of(0), reason_of(0), error_of(99)),
        (None, None, None)
    );
}

proptest! {
    #[test]
    fn no_bytes_make_a_record_panic(kind in 0..26u8, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(kind, &bytes);
    }

    #[test]
    fn a_mutated_record_never_panics(which in any::<proptest::sample::Index>(), at in any::<usize>(), flip in 1..=255u8) {
        let samples = samples();
        let record = which.get(&samples);
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let at = at % bytes.len();
        bytes[at] ^= flip;
        let _ = Record::decode(record.kind(), &bytes);
    }
}
