//! The format, byte for byte. What is here may be added to, never changed.

use super::super::segment::SegmentHeader;
use super::*;

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).map(|line| {
        let words = line.chunks(4).map(|word| {
            let digits = word.iter().map(|byte| format!("{byte:02x}"));
            digits.collect::<String>()
        });
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_segment_header_of_version_2() {
    let header = SegmentHeader {
        store_id: ID,
        base: 0x0102_0304_0506_0000,
        len: 0x40_0000,
    };
    let bytes = header.encode();
    assert_eq!(
        hex(&bytes),
        "6f757462 6f78640a 02000000 6556a704\n\
         30313233 34353637 38396162 63646566\n\
         00000605 04030201 00004000 00000000"
    );
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
}

#[test]
fn a_frame_and_its_records_of_version_2() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let mut frame = log.batch();
    frame.push(7, b"head", b"the body").unwrap();
    frame.cut();
    frame.push(8, b"", b"").unwrap();
    let committed = log.commit(&mut frame).unwrap();
    assert_eq!((committed.lsn, committed.end), (FIRST, Lsn(0x1100)));
    assert_eq!(
        hex(&yard.read(FIRST, 0x100)),
        "6f427846 eb1eb7f4 00100000 00000000\n\
         00100000 00000000 00000000 00000000\n\
         00000000 30000000 01000000 431340ef\n\
         01000000 01000000 e90b0b24 04000000\n\
         08000000 07000000 2479ec19 cc5ff980\n\
         00000000 00000000 68656164 74686520\n\
         626f6479 00000000 00000000 00000000\n\
         00000000 00000000 00000000 00000000\n\
         6f427846 a6450e95 80100000 00000000\n\
         00100000 00000000 00000000 00000000\n\
         eb1eb7f4 20000000 01000000 f0ec5491\n\
         01000000 00000000 ec84e081 00000000\n\
         00000000 08000000 9e11d342 9e11d342\n\
         00000000 00000000 00000000 00000000\n\
         00000000 00000000 00000000 00000000\n\
         00000000 00000000 00000000 00000000"
    );
}

#[test]
fn a_mark_of_version_2() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    commit(&mut log, &[b"x"]);
    log.mark().unwrap();
    assert_eq!(log.end(), Lsn(0x10c0));
    assert_eq!(
        hex(&yard.read(Lsn(0x1080), 64)),
        "6f427846 62bab388 80100000 00000000\n\
         80100000 00000000 00000000 00000000\n\
         0e917cea 00000000 00000000 00000000\n\
         01000000 00000000 00000000 00000000"
    );
}

#[test]
fn an_erased_record_of_version_2() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (_, records) = commit(&mut log, &[b"secret"]);
    log.erase(&[records[0].lsn]).unwrap();
    assert_eq!(
        hex(&yard.read(FIRST_RECORD, 48)),
        "a07ffe0c 06000000 06000000 01000000\n\
         92c92286 79373e28 eac23459 153dcba6\n\
         68656164 20300000 00000000 00000000"
    );
}

#[test]
fn every_flip_in_a_segment_header_is_refused() {
    let header = SegmentHeader {
        store_id: ID,
        base: 0,
        len: SEGMENT,
    };
    let good = header.encode();
    for bit in 0..good.len() * 8 {
        let mut bytes = good;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
    }
    for len in 0..good.len() {
        assert!(SegmentHeader::decode(&good[..len]).is_err());
    }
}
