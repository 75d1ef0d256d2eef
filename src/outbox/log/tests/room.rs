//! What is left in the current segment while there is no other.

use super::*;

/// A log whose second segment is in use, and a disk without room for a third.
fn without_spare(yard: &mut Yard) -> Log {
    let free = Arc::new(AtomicU64::new(2 * SEGMENT));
    yard.options = yard.options.clone().on(Arc::new(SmallDisk::new(free)));
    let (mut log, _) = yard.open();
    while log.segments().len() < 2 {
        commit(&mut log, &[&[b'b'; 1000]]);
    }
    log
}

fn batch_of(log: &Log, len: usize) -> Batch {
    let mut batch = log.batch();
    batch.push(1, b"", &vec![b'x'; len]).unwrap();
    batch
}

/// The thread that makes the spare may not have found out yet that there is no space for it.
#[test]
fn what_is_left_for_later_stays_free_where_there_is_no_spare() {
    let mut yard = Yard::new();
    let mut log = without_spare(&mut yard);
    let mut batch = batch_of(&log, 1000);
    let left = log.room().unwrap().here - batch.disk_len();
    let refused = log.commit_leaving(&mut batch, left + 1);
    assert!(matches!(refused, Err(LogError::NoSpace)));
    log.commit_leaving(&mut batch, left).unwrap();
    assert_eq!(
        log.room().unwrap(),
        Room {
            here: left,
            spare: 0
        }
    );
    // It is for this.
    let mut outcome = batch_of(&log, 100);
    log.commit(&mut outcome).unwrap();
    let mut more = batch_of(&log, 100);
    let refused = log.commit_leaving(&mut more, left);
    assert!(matches!(refused, Err(LogError::NoSpace)));
}

#[test]
fn with_a_spare_a_segment_is_filled_to_its_end() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let segments = log.segments().len();
    loop {
        let mut batch = batch_of(&log, 1000);
        if log.room().unwrap().here < batch.disk_len() {
            break;
        }
        log.commit_leaving(&mut batch, SEGMENT / 2).unwrap();
    }
    assert_eq!(log.segments().len(), segments);
    // A new segment has room for what is left, too, whatever the size of the batch.
    let mut batch = batch_of(&log, SEGMENT as usize * 3 / 4);
    log.commit_leaving(&mut batch, SEGMENT / 2).unwrap();
    assert!(log.room().unwrap().here >= SEGMENT / 2);
}
