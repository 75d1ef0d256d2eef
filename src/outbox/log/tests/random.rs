//! Random lives of a log, with crashes and damage.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Commit(Vec<usize>),
    Mark,
    Reopen,
    /// The last frame is written only up to a part of its bytes; then reopen.
    Tear(u16),
    Erase(u8),
    Drop,
}

fn act() -> impl Strategy<Value = Act> {
    let size = prop_oneof![4 => 0..200usize, 2 => 200..3000usize, 1 => 3000..40_000usize];
    prop_oneof![
        8 => prop::collection::vec(size, 1..6).prop_map(Act::Commit),
        2 => Just(Act::Mark),
        1 => Just(Act::Reopen),
        2 => any::<u16>().prop_map(Act::Tear),
        1 => any::<u8>().prop_map(Act::Erase),
        1 => Just(Act::Drop),
    ]
}

fn push_all(log: &mut Log, sizes: &[usize], seed: &mut u8) -> (Committed, Vec<Rec>) {
    let bodies: Vec<Vec<u8>> = sizes
        .iter()
        .map(|size| {
            *seed = seed.wrapping_add(1);
            vec![*seed; *size]
        })
        .collect();
    commit(log, &bodies.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_is_there_after_any_life(acts in prop::collection::vec(act(), 1..25)) {
        let yard = Yard::new();
        let (mut log, _) = yard.open();
        let (mut written, mut seed): (Vec<Rec>, u8) = (Vec::new(), 0);
        for act in acts {
            match act {
                Act::Commit(sizes) => {
                    let (_, records) = push_all(&mut log, &sizes, &mut seed);
                    written.extend(records);
                }
                Act::Mark => log.mark().unwrap(),
                Act::Reopen => {
                    drop(log);
                    let (again, found) = yard.open();
                    prop_assert_eq!((found.damage, found.torn), (vec![], None));
                    log = again;
                }
                Act::Tear(part) => {
                    let (last, _) = push_all(&mut log, &[300, 20, 700], &mut seed);
                    let segments = log.segments();
                    drop(log);
                    // The segment ahead is made when the first frame of this one is durable.
                    let first = segments.last().unwrap().0;
                    if last.lsn.0 == first.0 + HEADER {
                        std::fs::remove_file(yard.path(first.0 + segments.last().unwrap().1)).unwrap();
                    }
                    let len = last.end.0 - last.lsn.0;
                    // At least the last byte of a record is lost.
                    let kept = u64::from(part) * (len - 120) / u64::from(u16::MAX);
                    yard.write(Lsn(last.lsn.0 + kept), &vec![0; (len - kept) as usize]);
                    let (again, found) = yard.open();
                    prop_assert_eq!(found.damage, vec![]);
                    log = again;
                }
                Act::Erase(which) => {
                    let which = usize::from(which) % written.len().max(1);
                    if let Some(record) = written.get_mut(which) {
                        log.erase(&[record.lsn]).unwrap();
                        record.body = None;
                    }
                }
                Act::Drop => {
                    let segments = log.segments();
                    let start = segments[segments.len() / 2].0;
                    log.drop_below(start).unwrap();
                    written.retain(|record| record.lsn >= start);
                }
            }
            let told = told(&log, log.start());
            prop_assert_eq!(&told.records, &written);
            prop_assert_eq!(told.damage, vec![]);
        }
    }

    #[test]
    fn damage_anywhere_never_gives_a_wrong_record(
        sizes in prop::collection::vec(prop::collection::vec(0..3000usize, 1..5), 1..15),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 1..600usize), 1..6),
        shortened in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
    ) {
        let yard = Yard::new();
        let (mut log, _) = yard.open();
        let (mut written, mut seed) = (Vec::new(), 0);
        for sizes in &sizes {
            written.extend(push_all(&mut log, sizes, &mut seed).1);
        }
        log.mark().unwrap();
        let segments = log.segments();
        let total = log.end().0;
        drop(log);
        for (at, byte, len) in hits {
            let at = Lsn(at.index(total as usize) as u64);
            let (path, offset) = yard.place(at);
            let left = open(&path).metadata().unwrap().len().saturating_sub(offset);
            open(&path).write_all_at(&vec![byte; len.min(left as usize)], offset).unwrap();
        }
        if let Some((which, len)) = shortened {
            let (base, full) = segments[which.index(segments.len())];
            open(&yard.path(base.0)).set_len(len.index(full as usize) as u64).unwrap();
        }
        let Ok((mut log, _)) = yard.try_open() else { return Ok(()) };
        let first = told(&log, log.start());
        for record in &first.records {
            let original = written.iter().find(|w| w.lsn == record.lsn).unwrap();
            prop_assert_eq!((original.kind, &original.head), (record.kind, &record.head));
            prop_assert!(record.body.is_none() || record.body == original.body);
        }
        // What is missing is told of if anything after it is left that proves it. Hits that
        // take the heads of all later frames, and the mark, leave what a torn write leaves.
        let whole = |lsn| first.records.iter().any(|r| r.lsn == lsn && r.body.is_some());
        let missing = written.iter().position(|w| !whole(w.lsn));
        let last_frame = written.len() - sizes.last().unwrap().len();
        if missing.is_some_and(|missing| written[missing + 1..].iter().any(|w| whole(w.lsn)))
            && missing < Some(last_frame)
        {
            prop_assert!(!first.damage.is_empty());
        }
        // Opening again gives the same, and what is written then is there.
        let more = push_all(&mut log, &[5, 5000], &mut seed).1;
        drop(log);
        let (log, _) = yard.open();
        let again = told(&log, log.start());
        prop_assert_eq!(again.records, [first.records, more].concat());
    }
}
