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

/// The kind, the head, and the body if the record has its own.
fn spelled(record: &Record<'_>) -> String {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let head = hex(&head(record));
    let body = record.own_body().map(|body| format!(" {}", hex(&body)));
    format!("{} {head}{}", record.kind(), body.unwrap_or_default())
}

fn head(record: &Record<'_>) -> Vec<u8> {
    let mut head = Vec::new();
    record.encode(&mut head);
    head
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
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
        let (kind, mut head, body) = (record.kind(), head(&record), record.own_body());
        let body = body.as_deref();
        let read = |head: &[u8], body: Option<&[u8]>| {
            Record::decode(kind, head, body).map(|read| read.is_some())
        };
        assert_eq!(Record::decode(kind, &head, body), Ok(Some(record.clone())));
        for cut in 0..head.len() {
            assert!(read(&head[..cut], body).is_err(), "cut at {cut}");
        }
        if let (Some(body), Record::EndpointSpec(_)) = (body, &record) {
            for cut in 0..body.len() {
                assert!(read(&head, Some(&body[..cut])).is_err(), "cut at {cut}");
            }
            let longer = [body, &[0]].concat();
            assert!(read(&head, Some(&longer)).is_err(), "bytes left over");
        }
        // Without its body a definition says nothing; the body of others is no part of them.
        assert_eq!(read(&head, None), Ok(body.is_none()));
        head.push(0);
        assert!(read(&head, body).is_err(), "bytes left over");
    }
    assert_eq!(Record::decode(200, &[], None), Err(BadRecord { kind: 200 }));
}

#[test]
fn the_head_of_a_definition_says_whose_it_is_and_nothing_else() {
    for record in samples() {
        let head = head(&record);
        let defined = Defined::by(record.kind(), &head);
        assert_eq!(defined.is_some(), record.own_body().is_some());
        let expected = match &record {
            Record::EndpointSpec(row) => Some(Defined::Endpoint(row.no)),
            Record::Source(row) => Some(Defined::Source(row.id.to_owned())),
            _ => None,
        };
        assert_eq!(defined, expected);
        let has = |part: &[u8]| head.windows(part.len()).any(|at| at == part);
        assert!(!has(&[7; 24]) && !has(&[8; 24]) && !has(b"preset") && !has(b"https"));
    }
}

/// A store may hold jobs that outboxd wrote before jobs were shown.
#[test]
fn a_job_that_was_written_without_its_progress_is_read() {
    let head = bytes(
        "01020102010401076f726465722e2a00010903fe00000000000000000000010000000000fd000000000000594001",
    );
    let Ok(Some(Record::Job(row))) = Record::decode(14, &head, Some(&[])) else {
        panic!("it is not read");
    };
    assert_eq!((row.no, row.endpoint, row.work), (1, 2, JobWork::Purge));
    assert_eq!((row.rate, row.done), (100f64.to_bits(), true));
    assert_eq!((row.created_at, row.matched, row.taken), (0, 0, 0));
}

/// A store may hold definitions from before they stood in bodies. Overwriting does not reach them.
#[test]
fn definitions_that_stand_in_heads_are_read() {
    let former = [
        "10 07fd00a8da769b0100001568747470733a2f2f6578616d706c652e636f6d2f6801076f726465722e2a0218070707070707070707070707070707070707070707070707010918080808080808080808080808080808080808080808080808000103782d6101621001fd00000000000049400101fb881301fb8813000000000102010201640100",
        "20 07fd00a8da769b0100001568747470733a2f2f6578616d706c652e636f6d2f6801012a0000100000000000000000000000117b22666f726d6174223a2262617265227d",
        "21 0b7374726970652d6c697665fd00a8da769b010000137b22707265736574223a22737472697065227d",
    ];
    let mut definitions = samples();
    definitions.retain(|record| record.own_body().is_some());
    assert_eq!(definitions.len(), former.len());
    for (line, definition) in former.iter().zip(definitions) {
        let (kind, head) = line.split_once(' ').unwrap();
        let (kind, head) = (kind.parse().unwrap(), bytes(head));
        for body in [Some(&[][..]), None] {
            let read = Record::decode(kind, &head, body).unwrap();
            assert_eq!(read.as_ref(), Some(&definition));
        }
        assert_eq!(Defined::by(kind, &head), None);
        assert!(Record::decode(kind, &head[1..], None).is_err());
    }
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
    fn no_bytes_make_a_record_panic(
        kind in 0..28u8,
        head in proptest::collection::vec(any::<u8>(), 0..200),
        body in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
    ) {
        let _ = Record::decode(kind, &head, body.as_deref());
        let _ = Defined::by(kind, &head);
    }

    #[test]
    fn a_mutated_record_never_panics(which in any::<proptest::sample::Index>(), at in any::<usize>(), flip in 1..=255u8) {
        let samples = samples();
        let record = which.get(&samples);
        let mut parts = [head(record), record.own_body().unwrap_or_default().into_owned()];
        let part = at % 2;
        let len = parts[part].len().max(1);
        if let Some(byte) = parts[part].get_mut(at / 2 % len) {
            *byte ^= flip;
        }
        let _ = Record::decode(record.kind(), &parts[0], Some(&parts[1]));
    }
}
