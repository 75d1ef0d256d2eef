//! A log that is looked at and not opened, and what is left of records in it.

use super::super::traces::Trace;
use super::*;

const BODIES: [&[u8]; 3] = [b"first body", b"", b"the third body, a little longer"];

fn look(yard: &Yard) -> (LogReader, Found) {
    LogReader::look(yard.dir.path(), Arc::new(SystemDisk)).unwrap()
}

/// Where a head stands, its kind, and the head as far as it could be mended.
type Head = (Lsn, u8, Option<Vec<u8>>);

/// All files with what is in them.
fn files(yard: &Yard) -> Vec<(String, Vec<u8>)> {
    let read = |name: &String| std::fs::read(yard.dir.path().join("log").join(name)).unwrap();
    let names = yard.names().into_iter();
    names.map(|name| (name.clone(), read(&name))).collect()
}

fn traces_in(reader: &LogReader, from: Lsn, to: Lsn) -> (Vec<Rec>, Vec<Head>) {
    let (mut records, mut heads) = (Vec::new(), Vec::new());
    let flow = reader.traces(from, to, |trace| {
        match trace {
            Trace::Record(record) => records.push(Rec::of(record)),
            Trace::Head { lsn, kind, mended } => heads.push((lsn, kind, mended)),
        }
        ControlFlow::<()>::Continue(())
    });
    assert!(flow.unwrap().is_continue());
    (records, heads)
}

/// Two batches and a mark, in an older segment or not.
fn written(yard: &Yard) -> (Committed, Vec<Rec>) {
    let (mut log, _) = yard.open();
    let (first, mut records) = commit(&mut log, &BODIES);
    records.extend(commit(&mut log, &BODIES).1);
    log.mark().unwrap();
    (first, records)
}

#[test]
fn looking_finds_what_opening_finds_and_changes_nothing() {
    let yard = Yard::new();
    let (first, _) = written(&yard);
    let whole = yard.read(Lsn(0), SEGMENT as usize);
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    for harm in 0..4 {
        let yard = Yard::new();
        drop(yard.open());
        yard.write(Lsn(0), &whole);
        match harm {
            0 => {}
            // A tail that is torn, in the segment and in the one ahead; the last batch; a header.
            1 => {
                yard.write(Lsn(end / 64 * 64 + 64), b"oBxF and so on");
                yard.write(Lsn(SEGMENT + HEADER + 10), b"x");
            }
            2 => yard.flip(Lsn(first.lsn.0 + 8)),
            _ => yard.flip(Lsn(20)),
        }
        let before = files(&yard);
        let (reader, looked) = look(&yard);
        let mut told = Told::default();
        let flow = reader.replay(reader.start(), Lsn::MAX, |replayed| {
            match replayed {
                Replayed::Record(record) => told.records.push(Rec::of(record)),
                Replayed::FrameEnd { end, .. } => told.ends.push(end),
                Replayed::Damage(damage) => told.damage.push(damage),
            }
            ControlFlow::<()>::Continue(())
        });
        assert!(flow.unwrap().is_continue());
        assert!(before == files(&yard), "{harm}");
        let (log, found) = yard.open();
        assert_eq!(
            (looked.start, looked.end, looked.torn),
            (found.start, found.end, found.torn)
        );
        assert_eq!(
            (looked.damage, looked.proven),
            (found.damage, found.proven),
            "{harm}"
        );
        let opened = super::told(&log, log.start());
        assert_eq!(told.records, opened.records, "{harm}");
        // Damage at the end goes as far as the log does, which goes on in the next segment now.
        let begins = |told: &Told| -> Vec<(Lsn, DamageKind)> {
            let damage = told.damage.iter();
            damage.map(|damage| (damage.from, damage.kind)).collect()
        };
        assert_eq!(begins(&told), begins(&opened), "{harm}");
        assert_eq!(found.torn.is_some(), harm == 1);
    }
}

#[test]
fn a_flipped_bit_of_a_head_is_mended() {
    let yard = Yard::new();
    let (_, records) = written(&yard);
    let record = &records[1];
    let head_at = record.lsn.0 + 32;
    for bit in 0..record.head.len() as u64 * 8 {
        let at = Lsn(head_at + bit / 8);
        let was = yard.read(at, 1)[0];
        yard.write(at, &[was ^ (1 << (bit % 8))]);
        let (reader, _) = look(&yard);
        let (whole, heads) = traces_in(&reader, record.lsn, Lsn(record.lsn.0 + 1));
        assert_eq!(whole, []);
        assert_eq!(
            heads,
            [(record.lsn, record.kind, Some(record.head.clone()))],
            "{bit}"
        );
        // A second one is too much.
        let other = Lsn(head_at + (bit / 8 + 3) % record.head.len() as u64);
        let second = yard.read(other, 1)[0];
        yard.write(other, &[second ^ 0x11]);
        let (reader, _) = look(&yard);
        let (_, heads) = traces_in(&reader, record.lsn, Lsn(record.lsn.0 + 1));
        assert_eq!(heads, [(record.lsn, record.kind, None)], "{bit}");
        yard.write(other, &[second]);
        yard.write(at, &[was]);
    }
}

#[test]
fn the_records_of_a_frame_without_its_header_are_strays() {
    let yard = Yard::new();
    let (first, records) = written(&yard);
    yard.write(first.lsn, &[0; FRAME_HEADER]);
    let (log, _) = yard.open();
    let without = told(&log, log.start());
    assert_eq!(without.records, records[3..]);
    assert_eq!(without.damage.len(), 1);
    drop(log);
    let options = yard.options.clone().with_strays();
    let (log, _) = Log::open(yard.dir.path(), options, None).unwrap();
    let with = told(&log, log.start());
    assert_eq!((with.records, with.damage), (records, without.damage));
    assert!(with.ends.contains(&first.end));
    // Each is read where it stands.
    let mut buf = Vec::new();
    assert!(
        log.reader()
            .read(Lsn(first.lsn.0 + FRAME_HEADER as u64), &mut buf)
            .is_ok()
    );
}

#[test]
fn a_segment_that_is_ended_early_is_followed_by_the_next() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (_, mut records) = commit(&mut log, &BODIES);
    log.begin_segment().unwrap();
    records.extend(commit(&mut log, &BODIES).1);
    assert_eq!(log.segments().len(), 2);
    assert!(records[3].lsn.0 > SEGMENT);
    let told = told(&log, log.start());
    assert_eq!((told.records, told.damage), (records.clone(), Vec::new()));
    log.drop_below(Lsn(SEGMENT)).unwrap();
    drop(log);
    let (log, found) = yard.open();
    assert_eq!((found.start, found.damage), (Lsn(SEGMENT), Vec::new()));
    assert_eq!(super::told(&log, log.start()).records, records[3..]);
}
