//! What `object_store` calls of the crate of this name: the CRC-64/NVME of a request to S3.
//!
//! The crate itself carries 660 KB of tables for some forty algorithms, which stay in a binary because the
//! algorithm is chosen at run time. outboxd asks S3 for no such checksum (its own frames have theirs), so the
//! binary would be a twenty-fifth larger for nothing. The algorithm is the one of the crate `crc`.
//! `[patch.crates-io]` in outboxd's Cargo.toml puts this in the other's place; a build without the patch,
//! such as the fuzz targets', behaves the same.

#![forbid(unsafe_code)]

use crc::{CRC_64_NVME, Crc, Table};

static NVME: Crc<u64, Table<1>> = Crc::<u64, Table<1>>::new(&CRC_64_NVME);

/// The algorithms that are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrcAlgorithm {
    /// CRC-64/NVME.
    Crc64Nvme,
}

/// A checksum under way.
#[derive(Clone)]
pub struct Digest(crc::Digest<'static, u64, Table<1>>);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Digest").finish()
    }
}

impl Digest {
    /// The checksum of no bytes.
    pub fn new(algorithm: CrcAlgorithm) -> Self {
        match algorithm {
            CrcAlgorithm::Crc64Nvme => Digest(NVME.digest()),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn finalize(&self) -> u64 {
        self.0.clone().finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the catalogue of CRCs.
    #[test]
    fn the_check_value_is_right() {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        digest.update(b"12345");
        digest.update(b"6789");
        assert_eq!(digest.finalize(), 0xae8b_1486_0a79_9888);
    }
}
