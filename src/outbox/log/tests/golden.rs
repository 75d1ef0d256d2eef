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
fn a_segment_header_of_version_1() {
    let header = SegmentHeader {
        store_id: ID,
        base: 0x0102_0304_0506_0000,
        len: 0x40_0000,
    };
    let bytes = header.encode();
    assert_eq!(
        hex(&bytes),
        "6f757462 6f78640a 01000000 a19af250\n\
         30313233 34353637 38396162 63646566\n\
         00000605 04030201 00004000 00000000"
    );
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
}

#[test]
fn a_frame_and_its_records_of_version_1() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let mut frame = log.frame();
    frame.push(7, b"head", b"the body").unwrap();
    frame.push(8, b"", b"").unwrap();
    let committed = log.commit(&mut frame).unwrap();
    assert_eq!((committed.lsn, committed.end), (FIRST, Lsn(0x1080)));
    assert_eq!(
        hex(&yard.read(FIRST, 0x80)),
        "6f427846 3e45c5f7 00100000 00000000\n\
         00100000 00000000 00000000 00000000\n\
         00000000 50000000 02000000 ffd4a73e\n\
         7cfffa26 04000000 08000000 07000000\n\
         2479ec19 cc5ff980 00000000 00000000\n\
         68656164 74686520 626f6479 00000000\n\
         ab7462be 00000000 00000000 08000000\n\
         9e11d342 9e11d342 00000000 00000000"
    );
}

#[test]
fn a_mark_of_version_1() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    commit(&mut log, &[b"x"]);
    log.mark().unwrap();
    assert_eq!(log.end(), Lsn(0x10c0));
    assert_eq!(
        hex(&yard.read(Lsn(0x1080), 64)),
        "6f427846 2e833637 80100000 00000000\n\
         80100000 00000000 00000000 00000000\n\
         09c9d308 00000000 00000000 00000000\n\
         00000000 00000000 00000000 00000000"
    );
}

#[test]
fn an_erased_record_of_version_1() {
    let yard = Yard::new();
    let (mut log, _) = yard.open();
    let (_, records) = commit(&mut log, &[b"secret"]);
    log.erase(&[records[0].lsn]).unwrap();
    assert_eq!(
        hex(&yard.read(FIRST_RECORD, 48)),
        "358b0f0e 06000000 06000000 01000000\n\
         92c92286 79373e28 3885d6f2 c77a290d\n\
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
