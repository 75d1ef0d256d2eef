//! Every flip and every truncation: refused or quarantined, never believed.

use super::*;

const BODIES: [&[u8]; 3] = [b"first body", b"", b"the third body, a little longer"];

/// Three frames and a mark; what was written, and where the frames end.
fn three_frames(yard: &Yard) -> (Vec<Rec>, Vec<Lsn>) {
    let (mut log, _) = yard.open();
    let (mut records, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (committed, written) = commit(&mut log, &BODIES);
        records.extend(written);
        ends.push(committed.end);
    }
    log.mark().unwrap();
    (records, ends)
}

/// Nothing that was told differs from what was written, but for bodies that are gone.
fn assert_true(told: &Told, written: &[Rec]) {
    for record in &told.records {
        let original = written.iter().find(|w| w.lsn == record.lsn).unwrap();
        assert_eq!((original.kind, &original.head), (record.kind, &record.head));
        if record.body.is_some() {
            assert_eq!(original.body, record.body);
        }
    }
}

#[test]
fn every_flip_in_a_proven_frame_costs_what_it_hit_and_is_counted() {
    let yard = Yard::new();
    let (written, ends) = three_frames(&yard);
    let (log, _) = yard.open();
    let whole = told(&log, log.start());
    assert_eq!(whole.records, written);
    let mut quiet = 0;
    for at in ends[0].0..ends[1].0 {
        for bit in [0, 3, 7] {
            let was = yard.read(Lsn(at), 1)[0];
            yard.write(Lsn(at), &[was ^ 1 << bit]);
            // As a replay sees it, while the log is open …
            let told = told(&log, log.start());
            assert_true(&told, &written);
            let lost = written.len() - told.records.len();
            let bodies = told.records.iter().filter(|r| r.body.is_none()).count();
            // … and as opening does.
            let (again, found) = yard.open();
            assert_eq!(super::told(&again, again.start()), told, "at {at:#x}");
            assert_eq!(found.damage, told.damage);
            assert_eq!((found.torn, found.end), (None, Lsn(ends[2].0 + 64)));
            if told.damage.is_empty() {
                assert_eq!(told.records, written);
                quiet += 1;
            } else {
                let in_header = at < ends[0].0 + FRAME_HEADER as u64;
                assert_eq!(lost + bodies, if in_header { 3 } else { 1 }, "at {at:#x}");
            }
            yard.write(Lsn(at), &[was]);
        }
    }
    // Padding, and a seal that proves nothing, are all that may change unseen.
    let padding = 2 + 8 + 2 + 15;
    assert!(quiet <= 3 * (3 * 8 + padding + 64), "{quiet}");
}

#[test]
fn every_flip_in_a_read_is_refused() {
    let yard = Yard::new();
    let (written, _) = three_frames(&yard);
    let (log, _) = yard.open();
    let reader = log.reader();
    let mut buf = Vec::new();
    let record = &written[5];
    for at in record.lsn.0..record.lsn.0 + 32 + 6 + 31 {
        yard.flip(Lsn(at));
        match reader.read(record.lsn, &mut buf) {
            Ok(read) => {
                let read = Rec::of(read);
                assert!(read == *record || read.body.is_none());
            }
            Err(ReadError::Damaged(lsn)) => assert_eq!(lsn, record.lsn),
            Err(error) => panic!("{error}"),
        }
        yard.flip(Lsn(at));
    }
    assert_eq!(Rec::of(reader.read(record.lsn, &mut buf).unwrap()), *record);
}

#[test]
fn every_cut_of_the_last_frame_gives_all_or_nothing_of_it() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (first, mut written) = commit(&mut log, &BODIES);
    let (last, more) = commit(&mut log, &BODIES);
    drop(log);
    let before = yard.read(Lsn(0), SEGMENT as usize);
    let used = (last.end.0 - last.lsn.0) as usize;
    let payload = yard.read(last.lsn, used);
    // Up to its last byte that is not zero: cut there, it is whole.
    let whole = payload.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for cut in 0..=used {
        yard.write(Lsn(0), &before);
        yard.write(Lsn(last.lsn.0 + cut as u64), &vec![0; used - cut]);
        let (log, found) = yard.open();
        let told = told(&log, log.start());
        if cut < whole {
            assert_eq!(told.records, written, "cut at {cut}");
            assert_eq!(found.end, first.end);
            assert_eq!(found.torn.is_some(), cut > 0);
        } else {
            assert_eq!(told.records.len(), 6);
            assert_eq!((found.torn, found.end), (None, last.end));
        }
        assert_eq!(told.damage, []);
        assert_eq!(found.damage, []);
    }
    written.extend(more);
}

#[test]
fn every_truncation_of_the_current_segment_is_damage_and_keeps_what_is_left() {
    let yard = Yard::new();
    let (written, ends) = three_frames(&yard);
    let whole = yard.read(Lsn(0), SEGMENT as usize);
    let steps = (0..ends[2].0 + 64).step_by(7).chain([SEGMENT - 1]);
    for len in steps {
        // A fresh copy each time: what follows damage is written behind it.
        let yard = Yard::new();
        drop(yard.open());
        yard.write(Lsn(0), &whole);
        open(&yard.path(0)).set_len(len).unwrap();
        let opened = yard.try_open();
        let (log, found) = opened.unwrap_or_else(|error| panic!("{len}: {error}"));
        assert!(!found.damage.is_empty(), "{len}");
        assert_eq!(found.torn, None);
        let told = told(&log, log.start());
        assert_true(&told, &written);
        let intact = ends.iter().filter(|end| end.0 <= len).count() * 3;
        assert!(told.records.len() >= intact, "{len}");
        assert!(told.damage.iter().any(|d| d.kind == DamageKind::Segment));
        drop(log);
        // It is still known the next time.
        let (log, _) = yard.open();
        assert_eq!(super::told(&log, log.start()).records, told.records);
    }
}
