//! One scenario for each rule, named after what breaks without it.

use super::*;

const BIG: [u8; 5000] = [b'b'; 5000];

/// Commits frames of one big record until `segments` segments hold some.
fn fill(log: &mut Log, segments: usize) -> Vec<Rec> {
    let mut records = Vec::new();
    while log.segments().len() < segments {
        records.extend(commit(log, &[&BIG]).1);
    }
    records
}

fn spare_ready(log: &mut Log) {
    // Waits for the thread.
    log.next_ready();
}

#[test]
fn what_was_committed_is_read_and_replayed_as_it_was() {
    let yard = Yard::new();
    let (mut log, found) = yard.open();
    assert!(found.created);
    assert_eq!(
        (found.store_id, found.start, found.end),
        (ID, Lsn(0), FIRST)
    );
    let (first, mut written) = commit(&mut log, &[b"one", b"", &BIG]);
    let (_, more) = commit(&mut log, &[b"two"]);
    written.extend(more.clone());
    let mut buf = Vec::new();
    for record in &written {
        let read = log.reader().read(record.lsn, &mut buf).map(Rec::of);
        assert_eq!(read.unwrap(), *record);
    }
    assert_eq!(told(&log, Lsn(0)).records, written);
    assert_eq!(told(&log, first.end).records, more);
    assert_eq!(told(&log, log.end()).records, []);
    let some = try_told(&log, Lsn(0), first.end).unwrap();
    assert_eq!(some.ends, [first.end]);
    drop(log);
    let (log, found) = yard.open();
    assert!(!found.created);
    assert_eq!(told(&log, Lsn(0)).records, written);
    assert!(matches!(
        log.reader().read(log.end(), &mut buf),
        Err(ReadError::NotThere(_))
    ));
    assert!(matches!(
        log.reader().read(Lsn(written[1].lsn.0 + 8), &mut buf),
        Err(ReadError::Damaged(_))
    ));
}

#[test]
fn a_replay_goes_over_segments_and_begins_at_any_frame() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let written = fill(&mut log, 4);
    let all = told(&log, Lsn(0));
    assert_eq!((&all.records, &all.damage), (&written, &vec![]));
    for (n, end) in all.ends.iter().enumerate() {
        assert_eq!(told(&log, *end).records, written[n + 1..]);
        for off in [end.0 - 64, end.0 + 1, end.0 + 24] {
            assert!(matches!(
                try_told(&log, Lsn(off), Lsn::MAX),
                Err(LogError::NotAPosition(_))
            ));
        }
    }
    for (base, len) in log.segments() {
        let from = written.iter().filter(|w| w.lsn < base).count();
        let to = written.iter().filter(|w| w.lsn.0 < base.0 + len).count();
        let told = try_told(&log, base, Lsn(base.0 + len)).unwrap();
        assert_eq!(told.records, written[from..to]);
    }
}

#[test]
fn a_flip_below_the_proven_lsn_is_damage_not_a_tear() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (one, first) = commit(&mut log, &[b"one"]);
    let (two, _) = commit(&mut log, &[b"two"]);
    let (_, third) = commit(&mut log, &[b"three"]);
    drop(log);
    yard.flip(two.lsn);
    let (log, found) = yard.open();
    let damage = Damage {
        from: one.end,
        to: two.end,
        records: 1,
        kind: DamageKind::Frames,
    };
    assert_eq!((found.damage, found.torn), (vec![damage], None));
    let told = told(&log, Lsn(0));
    assert_eq!(told.damage, [damage]);
    assert_eq!(told.records, [first, third].concat());
}

#[test]
fn a_flip_in_the_last_frame_is_damage_once_a_mark_proves_it() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (_, written) = commit(&mut log, &[b"one", b"two", b"three"]);
    log.mark().unwrap();
    let end = log.end();
    log.mark().unwrap();
    assert_eq!(log.end(), end);
    drop(log);
    yard.flip(Lsn(written[1].lsn.0 + 33));
    let (log, found) = yard.open();
    assert_eq!((found.damage.len(), found.torn), (1, None));
    assert_eq!(found.damage[0].kind, DamageKind::Record);
    let told = told(&log, Lsn(0));
    assert_eq!(told.records, [written[0].clone(), written[2].clone()]);
}

#[test]
fn a_damaged_body_leaves_its_head() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (_, written) = commit(&mut log, &[b"one", b"two"]);
    log.mark().unwrap();
    yard.flip(Lsn(written[0].lsn.0 + 32 + 6 + 1));
    let told = told(&log, Lsn(0));
    assert_eq!(told.damage[0].kind, DamageKind::Body);
    assert_eq!(
        (told.records[0].body.as_ref(), &told.records[0].head),
        (None, &written[0].head)
    );
    assert_eq!(told.records[1], written[1]);
    let mut buf = Vec::new();
    let read = log.reader();
    let read = read.read(written[0].lsn, &mut buf).unwrap();
    assert_eq!(read.body, Body::Damaged);
}

#[test]
fn a_torn_last_frame_is_cut_and_its_remains_zeroed() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (one, first) = commit(&mut log, &[b"one"]);
    let (two, _) = commit(&mut log, &[&BIG]);
    drop(log);
    yard.flip(Lsn(two.end.0 - 200));
    let (mut log, found) = yard.open();
    let torn = found.torn.unwrap();
    assert_eq!((torn.at, found.end), (one.end, one.end));
    assert!(torn.bytes > 5000 && torn.bytes <= two.end.0 - two.lsn.0);
    assert_eq!(found.damage, []);
    assert_eq!(told(&log, Lsn(0)).records, first);
    // A mark proves what is left; behind it there is nothing.
    let mark = log.end();
    assert_eq!(mark, Lsn(one.end.0 + 64));
    let rest = yard.read(Lsn(mark.0 - 8), 6000);
    assert!(rest.iter().all(|byte| *byte == 0));
    let (_, third) = commit(&mut log, &[b"three"]);
    drop(log);
    let (log, found) = yard.open();
    assert_eq!((found.damage, found.torn), (vec![], None));
    assert_eq!(told(&log, Lsn(0)).records, [first, third].concat());
}

#[test]
fn a_stale_frame_past_the_cut_never_comes_back() {
    // Frames of one size: were the torn one only overwritten, and not what is behind it,
    // the frame after it would follow the new one seamlessly.
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (one, first) = commit(&mut log, &[b"one"]);
    drop(log);
    let stale_at = Lsn(one.end.0 + 128);
    let stale = mark_bytes(&ID, stale_at, one.end);
    yard.write(one.end, &[0xff; 64]);
    yard.write(stale_at, &stale);
    let (log, found) = yard.open();
    assert_eq!(found.damage, []);
    let torn = found.torn.unwrap();
    assert!(torn.bytes > 128);
    assert_eq!(yard.read(stale_at, 64), [0; 64]);
    assert_eq!(told(&log, Lsn(0)).records, first);
}

#[test]
fn a_frame_that_does_not_follow_the_last_one_is_none() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (one, first) = commit(&mut log, &[b"one"]);
    drop(log);
    let stale = mark_bytes(&ID, one.end, one.end);
    yard.write(one.end, &stale);
    let (log, found) = yard.open();
    assert_eq!(found.torn.map(|torn| torn.at), Some(one.end));
    assert_ne!(yard.read(one.end, stale.len()), stale);
    assert_eq!(told(&log, Lsn(0)).records, first);
}

#[test]
fn a_torn_first_frame_of_a_new_segment_is_cut_there_too() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let mut written = fill(&mut log, 2);
    let torn = written.pop().unwrap();
    drop(log);
    yard.flip(Lsn(torn.lsn.0 + 100));
    // The third is made when the first frame of the second is durable.
    std::fs::remove_file(yard.path(2 * SEGMENT)).unwrap();
    let (mut log, found) = yard.open();
    assert!(found.torn.is_some());
    assert_eq!(log.segments().len(), 1);
    assert_eq!(told(&log, Lsn(0)).records, written);
    assert_eq!(yard.read(Lsn(SEGMENT + HEADER), 6000), [0; 6000]);
    written.extend(fill(&mut log, 3));
    drop(log);
    let (log, found) = yard.open();
    assert_eq!((found.damage, found.torn), (vec![], None));
    assert_eq!(told(&log, Lsn(0)).records, written);
}

#[test]
fn a_batch_that_lost_its_first_frame_at_a_segments_start_is_not_there_at_all() {
    let mut yard = Yard::new();
    yard.options = yard.options.with_frames_of(2048);
    let (mut log, _) = yard.open();
    let (mut written, body) = (Vec::new(), &BIG[..1500]);
    while log.room().unwrap().here > 4500 {
        written.extend(commit(&mut log, &[body]).1);
    }
    let (torn, _) = commit(&mut log, &[body, body, body]);
    assert_eq!(torn.lsn, Lsn(SEGMENT + HEADER));
    drop(log);
    // The third segment is made when the batch is durable; a power cut before that may have
    // kept any of the batch's sectors.
    std::fs::remove_file(yard.path(2 * SEGMENT)).unwrap();
    yard.write(torn.lsn, &[0; 512]);
    for _ in 0..2 {
        let (log, found) = yard.open();
        assert_eq!(found.damage, []);
        let told = told(&log, Lsn(0));
        assert_eq!((told.records, told.damage), (written.clone(), vec![]));
    }
}

#[test]
fn a_bad_first_frame_of_a_segment_is_damage_once_the_next_segment_was_made() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let mut written = fill(&mut log, 2);
    let lost = written.pop().unwrap();
    spare_ready(&mut log);
    drop(log);
    yard.flip(lost.lsn);
    for _ in 0..2 {
        let (log, found) = yard.open();
        assert_eq!(found.torn, None);
        let told = told(&log, Lsn(0));
        assert_eq!(told.records, written);
        assert_eq!(told.damage.iter().map(|d| d.records).sum::<u64>(), 1);
        assert_eq!(log.end().0 / SEGMENT, 2);
    }
}

#[test]
fn a_torn_first_frame_of_a_segment_still_proves_the_last_one_before_it() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let mut written = fill(&mut log, 2);
    let (torn, lost) = (written.pop().unwrap(), written.pop().unwrap());
    drop(log);
    yard.flip(Lsn(torn.lsn.0 + 100));
    yard.flip(Lsn(lost.lsn.0 - 1));
    std::fs::remove_file(yard.path(2 * SEGMENT)).unwrap();
    let (mut log, found) = yard.open();
    assert_eq!((found.damage.len(), found.damage[0].records), (1, 1));
    assert_eq!(found.torn.map(|torn| torn.at), Some(Lsn(SEGMENT + HEADER)));
    assert_eq!(told(&log, Lsn(0)).records, written);
    written.extend(commit(&mut log, &[b"more"]).1);
    drop(log);
    let (log, found) = yard.open();
    assert_eq!(found.torn, None);
    let told = told(&log, Lsn(0));
    assert_eq!((told.records, told.damage.len()), (written, 1));
}

#[test]
fn a_record_of_another_life_is_not_taken_for_this_frames() {
    let (yard, other) = (Yard::new(), Yard::new());
    let mut lives = [yard.open().0, other.open().0];
    commit(&mut lives[0], &[b"same", b"life"]);
    let (committed, _) = commit(&mut lives[1], &[b"same", b"wife"]);
    drop(lives);
    let second = Lsn(FIRST_RECORD.0 + 48);
    yard.write(second, &other.read(second, 48));
    let (mut log, found) = yard.open();
    assert_eq!(found.torn.map(|torn| torn.at), Some(committed.lsn));
    assert_eq!(told(&log, Lsn(0)).records, []);
    commit(&mut log, &[b"same", b"life"]);
    log.mark().unwrap();
    yard.write(second, &other.read(second, 48));
    assert_eq!(told(&log, Lsn(0)).damage.len(), 1);
}

#[test]
fn a_torn_frame_that_is_the_only_proof_of_damage_stays_until_a_mark_is_in_its_place() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (_, mut written) = commit(&mut log, &[b"one", b"two"]);
    let (last, records) = commit(&mut log, &[&BIG]);
    drop(log);
    yard.flip(Lsn(written[1].lsn.0 + 33));
    yard.flip(Lsn(records[0].lsn.0 + 200));
    written.truncate(1);
    // Recovery that is cut short before the mark leaves the same to the next one.
    for _ in 0..2 {
        let recovered = recovery::recover(yard.dir.path(), &yard.options, None);
        assert_eq!(recovered.unwrap().found.damage.len(), 1);
    }
    let (log, found) = yard.open();
    assert_eq!(
        (found.damage.len(), found.torn.map(|t| t.at)),
        (1, Some(last.lsn))
    );
    assert_eq!(told(&log, Lsn(0)).records, written);
    let (log, found) = yard.open();
    assert_eq!((found.damage.len(), found.torn), (1, None));
    assert_eq!(told(&log, Lsn(0)).records, written);
}

#[test]
fn a_missing_middle_segment_is_damage() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let written = fill(&mut log, 4);
    drop(log);
    std::fs::remove_file(yard.path(SEGMENT)).unwrap();
    let (log, found) = yard.open();
    let (from, to) = (Lsn(SEGMENT), Lsn(2 * SEGMENT));
    let kept = |w: &&Rec| w.lsn < from || w.lsn >= to;
    let missing = Damage {
        from,
        to,
        records: 1,
        kind: DamageKind::Segment,
    };
    assert_eq!(found.damage, [missing]);
    let told = told(&log, Lsn(0));
    let kept: Vec<Rec> = written.iter().filter(kept).cloned().collect();
    assert_eq!(told.records, kept);
    assert_eq!(told.damage.len(), 1);
    assert!(told.damage[0].from < from && told.damage[0].to == Lsn(to.0 + HEADER));
}

#[test]
fn a_missing_first_segment_is_damage_unless_the_log_begins_later() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let written = fill(&mut log, 4);
    log.drop_below(Lsn(SEGMENT)).unwrap();
    drop(log);
    let (log, found) = yard.open();
    assert_eq!((found.start, found.damage), (Lsn(SEGMENT), vec![]));
    drop(log);
    std::fs::remove_file(yard.path(SEGMENT)).unwrap();
    let (log, found) = yard.open();
    let missing = found.damage[0];
    assert_eq!((missing.from, missing.to), (Lsn(SEGMENT), Lsn(2 * SEGMENT)));
    let kept = written.iter().filter(|w| w.lsn >= missing.to);
    let told = told(&log, found.start);
    assert_eq!(told.records, kept.cloned().collect::<Vec<_>>());
    assert_eq!(told.damage, [missing]);
}

#[test]
fn a_missing_current_segment_is_damage_if_its_spare_is_there() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let mut written = fill(&mut log, 2);
    written.pop();
    spare_ready(&mut log);
    drop(log);
    std::fs::remove_file(yard.path(SEGMENT)).unwrap();
    for _ in 0..2 {
        let (log, found) = yard.open();
        let told = told(&log, Lsn(0));
        assert_eq!(told.records, written);
        assert_eq!(told.damage.len(), 1);
        assert!(found.damage.len() <= 1);
        assert!(log.end().0 > 3 * SEGMENT);
    }
}

#[test]
fn a_segment_shorter_than_allocated_is_damage() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let mut written = fill(&mut log, 3);
    drop(log);
    let cut = written[0].lsn;
    open(&yard.path(0)).set_len(cut.0 + 100).unwrap();
    let (log, found) = yard.open();
    assert_eq!(found.damage.len(), 1);
    assert_eq!(
        (found.damage[0].from, found.damage[0].kind),
        (Lsn(0), DamageKind::Segment)
    );
    let told = told(&log, Lsn(0));
    let lost: u64 = told.damage.iter().map(|d| d.records).sum();
    written.retain(|w| w.lsn == cut || w.lsn.0 > SEGMENT);
    // The head of the first is within what is left.
    written[0].body = None;
    assert_eq!(told.records, written);
    assert!(lost >= 2);
}

#[test]
fn a_short_current_segment_is_never_taken_for_a_tear() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (one, first) = commit(&mut log, &[b"one"]);
    commit(&mut log, &[b"two"]);
    drop(log);
    open(&yard.path(0)).set_len(one.end.0 + 10).unwrap();
    let (mut log, found) = yard.open();
    assert_eq!(found.torn, None);
    assert!(found.damage.iter().any(|d| d.from == one.end));
    let (_, third) = commit(&mut log, &[b"three"]);
    assert_eq!(third[0].lsn.0 / SEGMENT, 1);
    drop(log);
    let (log, _) = yard.open();
    let told = told(&log, Lsn(0));
    assert_eq!(told.records, [first, third].concat());
    // It is damage for good, though the frame that was cut off is nowhere to be seen.
    assert!(
        told.damage
            .iter()
            .any(|d| d.from == one.end && d.records == 1)
    );
}

#[test]
fn a_bad_segment_header_is_damage_and_its_frames_are_not() {
    for segment in [0, 1, 2, 3] {
        let yard = Yard::new();
        let (mut log, _) = yard.open();
        let written = fill(&mut log, 3);
        spare_ready(&mut log);
        drop(log);
        yard.flip(Lsn(segment * SEGMENT + 20));
        for _ in 0..2 {
            let (log, found) = yard.open();
            assert!(found.torn.is_none());
            let told = told(&log, Lsn(0));
            assert_eq!(told.records, written);
            let harmed = |d: &&Damage| d.kind == DamageKind::Segment && d.records == 0;
            // A spare is skipped over by the first frame behind it.
            assert!(told.damage.iter().any(|d| harmed(&d) || segment == 3));
            assert!(!told.damage.is_empty());
            assert_eq!(
                log.end().0 / SEGMENT,
                if segment < 2 { 2 } else { segment + 1 }
            );
        }
    }
}

#[test]
fn a_zeroed_segment_is_damage() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let written = fill(&mut log, 3);
    drop(log);
    yard.write(Lsn(SEGMENT + HEADER), &vec![0; (SEGMENT - HEADER) as usize]);
    let (log, _) = yard.open();
    let told = told(&log, Lsn(0));
    let kept = written.iter().filter(|w| w.lsn.0 / SEGMENT != 1);
    assert_eq!(told.records, kept.cloned().collect::<Vec<_>>());
    assert_eq!(told.damage.len(), 1);
}

#[test]
fn a_zeroed_end_is_damage_if_more_segments_are_there_than_one_makes_ahead() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let written = fill(&mut log, 3);
    drop(log);
    for segment in [1, 2] {
        let from = Lsn(segment * SEGMENT + HEADER);
        yard.write(from, &vec![0; (SEGMENT - HEADER) as usize]);
    }
    let (log, found) = yard.open();
    assert_eq!(found.damage.len(), 1);
    let kept = written.iter().filter(|w| w.lsn.0 < SEGMENT);
    assert_eq!(
        told(&log, Lsn(0)).records,
        kept.cloned().collect::<Vec<_>>()
    );
}

#[test]
fn a_log_that_does_not_begin_at_0_and_has_no_frame_is_damage() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    fill(&mut log, 2);
    log.drop_below(Lsn::MAX).unwrap();
    drop(log);
    let from = Lsn(SEGMENT + HEADER);
    yard.write(from, &vec![0; (SEGMENT - HEADER) as usize]);
    for _ in 0..2 {
        let (log, _) = yard.open();
        assert_eq!(log.start(), Lsn(SEGMENT));
        let told = told(&log, log.start());
        assert_eq!((told.records, told.damage.len()), (vec![], 1));
    }
}

#[test]
fn a_forged_frame_inside_a_body_is_not_taken_for_one() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    // Where the body will stand, and in it frames for each place that a search looks at:
    // with another store's id, and with the right id but made for another place.
    let body_at = FIRST_RECORD.0 + 32 + 6;
    let mut body = vec![0; 4096];
    for at in (0..body.len() - 64).step_by(2) {
        let lsn = Lsn(body_at + at as u64);
        if lsn.0.is_multiple_of(64) {
            let forged = match lsn.0 / 64 % 2 {
                0 => mark_bytes(b"another store's.", lsn, Lsn::MAX),
                _ => mark_bytes(&ID, Lsn(lsn.0 + 64), Lsn::MAX),
            };
            body[at..at + forged.len()].copy_from_slice(&forged);
        }
    }
    let (one, _) = commit(&mut log, &[&body]);
    let (_, second) = commit(&mut log, &[b"two"]);
    drop(log);
    // The length is lost, so what is behind has to be searched for.
    yard.flip(Lsn(one.lsn.0 + 36));
    let (log, found) = yard.open();
    assert_eq!(found.damage.len(), 1);
    assert_eq!(
        (found.damage[0].from, found.damage[0].to),
        (one.lsn, one.end)
    );
    assert_eq!(told(&log, Lsn(0)).records, second);
}

#[test]
fn a_frame_of_another_store_is_no_frame() {
    let (yard, other) = (Yard::new(), Yard::new());
    let (mut log, _) = yard.open();
    let id = Some(*b"another store's.");
    let (mut foreign, _) = Log::open(other.dir.path(), other.options.clone(), id).unwrap();
    commit(&mut foreign, &[b"foreign"]);
    let mut frame = foreign.batch();
    frame.push(1, b"", b"").unwrap();
    assert!(matches!(
        log.commit(&mut frame),
        Err(LogError::ForeignBatch)
    ));
    yard.write(FIRST, &other.read(FIRST, 256));
    drop(log);
    let (log, found) = yard.open();
    assert!(found.torn.is_some());
    assert_eq!(told(&log, Lsn(0)).records, []);
}

#[test]
fn full_disk_refuses_before_writing_and_outcomes_still_fit() {
    let mut yard = Yard::new();
    let free = Arc::new(AtomicU64::new(2 * SEGMENT));
    yard.options = yard.options.on(Arc::new(SmallDisk::new(Arc::clone(&free))));
    let (mut log, _) = yard.open();
    assert_eq!(log.spare().unwrap(), SpareState::Ready);
    let room = log.room().unwrap();
    assert_eq!(room.here + 256, SEGMENT - HEADER);
    assert_eq!(room.spare, room.here);
    let mut written = fill(&mut log, 2);
    spare_ready(&mut log);
    assert_eq!(log.spare().unwrap(), SpareState::Missing);
    assert_eq!(log.prepare_spare().map(|_| ()).unwrap(), ());
    spare_ready(&mut log);
    assert_eq!(log.room().unwrap().spare, 0);
    let (_, outcome) = commit(&mut log, &[b"outcome"]);
    written.extend(outcome);
    let mut frame = log.batch();
    let offset = frame.push(1, b"big", &[1; 8000]).unwrap();
    assert!(frame.disk_len() > log.room().unwrap().here);
    let end = log.end();
    assert!(matches!(log.commit(&mut frame), Err(LogError::NoSpace)));
    assert_eq!(log.end(), end);
    let (_, outcome) = commit(&mut log, &[b"still fits"]);
    written.extend(outcome);
    log.mark().unwrap();
    assert_eq!(told(&log, Lsn(0)).records, written);
    // A start without a spare is one all the same.
    drop(log);
    let (mut log, _) = yard.open();
    assert_eq!(log.spare().unwrap(), SpareState::Missing);
    free.store(SEGMENT, Ordering::SeqCst);
    log.prepare_spare().unwrap();
    spare_ready(&mut log);
    let committed = log.commit(&mut frame).unwrap();
    let mut buf = Vec::new();
    let reader = log.reader();
    let read = reader.read(committed.lsn(offset), &mut buf).unwrap();
    assert_eq!(read.body, Body::Intact(&[1; 8000]));
    assert_eq!(told(&log, Lsn(0)).records.len(), written.len() + 1);
}

#[test]
fn a_full_segment_always_has_room_to_drop_others() {
    let mut yard = Yard::new();
    let free = Arc::new(AtomicU64::new(2 * SEGMENT));
    yard.options = yard.options.on(Arc::new(SmallDisk::new(Arc::clone(&free))));
    let (mut log, _) = yard.open();
    let written = fill(&mut log, 2);
    let here = log.room().unwrap().here;
    let overhead = 48 + 32 + 6;
    let rest = vec![7; (here - overhead) as usize / 64 * 64 - 64];
    while log.room().unwrap().here >= overhead + rest.len() as u64 {
        commit(&mut log, &[&rest]);
    }
    while log.room().unwrap().here >= 128 {
        commit(&mut log, &[b""]);
    }
    log.mark().unwrap();
    log.drop_below(Lsn(SEGMENT)).unwrap();
    assert_eq!(log.start(), Lsn(SEGMENT));
    assert!(!yard.names().contains(&segment::file_name(0)));
    let kept = told(&log, Lsn(SEGMENT)).records[0].clone();
    assert!(written.contains(&kept));
}

#[test]
fn an_oversized_frame_gets_its_own_segment() {
    for before in [false, true] {
        let yard = Yard::new();
        let (mut log, _) = yard.open();
        let mut written = Vec::new();
        if before {
            written.extend(commit(&mut log, &[b"small"]).1);
        }
        let big = vec![3; 5 * SEGMENT as usize];
        written.extend(commit(&mut log, &[&big]).1);
        written.extend(commit(&mut log, &[&BIG]).1);
        assert_eq!(log.segments().len(), 3);
        assert_eq!(told(&log, Lsn(0)).records, written);
        drop(log);
        let (mut log, found) = yard.open();
        assert_eq!((found.damage, found.torn), (vec![], None));
        written.extend(fill(&mut log, 5));
        let told = told(&log, Lsn(0));
        assert_eq!((told.records, told.damage), (written, vec![]));
    }
}

#[test]
fn an_oversized_frame_on_a_full_disk_leaves_the_spare() {
    let mut yard = Yard::new();
    let free = Arc::new(AtomicU64::new(2 * SEGMENT));
    yard.options = yard.options.on(Arc::new(SmallDisk::new(free)));
    let (mut log, _) = yard.open();
    let mut frame = log.batch();
    frame.push(1, b"", &[3; 5 * SEGMENT as usize]).unwrap();
    assert!(matches!(log.commit(&mut frame), Err(LogError::NoSpace)));
    let written = fill(&mut log, 2);
    assert_eq!(told(&log, Lsn(0)).records, written);
}

#[test]
fn without_descriptors_there_is_no_spare_and_the_log_goes_on_when_there_are_some() {
    // One is enough for the file, and the directory wants another.
    for left in [0, 1] {
        let mut yard = Yard::new();
        let mut disk = SmallDisk::new(Arc::new(AtomicU64::new(u64::MAX)));
        let descriptors = Arc::new(AtomicU64::new(u64::MAX));
        disk.descriptors = descriptors.clone();
        yard.options = yard.options.on(Arc::new(disk));
        let (mut log, _) = yard.open();
        descriptors.store(left, Ordering::SeqCst);
        let mut durable = 0;
        let (refused, mut frame) = loop {
            let mut frame = log.batch();
            frame.push(1, b"", &BIG).unwrap();
            match log.commit(&mut frame) {
                Ok(_) => durable += 1,
                Err(error) => break (error, frame),
            }
        };
        assert!(matches!(refused, LogError::NoSpace), "{refused}");
        descriptors.store(u64::MAX, Ordering::SeqCst);
        assert_eq!(log.prepare_spare().unwrap(), SpareState::Ready);
        log.commit(&mut frame).unwrap();
        let kept = told(&log, Lsn(0));
        assert_eq!((kept.records.len(), kept.damage), (durable + 1, vec![]));
    }
}

#[test]
fn dropped_segments_stay_gone_when_a_power_cut_brings_one_back() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let written = fill(&mut log, 4);
    let first = yard.read(Lsn(0), SEGMENT as usize);
    let before = log.segments();
    let old = written[0].lsn;
    log.drop_below(Lsn(0)).unwrap();
    assert_eq!(log.segments(), before);
    log.drop_below(Lsn(2 * SEGMENT + 1)).unwrap();
    assert_eq!(log.segments(), before[2..]);
    let mut buf = Vec::new();
    assert!(matches!(
        log.reader().read(old, &mut buf),
        Err(ReadError::NotThere(_))
    ));
    let kept: Vec<Rec> = written
        .iter()
        .filter(|w| w.lsn.0 >= 2 * SEGMENT)
        .cloned()
        .collect();
    assert_eq!(told(&log, log.start()).records, kept);
    drop(log);
    std::fs::write(yard.path(0), first).unwrap();
    let (log, found) = yard.open();
    assert_eq!((found.start, found.damage), (Lsn(2 * SEGMENT), vec![]));
    assert!(!yard.names().contains(&segment::file_name(0)));
    assert_eq!(told(&log, found.start).records, kept);
}

#[test]
fn the_current_segment_is_never_dropped() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let written = fill(&mut log, 3);
    log.drop_below(Lsn::MAX).unwrap();
    assert_eq!(log.start(), Lsn(2 * SEGMENT));
    let kept = written.last().cloned().into_iter().collect::<Vec<_>>();
    assert_eq!(told(&log, log.start()).records, kept);
}

#[test]
fn erased_bodies_are_gone_and_are_no_damage() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (_, mut written) = commit(&mut log, &[b"my secret", b"other", b"last secret"]);
    let gone = [written[2].lsn, written[0].lsn];
    log.erase(&gone).unwrap();
    log.erase(&gone).unwrap();
    let bytes = std::fs::read(yard.path(0)).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
    // Nothing proves the frame, and still it is whole.
    drop(log);
    let (mut log, found) = yard.open();
    assert_eq!((found.damage, found.torn), (vec![], None));
    written[0].body = None;
    written[2].body = None;
    let told = told(&log, Lsn(0));
    assert_eq!((&told.records, &told.damage), (&written, &vec![]));
    let mut buf = Vec::new();
    let reader = log.reader();
    assert_eq!(reader.read(gone[0], &mut buf).unwrap().body, Body::Erased);
    log.erase(&[Lsn(3), Lsn(log.end().0 + 5), Lsn(gone[0].0 + 8)])
        .unwrap();
}

#[test]
fn leftovers_of_unfinished_segments_go() {
    let yard = Yard::new();
    drop(yard.open());
    let unfinished = segment::file_name(2 * SEGMENT) + ".new";
    let path = yard.dir.path().join("log");
    std::fs::write(path.join(&unfinished), b"half").unwrap();
    std::fs::write(path.join("notes.txt"), b"not ours").unwrap();
    drop(yard.open());
    let (zero, spare) = (segment::file_name(0), segment::file_name(SEGMENT));
    assert_eq!(yard.names(), [zero, spare, "notes.txt".to_owned()]);
}

#[test]
fn a_store_that_was_never_finished_is_made_and_one_that_is_gone_is_not() {
    let yard = Yard::new();
    let log = yard.dir.path().join("log");
    std::fs::create_dir(&log).unwrap();
    std::fs::write(log.join(segment::file_name(0) + ".new"), b"half").unwrap();
    let gone = Log::open(yard.dir.path(), yard.options.clone(), None);
    assert!(matches!(gone, Err(LogError::Missing(_))));
    let (log, found) = yard.open();
    assert!(found.created);
    drop(log);
    // From now on a header that is bad was damaged.
    yard.flip(Lsn(20));
    yard.flip(Lsn(SEGMENT + 20));
    assert!(matches!(yard.try_open(), Err(LogError::Unrecognisable(_))));
}

#[test]
fn a_newer_format_is_refused() {
    let yard = Yard::new();
    drop(yard.open());
    let mut raw = yard.read(Lsn(0), 48);
    raw[8] = 3;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&raw[..12]), &raw[16..]);
    raw[12..16].copy_from_slice(&crc.to_le_bytes());
    yard.write(Lsn(0), &raw);
    assert!(matches!(
        yard.try_open(),
        Err(LogError::Version { version: 3, .. })
    ));
}

#[test]
fn segments_that_claim_the_same_positions_are_refused() {
    let yard = Yard::new();
    drop(yard.open());
    let header = segment::SegmentHeader {
        store_id: ID,
        base: HEADER,
        len: SEGMENT,
    };
    segment::make(&yard.dir.path().join("log"), &yard.options, header).unwrap();
    assert!(matches!(yard.try_open(), Err(LogError::Overlap(..))));
}

#[test]
fn a_failed_write_is_terminal() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (_, written) = commit(&mut log, &[b"one"]);
    log.break_current(SystemDisk.open(&yard.path(0), Access::Read).unwrap());
    let mut frame = log.batch();
    frame.push(1, b"", b"two").unwrap();
    for _ in 0..2 {
        let failed = log.commit(&mut frame).unwrap_err();
        assert!(
            matches!(failed, LogError::Failed { doing: "write", .. }),
            "{failed}"
        );
    }
    assert!(log.mark().is_err() && log.erase(&[]).is_err() && log.spare().is_err());
    assert!(log.drop_below(Lsn::MAX).is_err() && log.room().is_err());
    assert_eq!(told(&log, Lsn(0)).records, written);
}

#[test]
fn a_frame_buffer_is_cleared_and_used_again() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let mut frame = log.batch();
    assert!(frame.is_empty());
    let nothing = log.commit(&mut frame).unwrap();
    assert_eq!((nothing.lsn, nothing.end), (FIRST, FIRST));
    frame.push(2, b"not kept", b"").unwrap();
    frame.clear();
    assert!(frame.is_empty());
    frame.push(1, b"kept", b"").unwrap();
    frame.push(3, b"also kept", b"").unwrap();
    assert_eq!(
        frame
            .frames()
            .map(|(_, records)| records.count())
            .sum::<usize>(),
        2
    );
    log.commit(&mut frame).unwrap();
    frame.clear();
    assert!(frame.is_empty());
    let kinds: Vec<u8> = told(&log, Lsn(0)).records.iter().map(|r| r.kind).collect();
    assert_eq!(kinds, [1, 3]);
}
