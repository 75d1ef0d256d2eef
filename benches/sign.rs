//! Signing an event of 1 KiB, beside the bare SHA-256 of the same bytes: the two
//! times' ratio says what the signature costs over what nobody can save.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outboxd::domain::signature::{Secret, header_value};
use sha2::{Digest, Sha256};
use std::hint::black_box;

fn sign(criterion: &mut Criterion) {
    let secrets = [Secret::generate([7; 32])];
    let body = vec![b'x'; 1024];
    let mut group = criterion.benchmark_group("sign");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("sha256_1KiB", |b| {
        b.iter(|| Sha256::digest(black_box(&body)));
    });
    group.bench_function("sign_1KiB", |b| {
        b.iter(|| {
            header_value(
                black_box(&secrets),
                "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV",
                1_700_000_000,
                black_box(&body),
            )
        });
    });
    group.bench_function("key_and_sign_1KiB", |b| {
        b.iter(|| {
            let secret = Secret::from_bytes(black_box(&[7; 32]));
            secret.map(|s| s.sign("evt_01ARZ3NDEKTSV4RRFFQ69G5FAV", 1_700_000_000, &body))
        });
    });
    group.finish();
}

criterion_group!(benches, sign);
criterion_main!(benches);
